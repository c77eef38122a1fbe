"""Derive the face model's albedo from photographs of people.

    python third_party/people_albedo.py MODEL.npz MESH.npz FRL \\
        SKINS albedo.npz

MODEL.npz is a face model on MakeHuman's mesh (its albedo is not read), MESH.npz what the face
model's build knows of its vertices: `base` (positions on the base mesh, symmetric), `axis`,
`inside`. The photos are those of the Face Research Lab London Set and the Young Adult White Faces
(DeBruine and Jones, CC BY 4.0), of which the training people of split.csv are used; the skins are
MakeHuman's (CC0). The output has `mean` [v 3] and `modes` [v 3 k] of unit variance, in the
renderer's colours: under its light without direction a face looks as in the studio.

`people_photos.py` lays the photos over one another, `people_skin.py` brings them to the mesh and
finds hair, `people_modes.py` puts people together and takes their principal components.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import people_modes as recombined
import people_photos as photos
import people_skin as skin
from people_skin import Mesh
from scipy.spatial import cKDTree

SKINS_SHA256 = "28a3568e4de2afbe5f3ad3b03d8307bbbf13d62893471f4b18761deb9c7385df"
HIGHLIGHT, KEPT = 0.10, 0.3  # lighter than the tone by more (of the logarithm), so much is kept
PUPIL = 0.03


class Surface(NamedTuple):
    """The mesh's vertices as they are seen from the front."""

    place: np.ndarray  # [v 2], in the frame
    facing: np.ndarray  # [v 3], normals
    concealed: np.ndarray  # bool [v], behind other parts of the face
    bare: np.ndarray  # bool [v], skin without brows, lashes, lips, nostrils
    clear: np.ndarray  # bool [v], of that, where no beard grows


def lay_out(mesh: Mesh, mean: np.ndarray) -> Surface:
    """The mesh in the frame of the people's mean points `[189 2]`."""
    place = skin.places(mesh, mean)
    facing = skin.normals(mesh.points, mesh.triangles)
    regions, at = skin.frame_regions(mean), photos.pixels(place)
    covered = sum(skin.sample(regions[n], at) for n in ("brows", "lids", "lips", "nostrils")) > 0.5
    bare = mesh.skin & ~covered & (facing[:, 2] > 0.3)
    below = place[:, 1] - mean[photos.NOSE_BASE, 1]
    clear = bare & ((below < 0) | ((np.abs(place[:, 0]) > 75) & (below < 20)))
    return Surface(place, facing, skin.hidden(mesh, place), bare, clear)


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


def without_light(
    logs: np.ndarray, valid: np.ndarray, studios: np.ndarray, surface: Surface
) -> np.ndarray:
    """Log colours `[n v 3]` as if all light came evenly: a studio's light is the same for all in
    it but for its first order."""
    bare, clear, facing = surface.bare, surface.clear, surface.facing
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


def sampled(frames: list[photos.Frame], at: np.ndarray, regions: dict[str, np.ndarray]):
    """Log colours `[n v 3]` at pixels of the frame `[v 2]`, and whether the face is seen there."""
    most = {
        studio: skin.usual([f for f in frames if f.person.studio == studio], regions)
        for studio in sorted({f.person.studio for f in frames})
    }
    logs, valid = [], []
    for frame in frames:
        blurred = cv2.GaussianBlur(frame.image.astype(np.float32) / 255, (0, 0), 1.0)
        logs.append(skin.log(skin.sample(blurred, at)))
        free = skin.free_of_hair(frame, most[frame.person.studio], regions)
        valid.append(skin.sample(free, at) > 0.98)
    return np.stack(logs).astype(np.float64), np.stack(valid)


def see(mesh: Mesh, frames: list[photos.Frame], mean: np.ndarray, surface: Surface) -> skin.Seen:
    """Everybody's detail and tone, where they can be seen."""
    regions = skin.frame_regions(mean)
    at = photos.pixels(surface.place)
    logs, valid = sampled(frames, at, regions)
    valid &= mesh.skin & ~surface.concealed & (surface.facing[:, 2] > 0.25)
    part = {name: skin.sample(where, at) > 0.5 for name, where in regions.items()}
    studios = np.array([f.person.studio for f in frames])
    even = without_light(logs, valid, studios, surface)
    tone = np.stack(
        [np.median(e[v & surface.clear], axis=0) for e, v in zip(even, valid, strict=True)]
    )
    shift = balance(tone, studios, np.array([f.person.pale for f in frames]))
    detail = even - tone[:, None]
    above = np.maximum(detail.mean(-1, keepdims=True) - HIGHLIGHT, 0)
    shiny = (surface.bare | part["lips"] | part["nostrils"])[:, None]
    return skin.Seen(detail - (1 - KEPT) * above * shiny, tone + shift, valid, shift)


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
    rings = {0.0: pupil, 0.11: pupil, 0.155: 0.85 * iris, 0.25: 1.2 * iris, 0.345: 0.9 * iris}
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


# --- all of it -----------------------------------------------------------------------------------


def build(mesh: Mesh, frl: Path, textures: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean albedo `[v 3]`, modes `[v 3 k]`, and their share of the variance."""
    persons = photos.people(frl)
    files = [frl / "split.csv", frl / "london_info.csv"]
    files += [p.photo.with_suffix(s) for p in persons for s in (".jpg", ".csv")]
    if photos.digest(files) != photos.PEOPLE_SHA256:
        raise ValueError(f"{frl} does not hold the photos that are known: the checksum differs")
    mean, laid = photos.frames(persons)
    frames = list(laid)
    surface = lay_out(mesh, mean)
    seen = see(mesh, frames, mean, surface)
    skins = read_skins(textures, mesh, surface.clear)
    eyes = [
        paint_eyes(mesh, *(colour + shift for colour in eye_colours(frame, mean)))
        for frame, shift in zip(frames, seen.shift, strict=True)
    ]
    paint = recombined.Paint(complete(mesh, seen), seen.tone, np.stack(eyes))
    rows, weights = recombined.samples(mesh, paint, skins, surface.place)
    important = recombined.importance(mesh, surface.place, surface.concealed)
    return recombined.principal(rows, weights, important, mesh.mirror)


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
    np.savez_compressed(
        options.output, mean=mean.astype(np.float32), modes=recombined.quantised(modes)
    )
    print(f"{options.output}: {modes.shape[-1]} modes hold {100 * share:.1f} % of the variance")


if __name__ == "__main__":
    main()
