"""Derive the face model's albedo from photographs of people.

    python third_party/people_albedo.py MODEL.npz MESH.npz ../shared/frl \\
        ../shared/people/skins/textures albedo.npz

MODEL.npz is a face model on MakeHuman's mesh (its albedo is not read), MESH.npz what the face
model's build knows of its vertices: `base` (positions on the base mesh, symmetric), `axis`,
`inside`. The photos are those of the Face Research Lab London Set and the Young Adult White Faces
(DeBruine and Jones, CC BY 4.0), of which the training people of split.csv are used; the skins are
MakeHuman's (CC0). The output has `mean` [v 3] and `modes` [v 3 k] of unit variance, in the
renderer's colours: under its light without direction a face looks as in the studio.

`people_photos.py` lays the photos over one another, `people_skin.py` frees them of light and hair.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import people_photos as photos
import people_skin as skin
from people_skin import Mesh
from scipy.spatial import cKDTree

SKINS_SHA256 = "28a3568e4de2afbe5f3ad3b03d8307bbbf13d62893471f4b18761deb9c7385df"
MODES, SEED = 80, 20260618
WHITE_LIGHT = 1.2407  # irradiance of the renderer's light without direction
HIGHLIGHT, KEPT = 0.10, 0.3  # lighter than the tone by more (of the logarithm), so much is kept
MOUTH = np.array([0.17, 0.075, 0.075]) * WHITE_LIGHT  # its inside, as displayed
PUPIL = 0.03
SYNTHETIC = 0.5  # weight of recombined people, of that of real ones
UNEVEN, TINGED = 0.08, 0.025  # deviations of smooth patterns, in light and in each colour


class Paint(NamedTuple):
    """Colours `[n v 3]` and `[n 3]`, logarithms of what is displayed in white light."""

    detail: np.ndarray  # of the skin, without tone
    tone: np.ndarray
    eyes: np.ndarray  # absolute; of skin undefined


# --- light ---------------------------------------------------------------------------------------


def harmonics(normals: np.ndarray) -> np.ndarray:
    """Eight functions that are zero on a surface which faces the camera: the spherical harmonics
    of the first and second order, shifted. The first three are those of the first order."""
    x, y, z = normals.T
    return np.stack([x, y, z - 1, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 3], 1)


def fit_light(values: np.ndarray, functions: np.ndarray, ridge: float) -> np.ndarray:
    """Coefficients of the functions in values `[v]`, a constant besides, outliers counting less."""
    design = np.c_[np.ones(len(functions)), functions]
    penalty = ridge * len(values) * np.diag(np.r_[0, np.ones(functions.shape[1])])
    weight = np.ones(len(values))
    for _ in range(6):
        weighted = design * weight[:, None]
        found = np.linalg.solve(design.T @ weighted + penalty, weighted.T @ values)
        weight = 1 / (1 + ((values - design @ found) / 0.08) ** 2)
    return found[1:]


def without_light(logs, valid, studios, bare, clear, facing):
    """Log colours `[n v 3]` as if all light came evenly: a studio's light is the same for all in
    it but for its first order. `bare` are vertices of skin, `clear` those without a beard."""
    functions, out = harmonics(facing), np.empty_like(logs)
    for studio in np.unique(studios):
        members = np.flatnonzero(studios == studio)
        tones = np.stack([np.median(logs[i][valid[i] & clear], axis=0) for i in members])
        change = (logs[members] - tones[:, None]).mean(-1)
        often = valid[members].mean(0) > 0.4
        change = np.where(valid[members], change, np.nan)[:, often]
        used = (bare & (clear | (facing[:, 1] < 0.6)))[often]
        common = fit_light(np.nanmedian(change, axis=0)[used], functions[often][used], 2e-4)
        for i in members:
            even = logs[i] - (functions @ common)[:, None]
            seen = valid[i] & clear
            own = fit_light(even[seen].mean(-1), functions[seen, :3], 3e-3)
            out[i] = even - (functions[:, :3] @ own)[:, None]
    return out


def see(mesh: Mesh, frames: list[photos.Frame], mean: np.ndarray):
    """Everybody's detail and tone where it can be seen, and where the vertices lie in the frame."""
    place = skin.places(mesh, mean)
    at, regions = photos.pixels(place), skin.frame_regions(mean)
    studios = np.array([f.person.studio for f in frames])
    logs, valid = [], []
    for studio in np.unique(studios):
        members = [f for f in frames if f.person.studio == studio]
        most = skin.usual(members, regions)
        for frame in members:
            blurred = cv2.GaussianBlur(frame.image.astype(np.float32) / 255, (0, 0), 1.0)
            logs.append(skin.log(skin.sample(blurred, at)))
            valid.append(skin.sample(skin.free_of_hair(frame, most, regions), at) > 0.98)
    order = np.argsort(np.argsort(studios, kind="stable"), kind="stable")
    facing = skin.normals(mesh.points, mesh.triangles)
    concealed = skin.hidden(mesh, place)
    logs = np.stack(logs)[order].astype(np.float64)
    valid = np.stack(valid)[order] & mesh.skin & ~concealed & (facing[:, 2] > 0.25)
    part = {name: skin.sample(where, at) > 0.5 for name, where in regions.items()}
    covered = part["brows"] | part["lids"] | part["lips"] | part["nostrils"]
    bare = mesh.skin & ~covered & (facing[:, 2] > 0.3)
    below = place[:, 1] - mean[photos.NOSE_BASE, 1]
    clear = bare & ((below < 0) | ((np.abs(place[:, 0]) > 75) & (below < 20)))
    even = without_light(logs, valid, studios, bare, clear, facing)
    tone = np.stack([np.median(e[v & clear], axis=0) for e, v in zip(even, valid, strict=True)])
    shift = balance(tone, studios, np.array([f.person.pale for f in frames]))
    detail = even - tone[:, None]
    light = detail.mean(-1, keepdims=True)
    bright = np.maximum(light - HIGHLIGHT, 0) * (bare | part["lips"])[:, None]
    seen = skin.Seen(detail - (1 - KEPT) * bright, tone + shift, valid, shift)
    return seen, place, concealed, clear


