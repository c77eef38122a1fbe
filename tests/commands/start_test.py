"""What a command does before its first face, counted in a process of its own."""

import json
import subprocess
import sys

import cv2
import pytest
import skimage.data
import small_job

CODE = """
import json, sys
from jax._src import monitoring
compiled = []
monitoring.register_event_duration_secs_listener(
    lambda name, _, **about:
    name.endswith("backend_compile_duration") and compiled.append(about["fun_name"]))
from focus_jax.commands import main
status = main(sys.argv[1:])
print(json.dumps({"status": status, "compiled": compiled}))
"""
# Those of one operation, which whoever calls jax.numpy outside of a program gets.
SINGLE = ("stage", "squeeze", "convert_element_type", "broadcast_in_dim", "add", "reshape")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "one.png"
    cv2.imwrite(str(path), skimage.data.astronaut()[:300, 100:400, ::-1])
    return path


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Of both commands: the second finds those that it shares with the first."""
    return tmp_path_factory.mktemp("programs")


def run(word, photo, out, programs):
    environment = {**small_job.environment(), "JAX_COMPILATION_CACHE_DIR": str(programs)}
    done = subprocess.run(
        [sys.executable, "-c", CODE, word, str(photo), "--out", str(out)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("word", ["reconstruct", "segment"])
def test_one_photo_needs_few_programs_and_those_once(word, photo, programs, tmp_path):
    first = run(word, photo, tmp_path / "first", programs)
    assert first["status"] == 0
    assert 0 < len(first["compiled"]) <= 12
    bare = [name.removeprefix("jit(").rstrip(")") for name in first["compiled"]]
    assert not set(bare) & set(SINGLE), bare
    again = run(word, photo, tmp_path / "again", programs)
    assert again["compiled"] == []
    results = [
        {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
        for out in (tmp_path / "first", tmp_path / "again")
    ]
    assert results[0] == results[1] and any("mask" in name for name in results[0])


@pytest.mark.parametrize(
    ("word", "others"),
    [
        ("segment", ("trimesh", "scipy", "orbax", "h5py", "grain", "tensorflow", "matplotlib")),
        ("reconstruct", ("trimesh", "orbax", "h5py", "grain", "tensorflow", "matplotlib")),
    ],
)
def test_a_command_imports_what_it_needs(word, others):
    code = f"import sys, focus_jax.commands.{word}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {module.partition(".")[0] for module in done.stdout.split()} & set(others)
