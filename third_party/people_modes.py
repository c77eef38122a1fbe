"""The modes of the albedo: people as they are and put together anew, and what they vary in.

A hundred people are few: of the darkest tones there are ten, and each brow comes with one mouth.
Tones, and the parts of faces, are therefore exchanged between them.
"""

from typing import NamedTuple

import numpy as np
from builtin_face_paint import smooth
from people_skin import Mesh

MODES, SEED = 80, 20260618
WHITE_LIGHT = 1.2407  # irradiance of the renderer's light without direction
MOUTH = np.array([0.17, 0.075, 0.075]) * WHITE_LIGHT  # its inside, as displayed
SYNTHETIC = 0.5  # weight of recombined people, of that of real ones
UNEVEN, TINGED = 0.08, 0.025  # deviations of smooth patterns, in light and in each colour


class Paint(NamedTuple):
    """Colours `[n v 3]` and `[n 3]`, logarithms of what is displayed in white light."""

    detail: np.ndarray  # of the skin, without tone
    tone: np.ndarray
    eyes: np.ndarray  # absolute; of skin undefined


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


def quantised(modes: np.ndarray) -> np.ndarray:
    """Modes `[v 3 k]` rounded to 255 levels each, as float16 that lie mode after mode: a zip of
    them takes 40 % of the room. The 80 roundings together change a face by .2 grey levels."""
    step = np.abs(modes).max((0, 1)) / 127
    return np.asfortranarray(np.rint(modes / step) * step, np.float16)
