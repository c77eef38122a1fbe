import json
import subprocess
import sys

import pytest
import small_job

CODE = """
import json, sys
import jax, numpy as np
from jax._src import monitoring
from focus_jax.photos import programs
from focus_jax.rendering import rasterize
from focus_jax.types import FaceCode

jax.config.update("jax_compilation_cache_dir", sys.argv[1])
width, times = int(sys.argv[2]), float(sys.argv[3])
compiled, told = [], []
monitoring.register_event_duration_secs_listener(
    lambda name, _, **about: name.endswith("backend_compile_duration") and compiled.append(about))

def shown(points, triangles, spare=None, *, size, times):
    found = rasterize.rasterize(points, triangles, size, size)
    def area(p):
        return rasterize.render(p, triangles, p, size, size)[0].sum()
    slope = jax.grad(area)(jax.numpy.asarray(points))
    code = FaceCode(*[found.barycentric.sum() * times] * 5)
    # By LAPACK, which a process that only reads programs has not loaded.
    half = jax.numpy.linalg.solve(2 * jax.numpy.eye(3), points[0])
    return {"code": code, "found": found, "slope": slope, "half": half, "none": None}

shown = programs.program(shown, static=("size", "times"))
points = np.float32([[[0, 0, 1], [0, 9, 1], [9, 0, 1]]])
points = np.repeat(points, width, 0)
with programs.telling(told.append):
    first = shown(points, np.int32([[0, 1, 2]]), size=8, times=times)
    second = shown(points, np.int32([[0, 1, 2]]), size=8, times=times)
spare = shown(points, np.int32([[0, 1, 2]]), np.float32(1), size=8, times=times)
inside = jax.jit(lambda p: shown(p, np.int32([[0, 1, 2]]), size=8, times=times))(points)
assert first["none"] is None and isinstance(first["code"], FaceCode)
np.testing.assert_allclose(first["half"], points[0] / 2)
for other in (second, spare, inside):
    np.testing.assert_array_equal(first["found"].triangle_id, other["found"].triangle_id)
    np.testing.assert_array_equal(first["slope"], other["slope"])
print(json.dumps({"light": float(first["code"].light), "told": told,
                  "slope": np.asarray(first["slope"]).tolist(),
                  "seen": int((first["found"].triangle_id >= 0).sum())}))
"""


def run(folder, width=1, times=1.0):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder), str(width), str(times)],
        capture_output=True,
        text=True,
        env=small_job.environment(),
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    return folder, run(folder)


def files(folder):
    return sorted(folder.glob("*.program"))


def test_a_program_runs_in_another_process(kept):
    folder, first = kept
    assert first["told"] == ["compiling shown, once"] and first["seen"] > 20
    assert len(files(folder)) == 2 and not list(folder.glob("tmp*"))
    assert max(map(max, first["slope"][0])) > 0
    again = run(folder)
    assert again == {**first, "told": []}


def test_other_shapes_and_settings_are_other_programs(kept):
    folder, first = kept
    wide, bright = run(folder, width=2), run(folder, times=2.0)
    assert wide["told"] and wide["seen"] == 2 * first["seen"]
    assert bright["told"] and bright["light"] == pytest.approx(2 * first["light"])
    assert len(files(folder)) == 6


def test_other_code_that_makes_the_same_program_compiles_nothing(kept, tmp_path):
    folder, first = kept
    for path in folder.glob("*.made"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert run(tmp_path) == {**first, "told": []}
    assert len(files(tmp_path)) == 2


def test_what_is_not_whole_is_made_anew(kept, tmp_path):
    folder, first = kept
    for path in [*files(folder), *folder.glob("*.made")]:
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[: len(content) // 2])
    assert run(tmp_path) == first
    assert run(tmp_path)["told"] == []


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path, kept):
    assert run(tmp_path / "not" / "there") == kept[1]
