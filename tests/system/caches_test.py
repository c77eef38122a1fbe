import os
import subprocess
import sys
from pathlib import Path

import pytest

from focus_jax.system import caches

CODE = """
import logging, sys
logging.basicConfig(format="%(message)s")
from focus_jax.system import command
command.keep_programs()
import jax, jax.numpy as jnp, numpy as np
from focus_jax.rendering import rasterize
points = jnp.array([[[0, 0, 1], [0, 9, 1], [9, 0, 1]]], jnp.float32)
found = rasterize.rasterize(points, jnp.array([[0, 1, 2]]), 8, 8, "warp").triangle_id
print(int(found.max()), jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize("home", ["/dev/null", "/proc"])
def test_without_a_home_that_can_be_written_work_goes_on(tmp_path, home):
    """JAX's programs and Warp's kernels are kept elsewhere, which is said once."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "WARP_CACHE_PATH")
    }
    environment |= {"HOME": home, "TMPDIR": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment, check=True
    )
    place = tmp_path / f"focus_jax-{os.getuid()}"
    assert done.stdout.split() == ["0", str(place / "xla")]
    said = [line for line in done.stderr.splitlines() if "cannot be written" in line]
    assert len(said) == 1 and said[0].endswith(f": caches are in {place}")
    assert list((place / "warp").iterdir())
    assert place.stat().st_mode & 0o77 == 0


def test_a_folder_that_can_be_written_is_used(tmp_path):
    assert caches.writable(tmp_path / "a" / "b", "data") == tmp_path / "a" / "b"
    assert not list((tmp_path / "a" / "b").iterdir())


def test_nothing_is_run_from_a_folder_of_others(tmp_path, monkeypatch):
    """As one that somebody put in wait for this user in the common temporary folder."""
    monkeypatch.setattr(caches.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(caches.tempfile, "tempdir", str(tmp_path))
    caches._temporary.cache_clear()
    try:
        place = tmp_path / f"focus_jax-{os.getuid()}"
        place.mkdir(mode=0o777)
        place.chmod(0o777)
        assert caches._temporary() != place and Path(caches._temporary()).parent == tmp_path
    finally:
        caches._temporary.cache_clear()