def balance(tone: np.ndarray, studios: np.ndarray, pale: np.ndarray) -> np.ndarray:
    """What to add to the log colours of each person's studio `[n 3]`, so that white people have
    the tones that they have in London."""
    shift = np.zeros_like(tone)
    wanted = np.median(tone[pale & (studios == "london")], axis=0)
    for studio in np.unique(studios):
        members = studios == studio
        shift[members] = wanted - np.median(tone[members & pale], axis=0)
    return shift


def complete(mesh: Mesh, seen: skin.Seen) -> np.ndarray:
    """Detail of all vertices of the skin `[n v 3]`: where a person does not show it, that of the
    mean person, and smoothly the difference from it around."""
    fill, count = skin.filling(mesh), seen.valid.sum(0)
    total = (seen.detail * seen.valid[..., None]).sum(0)
    mean = fill(total / np.maximum(count, 1)[:, None], count >= 12, 1e-3)
    people = zip(seen.detail, seen.valid, strict=True)
    return np.stack([mean + fill(detail - mean, valid, 5e-3) for detail, valid in people])


# --- eyes ----------------------------------------------------------------------------------------


def eye_colours(frame: photos.Frame, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log colours of a person's iris and white, medians without reflections and lashes."""
    x, y = photos.grid()
    picture, iris, white = frame.image.astype(np.float64) / 255, [], []
    for side in (0, 1):
        ends = mean[photos.IRIS_SIDES[side]]
        centre, radius = ends.mean(0), abs(ends[1, 0] - ends[0, 0]) / 2
        lids = [*photos.UPPER_LID[side], *photos.LOWER_LID[side][-2:0:-1]]
        lids = photos.polygon(photos.pixels(mean[lids]), -1)
        away, down = np.hypot(x - centre[0], y - centre[1]) / radius, (y - centre[1]) / radius
        iris.append(picture[lids & (away > 0.5) & (away < 0.85) & (down > -0.1)])
        white.append(picture[lids & (away > 1.2) & (down > -0.3)])
    whites = np.concatenate(white)
    light = whites.mean(1) > np.median(whites.mean(1))
    found = np.median(np.concatenate(iris), axis=0), np.median(whites[light], axis=0)
    return skin.log(found[0]), skin.log(found[1])


def paint_eyes(mesh: Mesh, iris: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Log colours `[v 3]`: rings around the axis, and the shade of the lids."""
    iris, white = np.exp(iris), np.exp(white)
    pupil, rim = np.full(3, PUPIL), 0.45 * iris + 0.35 * white
    rings = {0.0: pupil, 0.11: pupil, 0.155: 0.45 * iris, 0.25: 1.12 * iris, 0.345: 0.8 * iris}
    rings |= {0.40: rim, 0.56: white, 1.0: white}
    eye = np.isfinite(mesh.axis)
    axis = np.where(eye, mesh.axis, 0)
    table = np.stack(list(rings.values()))
    colour = np.stack([np.interp(axis, list(rings), table[:, k]) for k in range(3)], 1)
    height = np.zeros(len(axis))
    for ball in (eye & (mesh.points[:, 0] > 0), eye & (mesh.points[:, 0] < 0)):
        place = mesh.points[ball]
        height[ball] = (place[:, 1] - place[:, 1].mean()) / (np.ptp(place[:, 0]) / 2)
    upper = 0.30 * np.clip((height - 0.18) / 0.35, 0, 1)
    return skin.log(colour * (1 - upper - 0.25 * np.clip((axis - 0.55) / 0.4, 0, 1))[:, None])


# --- people, real and recombined -----------------------------------------------------------------


def read_skins(folder: Path, mesh: Mesh, clear: np.ndarray) -> np.ndarray:
    """Detail of MakeHuman's skins `[14 v 3]`."""
    files = sorted(folder.glob("*.png"))
    if photos.digest(files) != SKINS_SHA256:
        raise ValueError(f"{folder} does not hold MakeHuman's 14 skins: the checksum differs")
    found = []
    for file in files:
        texture = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB).astype(np.float32) / 255
        side = len(texture)
        texture = cv2.GaussianBlur(texture, (0, 0), 1.2 * side / 2048)
        at = (mesh.uv * [1, -1] + [0, 1]) * side - 0.5
        logs = skin.log(skin.sample(texture, at))
        found.append(logs - np.median(logs[clear], axis=0))
    return np.stack(found)


def albedo(mesh: Mesh, detail: np.ndarray, tone: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """Albedo `[v 3]` of a person."""
    displayed = np.exp(np.where(np.isfinite(mesh.axis)[:, None], eyes, detail + tone))
    mouth = np.clip((mesh.inside - 0.25) / 0.4, 0, 1)[:, None]
    return ((1 - mouth) * displayed + mouth * MOUTH) / WHITE_LIGHT


def tones(seen: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Tones `[count 3]` spread evenly from the palest to the darkest of those seen `[n 3]`: along
    their first axis, which is melanin's, bent as theirs; blood and the rest as it varies."""
    mean = seen.mean(0)
    axis = np.linalg.svd(seen - mean)[2][0]
    axis *= np.sign(axis.sum())
    place = (seen - mean) @ axis
    bend = np.polyfit(place, seen - mean - place[:, None] * axis, 2)
    new = rng.uniform(place.min() - 0.15, place.max() + 0.05, count)
    rest = seen - mean - place[:, None] * axis - np.stack([place**2, place, place**0], 1) @ bend
    other = rng.multivariate_normal(np.zeros(3), np.cov(rest.T), count)
    return mean + new[:, None] * axis + np.stack([new**2, new, new**0], 1) @ bend + other


def smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at `low`, 1 at `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def parts(place: np.ndarray) -> np.ndarray:
    """Shares `[3 v]` of eyes with brows, of the mouth with a beard, and of the rest."""
    x, y = np.abs(place[:, 0]), place[:, 1]
    eyes = smooth(y, 14, 2) * smooth(y, -62, -42) * smooth(x, 100, 85)
    mouth = smooth(y, 62, 78) * (1 - eyes)
    return np.stack([eyes, mouth, 1 - eyes - mouth])


def pattern(mesh: Mesh, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random change of log colours `[v 3]`, of the size of what make-up, tan and the
    shadows of a face on itself do."""
    points = np.stack([place[:, 0] / 110, (place[:, 1] - 40) / 150, mesh.points[:, 2] / 60], 1)
    waves = np.cos(points @ rng.normal(0, 1.6, (3, 12)) + rng.uniform(0, 2 * np.pi, 12))
    sizes = UNEVEN * rng.normal(size=(12, 1)) + TINGED * rng.normal(size=(12, 3))
    return waves @ sizes / np.sqrt(6)


def samples(mesh: Mesh, paint: Paint, skins: np.ndarray, place: np.ndarray):
    """Albedos `[n v 3]` and their weights `[n]`: each person, then each with other tones, then
    eyes, mouth and the rest of three people put together, then the skins with people's brows."""
    rng, count, share = np.random.default_rng(SEED), len(paint.tone), parts(place)
    found = [albedo(mesh, *person) for person in zip(*paint, strict=True)]
    weights = [1.0] * count

    def add(detail: np.ndarray, tone: np.ndarray, eyes: np.ndarray, weight: float) -> None:
        change = pattern(mesh, place, rng)
        found.append(albedo(mesh, detail + change, tone, eyes))
        weights.append(weight)

    for detail in paint.detail:
        for tone in tones(paint.tone, rng, 2):
            add(detail, tone, paint.eyes[rng.choice(count)], SYNTHETIC / 2)
    for _ in range(3 * count):
        three = rng.choice(count, 3)
        tone = tones(paint.tone, rng, 1)[0] if rng.random() < 0.5 else paint.tone[three[2]]
        mixed = np.einsum("pv,pvc->vc", share, paint.detail[three])
        add(mixed, tone, paint.eyes[three[0]], SYNTHETIC / 3)
    for own in np.repeat(skins, 2, axis=0):
        person = rng.choice(count)
        mixed = own + share[0][:, None] * (paint.detail[person] - own)
        add(mixed, tones(paint.tone, rng, 1)[0], paint.eyes[person], SYNTHETIC / 2)
    return np.stack(found).astype(np.float32), np.array(weights)


def importance(mesh: Mesh, place: np.ndarray, concealed: np.ndarray) -> np.ndarray:
    """How much a vertex `[v]` counts for the modes: by the area that it stands for, but not only,
    as the mesh is fine where a face is looked at."""
    a, b, c = (place[mesh.triangles[:, k]] for k in range(3))
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 6
    own = sum(np.bincount(mesh.triangles[:, k], area, len(place)) for k in range(3))
    weight = (np.maximum(own, 0.3) / own.mean()) ** 0.25
    weight *= np.where(concealed | (mesh.inside > 0.5), 0.3, 1.0)
    return weight * np.where(np.isfinite(mesh.axis), 1.5, 1.0)


def principal(rows: np.ndarray, weights: np.ndarray, important: np.ndarray, mirror: np.ndarray):
    """Mean `[v 3]` and modes `[v 3 MODES]` of one deviation, of rows and their mirror images."""
    rows = np.concatenate([rows, rows[:, mirror]])
    weights = np.tile(weights, 2) / (2 * weights.sum())
    mean = np.einsum("n,nvc->vc", weights, rows)
    scaled = (rows - mean) * important[:, None] * np.sqrt(weights)[:, None, None]
    scaled = scaled.reshape(len(rows), -1).astype(np.float32)
    values, vectors = np.linalg.eigh((scaled @ scaled.T).astype(np.float64))
    order = np.argsort(values)[::-1][:MODES]
    modes = (scaled.T @ vectors[:, order].astype(np.float32)).reshape(*mean.shape, MODES)
    modes = modes / important[:, None, None]
    modes *= np.sign(modes.sum((0, 1)))
    return mean, modes, values[order].sum() / values.sum()


# --- all of it -----------------------------------------------------------------------------------


def build(mesh: Mesh, frl: Path, textures: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean albedo `[v 3]`, modes `[v 3 MODES]`, and their share of the variance."""
    persons = photos.people(frl)
    files = [frl / "split.csv", frl / "london_info.csv"]
    files += [p.photo.with_suffix(s) for p in persons for s in (".jpg", ".csv")]
    if photos.digest(files) != photos.PEOPLE_SHA256:
        raise ValueError(f"{frl} does not hold the photos that are known: the checksum differs")
    mean, laid = photos.frames(persons)
    frames = list(laid)
    seen, place, concealed, clear = see(mesh, frames, mean)
    skins = read_skins(textures, mesh, clear)
    eyes = [
        paint_eyes(mesh, *(colour + shift for colour in eye_colours(frame, mean)))
        for frame, shift in zip(frames, seen.shift, strict=True)
    ]
    paint = Paint(complete(mesh, seen), seen.tone, np.stack(eyes))
    rows, weights = samples(mesh, paint, skins, place)
    return principal(rows, weights, importance(mesh, place, concealed), mesh.mirror)


def quantised(modes: np.ndarray) -> np.ndarray:
    """Modes `[v 3 k]` rounded to 255 levels each, as float16 that lie mode after mode: a zip of
    them takes 40 % of the room. The 80 roundings together change a face by .2 grey levels."""
    step = np.abs(modes).max((0, 1)) / 127
    return np.asfortranarray(np.rint(modes / step) * step, np.float16)


def read_mesh(model: Path, known: Path) -> Mesh:
    """The mesh of a face model, as far as `known` describes its vertices."""
    with np.load(model) as arrays, np.load(known) as more:
        base, count = more["base"], len(more["base"])
        triangles = arrays["triangles"]
        apart, mirror = cKDTree(base).query(base * [-1, 1, 1])
        if apart.max() > 1e-6:
            raise ValueError(f"{known}: 'base' is not symmetric")
        return Mesh(
            arrays["shape_mean"][:count].astype(np.float64),
            triangles[(triangles < count).all(1)],
            arrays["landmark_vertices"],
            arrays["landmark_weights"].astype(np.float64),
            arrays["uv"][:count].astype(np.float64),
            mirror,
            more["axis"],
            more["inside"],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("model", "mesh", "frl", "textures", "output"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    try:
        mesh = read_mesh(options.model, options.mesh)
        mean, modes, share = build(mesh, options.frl, options.textures)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    np.savez_compressed(options.output, mean=mean.astype(np.float32), modes=quantised(modes))
    print(f"{options.output}: {MODES} modes hold {100 * share:.1f} % of the variance")


if __name__ == "__main__":
    main()
