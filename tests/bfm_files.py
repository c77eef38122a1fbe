"""Writes files in the layout of the Basel Face Models, from the built-in model's geometry."""

from pathlib import Path

import h5py
import numpy as np

from focus_jax.face_models import load_face_model


def write_bfm(path: Path, *, modes: tuple[int, int, int] = (6, 5, 4)) -> None:
    """A small Basel Face Model: the built-in mean, random smooth modes, its triangles."""
    model = load_face_model("builtin")
    rng = np.random.default_rng(0)
    points = np.asarray(model.shape_mean) + np.array([0, 0, 100])
    means = {"shape": points, "expression": 0 * points, "color": np.asarray(model.albedo_mean)}
    with h5py.File(path, "w") as file:
        for (name, mean), count in zip(means.items(), modes, strict=True):
            basis = np.linalg.qr(rng.normal(size=(mean.size, count)))[0]
            file[f"{name}/model/mean"] = mean.astype(np.float32).ravel()
            file[f"{name}/model/pcaBasis"] = basis.astype(np.float32)
            file[f"{name}/model/pcaVariance"] = np.linspace(4.0, 1.0, count, dtype=np.float32)
        file["shape/representer/points"] = points.T.astype(np.float32)
        file["shape/representer/cells"] = np.asarray(model.triangles).T
