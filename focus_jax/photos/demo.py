"""The page of `focus-jax demo`: a photo's mask, overlay and 3D face, and the face made another."""

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from focus_jax import forward
from focus_jax.photos import api
from focus_jax.photos.trained import Model
from focus_jax.types import FaceCode, FaceModel

SIDE = 384  # pixels of the face that the sliders change
STEEP = 0.5  # of the ambient light: how far the light can be shifted
KEPT = 600  # seconds that gradio keeps a file


class Fit(NamedTuple):
    """What the page shows of a photo, and the code that its sliders begin with."""

    overlay: str  # files
    mask: str
    face: str  # GLB
    code: FaceCode  # of the largest face, without batch axis
    said: str


def fit(photo: api.PhotoLike, model: Model, steps: int, landmarks: str, folder: Path) -> Fit:
    """Fit the largest face of a photo, and write its files into a new folder.

    ValueError, in one sentence, for a photo that cannot be read or shows no face.
    """
    faces = api.reconstruct(photo, model=model, refine=steps, landmarks=landmarks)
    if not faces:
        raise ValueError("no face was found; try a photo that shows one larger or from the front")
    face = faces[0]
    where = face.save(tempfile.mkdtemp(dir=folder), write=("mask", "meshes", "pictures"))
    hidden = face.numbers["occlusion"]["total"]
    more = f", the largest of {len(faces)}" if len(faces) > 1 else ""
    said = f"A face{more}: {hidden:.0%} of it hidden, confidence {face.numbers['confidence']:.2f}."
    overlay, mask, solid = (str(where / n) for n in ("overlay.jpg", "mask.png", "fitted.glb"))
    return Fit(overlay, mask, solid, face.code, said)


def change(
    code: FaceCode,
    face_model: FaceModel,
    identity: float,
    expression: float,
    brightness: float,
    side: float,
    above: float,
) -> np.ndarray:
    """The face as uint8 `[SIDE SIDE 3]`, on white, with more or less of who it is and how it looks.

    `identity` and `expression` are factors of the coefficients, albedo's included, `brightness`
    one of the light; `side` and `above` (-1 to 1) shift it to the picture's right and upwards. The
    middle of all sliders, 1 1 1 0 0, is the face that was fitted.
    """
    light = jnp.asarray(code.light).reshape(3, 9) * brightness
    ambient = light[:, 0]
    # The first band's harmonics, of y (as the camera has it, downwards) and x, have a minus sign.
    light = light.at[:, 1].add(STEEP * above * ambient).at[:, 3].add(-STEEP * side * ambient)
    changed = dataclasses.replace(
        code,
        identity=identity * code.identity,
        albedo=identity * code.albedo,
        expression=expression * code.expression,
        light=light.ravel(),
    )
    picture = _draw(jax.tree.map(lambda x: jnp.asarray(x)[None], changed), face_model)
    return np.rint(255 * np.asarray(picture)).astype(np.uint8)


@jax.jit
def _draw(code: FaceCode, face_model: FaceModel) -> jax.Array:
    rendering = forward.reconstruct(code, face_model, SIDE, SIDE).rendering
    white = forward.composite(rendering, jnp.ones((1, SIDE, SIDE, 3)))
    return jnp.clip(white[0], 0, 1)


def make_page(model: Model, landmarks: str, folder: Path) -> Any:
    """The page, a `gradio.Blocks`, which writes into `folder`.

    ImportError, saying what to install, where gradio is not.
    """
    try:
        import gradio as gr
    except ModuleNotFoundError:
        raise ImportError(
            "the page needs gradio, which is not installed: pip install 'focus_jax[demo]'"
        ) from None

    def on_photo(photo: str | None, steps: int) -> tuple[Any, ...]:
        if photo is None:
            raise gr.Error("give a photo first", print_exception=False)
        try:
            found = fit(photo, model, int(steps), landmarks, folder)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        drawn = change(found.code, model.face_model, 1.0, 1.0, 1.0, 0.0, 0.0)
        return *found[:3], found.face, found.code, found.said, drawn, 1.0, 1.0, 1.0, 0.0, 0.0

    def on_slider(code: FaceCode | None, *numbers: float) -> np.ndarray | None:
        return None if code is None else change(code, model.face_model, *numbers)

    # Without the button that sends a picture to a public forum.
    image = functools.partial(gr.Image, buttons=["download", "fullscreen"])
    with gr.Blocks(title="focus_jax", delete_cache=(60, KEPT), analytics_enabled=False) as page:
        gr.Markdown("# focus_jax\nA photo in, its face in 3D and what hides it out.")
        code = gr.State(None, time_to_live=KEPT)
        with gr.Row():
            with gr.Column():
                photo = image(label="photo")
                # The file as it was given: read, or refused, as the commands do it.
                photo.preprocess = lambda given: None if given is None else given.path
                steps = gr.Slider(0, 60, 20, step=5, label="steps of refinement")
                start = gr.Button("Find the face", variant="primary")
                said = gr.Markdown()
            overlay = image(label="overlay", interactive=False)
            mask = image(label="mask: white where the face is seen", interactive=False)
        with gr.Row():
            solid = gr.Model3D(label="the face, to be turned")
            drawn = image(label="the face, changed", interactive=False)
            with gr.Column():
                sliders = [
                    gr.Slider(0, 2, 1, label="identity: 0 is the mean face, 2 a caricature"),
                    gr.Slider(0, 2, 1, label="expression"),
                    gr.Slider(0.3, 2, 1, label="light"),
                    gr.Slider(-1, 1, 0, label="light from the left (-) or the right"),
                    gr.Slider(-1, 1, 0, label="light from below (-) or above"),
                ]
                file = gr.File(label="the mesh, GLB")
        shown = [overlay, mask, solid, file, code, said, drawn, *sliders]
        start.click(on_photo, [photo, steps], shown, api_name="fit")
        for slider in sliders:
            # Whatever moves it: the mouse, a key, a number typed, the button that sets it back.
            gr.on(
                [slider.input, slider.release],
                on_slider,
                [code, *sliders],
                drawn,
                show_progress="hidden",
                trigger_mode="always_last",
                api_name=False,
            )
    return page
