"""The package's own names: public, typed, and loaded only when they are used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

import focus_jax
from focus_jax import camera, losses
from focus_jax.evaluation import masks
from focus_jax.networks import chips

FOLDER = Path(focus_jax.__file__).parent


def test_importing_loads_nothing_of_others():
    code = (
        "import sys, time; begun = time.perf_counter(); import focus_jax; "
        "taken = time.perf_counter() - begun; "
        "print(taken, sorted({'jax', 'trimesh', 'orbax', 'numpy', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, loaded = done.stdout.split(" ", 1)
    assert loaded.strip() == "[]"
    assert float(seconds) < 0.1


def test_looking_at_photos_loads_nothing_of_training():
    code = (
        "import sys, focus_jax; focus_jax.reconstruct; "
        "print([m for m in sys.modules if m.startswith('focus_jax.training')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_only_unix_has_is_not_needed_to_import():
    code = (
        "import os, sys; os.__dict__.pop('sched_getaffinity', None); del os.getuid\n"
        "sys.modules.update(dict.fromkeys(['fcntl', 'resource', 'pwd', 'grp', 'termios']))\n"
        "import focus_jax.main, focus_jax.photos.api, focus_jax.commands.reconstruct"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", dir(focus_jax))
def test_every_public_name_is_there(name):
    assert getattr(focus_jax, name) is not None


def test_type_checkers_see_the_same_names():
    stub = ast.parse((FOLDER / "__init__.pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.asname for node in imports for alias in node.names}
    assert typed == set(dir(focus_jax))
    for node in imports:
        for alias in node.names:
            found = getattr(importlib.import_module(node.module), alias.name, None)
            found = found or importlib.import_module(f"{node.module}.{alias.name}")
            assert found is getattr(focus_jax, alias.name)


def test_names_that_others_import_stay():
    from focus_jax import camera, encoder, geometry, losses, recognizer, refine, segmenter, shading
    from focus_jax.evaluation import masks
    from focus_jax.face_models import load_face_model
    from focus_jax.weights import torch

    assert callable(camera.project) and callable(geometry.vertex_normals)
    assert callable(shading.shade) and callable(losses.neighbour) and callable(masks.mask_scores)
    assert callable(recognizer.load_recognizer) and callable(recognizer.embedding)
    assert callable(torch.convert) and callable(load_face_model) and callable(refine.refine)
    assert encoder.Encoder and segmenter.Segmenter


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rasterise'"):
        focus_jax.rasterise  # noqa: B018


def test_every_room_says_what_it_is_for():
    for path in FOLDER.glob("*/__init__.py"):
        said = ast.get_docstring(ast.parse(path.read_text()))
        assert said and "Read " in said, path
        assert "mports" in said or "Builds on" in said, path


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (camera.extrinsics, (2, 5)),
        (losses.binary, (2, 8, 8)),
        (lambda mask: masks.image_iou(mask, mask), (2, 8, 8)),
        (chips.dlib_matrix, (2, 5, 2)),
    ],
)
def test_the_tests_check_shapes(function, shape):
    """What tests/conftest.py switches on, in each of the rooms."""
    with pytest.raises(jaxtyping.TypeCheckError, match="checking the parameters"):
        function(np.zeros(shape, np.float32))
