import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from skimage import data

from focus_jax import forward
from focus_jax.commands import demo as command
from focus_jax.face_models import load_face_model
from focus_jax.photos import demo
from focus_jax.types import FaceCode

MIDDLE = (1.0, 1.0, 1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def face_model():
    model = load_face_model("builtin", identity=4, expression=4, albedo=4)
    return jax.tree.map(jnp.asarray, model)


@pytest.fixture(scope="module")
def code():
    grey = jnp.zeros((3, 9)).at[:, 0].set(1.5).ravel()
    return FaceCode(jnp.ones(4), jnp.ones(4), jnp.ones(4), jnp.zeros(6), grey)


@pytest.fixture(scope="module")
def change(face_model, code):
    return lambda *sliders: demo.change(code, face_model, *sliders).astype(float)


def test_in_the_middle_of_all_sliders_is_the_face_that_was_fitted(face_model, code, change):
    batch = jax.tree.map(lambda x: x[None], code)
    rendering = forward.reconstruct(batch, face_model, demo.SIDE, demo.SIDE).rendering
    own = forward.composite(rendering, jnp.ones((1, demo.SIDE, demo.SIDE, 3)))[0]
    np.testing.assert_allclose(change(*MIDDLE), 255 * np.clip(own, 0, 1), atol=1.0)


def test_light_comes_from_where_the_sliders_say(change):
    half, plain = demo.SIDE // 2, change(*MIDDLE)
    right, above = (change(*MIDDLE[:3], *shift) - plain for shift in ((0.5, 0), (0, 0.5)))
    assert right[:, half:].mean() > right[:, :half].mean() + 2
    assert above[: half // 2].mean() > above[half:].mean() + 2
    assert change(1, 1, 0.5, 0, 0).mean() < plain.mean()


def test_who_it_is_and_the_expression_go_to_the_mean(change, face_model, code):
    nobody = FaceCode(*(jnp.zeros(4),) * 3, code.pose, code.light)
    mean = demo.change(nobody, face_model, *MIDDLE)
    np.testing.assert_array_equal(change(0, 0, 1, 0, 0), mean)
    assert np.abs(change(1, 0, 1, 0, 0) - mean).max() > 5
    assert np.abs(change(0, 1, 1, 0, 0) - mean).max() > 5


def test_a_photo_without_a_face_is_told_of(monkeypatch, tmp_path):
    monkeypatch.setattr(demo.api, "reconstruct", lambda *photos, **options: [])
    with pytest.raises(ValueError, match="no face was found"):
        demo.fit(np.zeros((8, 8, 3), np.uint8), None, 0, "mediapipe", tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(command.trained, "load_model", lambda *names: None)
    assert command.main([]) == 1
    assert "pip install 'focus_jax[demo]'" in capsys.readouterr().err


def test_a_wrong_model_is_one_sentence(capsys, tmp_path):
    assert command.main(["--model", str(tmp_path / "none_here")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "none_here" in error


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_that_there_is_not_is_one_sentence(capsys, port):
    assert command.main([f"--port={port}"]) == 1
    assert capsys.readouterr().err == f"error: --port is from 1 to 65535, not {port}\n"


def test_the_page_is_for_this_machine_alone(monkeypatch, tmp_path):
    seen = {}

    class Page:
        def launch(self, **options):
            seen.update(options)

    monkeypatch.setattr(demo, "make_page", lambda *given: Page())
    monkeypatch.setattr(command.trained, "load_model", lambda *names: None)
    assert command.main([]) == 0
    assert seen["server_name"] == "127.0.0.1"


def test_the_page_clicked_through(tmp_path):
    for name in ("gradio", "playwright"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    names = ("chromium-headless-shell", "chromium", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    photo, text = tmp_path / "photo.png", tmp_path / "text.jpg"
    Image.fromarray(data.astronaut()).save(photo)
    text.write_text("a photo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    own = {**os.environ, "TMPDIR": str(tmp_path), "XLA_FLAGS": ""}
    words = [sys.executable, "-m", "focus_jax", "demo", "--port", port]
    clicks = Path(__file__).parents[1] / "demo_clicks.py"
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=own) as server:
        try:
            said = server.stdout.readline()
            url = said.split()[0]
            wait_for(url)
            given = [sys.executable, clicks, url, browser, photo, text]
            done = subprocess.run(given, capture_output=True, text=True)
        finally:
            server.terminate()
    assert done.stdout == "clicked through\n", done.stderr
    assert server.returncode == 0
    assert not list(tmp_path.glob("focus_jax_demo_*"))  # not even where the command is ended


def wait_for(url):
    for _ in range(120):
        with contextlib.suppress(OSError), urllib.request.urlopen(url):
            return
        time.sleep(1)
