"""Figures of README and documentation: `python -m experiments.figures PORTRAITS docs/figures`.

`portraits.jpg`: six of PORTRAITS, generated and CC0, of those that no training sees (their number
ends in 9): the photo, three with an occluder pasted on, the fitted face over it, the same turned,
and the mask.
`stages.png`: scikit-image's astronaut (NASA, public domain), plain and with a mask pasted on,
through every stage of Figure 2. `video.jpg`: frames of an overlay, of a film in which two of
PORTRAITS move, are cut apart and change places. All by the shipped model, without refinement.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import jax.numpy as jnp
import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont

from focus_jax import forward, load_model, losses, morphable, render_mesh
from focus_jax.data.detect import DEFAULT, landmark_source
from focus_jax.data.faces import Photo, read_faces
from focus_jax.data.occluders import paste_occluder
from focus_jax.photos import inference, results, video, video_files
from focus_jax.photos.trained import Model, make_batch
from focus_jax.rendering import pictures
from focus_jax.types import Batch, FaceCode

PEOPLE = {
    "female_09.jpg": "none",
    "male_19.jpg": "sunglasses",
    "female_29.jpg": "none",
    "male_39.jpg": "mask",
    "female_49.jpg": "hand",
    "male_59.jpg": "none",
}
PAPER = 0.94  # grey of what is not face
SIDE = 160
FILMED = 256  # pixels of a portrait in the film


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("portraits", metavar="PORTRAITS", type=Path)
    parser.add_argument("out", metavar="DIR", type=Path)
    arguments = parser.parse_args(argv)
    missing = [name for name in PEOPLE if not (arguments.portraits / name).is_file()]
    if missing:
        print(f"error: {arguments.portraits} lacks {', '.join(missing)}", file=sys.stderr)
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = load_model("shipped")
    people = [(arguments.portraits / name, kind) for name, kind in PEOPLE.items()]
    sheet = portraits(model, batch_of(model, people))
    pictures.write_image(arguments.out / "portraits.jpg", sheet, quality=88)
    pictures.write_image(arguments.out / "video.jpg", film(model, arguments.portraits), quality=88)
    astronaut = Photo(Path("astronaut"), "astronaut", skimage.data.astronaut())
    batch = batch_of(model, [(astronaut, "none"), (astronaut, "mask")])
    pictures.write_png(arguments.out / "stages.png", stages(model, batch))
    return 0


def batch_of(model: Model, photos: Sequence[tuple[Path | Photo, str]]) -> Batch:
    """The first face of each photo, with an occluder of that kind pasted on."""
    source, crops, landmarks = landmark_source(DEFAULT), [], []
    for number, (photo, kind) in enumerate(photos):
        photo = photo if isinstance(photo, Photo) else Photo(photo, photo.name)
        face = read_faces(photo, source, model.record_size)[1][0]
        rng = np.random.default_rng(number)
        crops.append(paste_occluder(face.crop, face.landmarks, rng, kind).image)
        landmarks.append(face.landmarks)
    return make_batch(model, np.stack(crops), np.stack(landmarks))


def draw(model: Model, code: FaceCode, **changed: jnp.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face and its coverage, with parts of the code or its albedo changed."""
    albedo = changed.pop("colours", morphable.albedo(model.face_model, code.albedo))
    code = code.replace(**changed)
    vertices = morphable.vertices(model.face_model, code.identity, code.expression)
    triangles = model.face_model.triangles
    found = render_mesh(vertices, albedo, triangles, code.pose, code.light, 224, 224, samples=2)
    return np.asarray(found.image), np.asarray(found.coverage)


def on_paper(image: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """What `draw` gives, on light grey."""
    return pictures.overlay(np.full_like(image, PAPER), image, coverage)


def portraits(model: Model, batch: Batch) -> np.ndarray:
    """A column a person: photo, fitted face over it, the same turned, and the mask."""
    code = inference.find_codes(model, batch).code
    found = inference.show(model, batch, code)
    shown, coverage = draw(model, code)
    turned = np.asarray(inference.turned(model, code)) / 255
    photo = resized(batch.image, 224)
    mask = np.asarray(found.mask) * 0.9 + 0.05
    rows = [photo, pictures.overlay(photo, shown, coverage), turned, resized(mask, 224)]
    return np.concatenate([_row(row) for row in rows])


def film(model: Model, portraits: Path) -> np.ndarray:
    """Frames of an overlay, side by side: two people, one of them alone, both exchanged."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "film.mp4", Path(folder) / "out"
        code = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(path), code, 25, (2 * FILMED, FILMED))
        one, two = (cv2.imread(str(portraits / name)) for name in list(PEOPLE)[::3])
        for number in range(45):
            left, right = _moved(one, number), _moved(two, number + 20)
            if number >= 30:
                left, right = right, left
            writer.write(np.hstack([left, 0 * right if 15 <= number < 30 else right]))
        writer.release()
        shared, source = results.share(model, ["turned"]), landmark_source(DEFAULT)
        video.reconstruct_video(path, out, path.name, shared, source, steps=0, batch_size=8)
        drawn = [frame for _, frame in video_files.frames(out / "overlay.webm")]
    return np.hstack([drawn[7], drawn[22], drawn[37]])


def _moved(portrait: np.ndarray, number: int) -> np.ndarray:
    """A portrait as the frame of a film in which it moves smoothly."""
    small = cv2.resize(portrait, (FILMED, FILMED), interpolation=cv2.INTER_AREA)
    turn, size = 6 * np.sin(number / 9), 1 + 0.06 * np.sin(number / 13)
    moved = cv2.getRotationMatrix2D((FILMED / 2, FILMED / 2), turn, size)
    moved[0, 2] += 0.03 * FILMED * np.sin(number / 7)
    return cv2.warpAffine(small, moved, (FILMED, FILMED), borderMode=cv2.BORDER_REPLICATE)


def stages(model: Model, batch: Batch) -> np.ndarray:
    """A column a stage, their names above, a row a photo; half of the stages, then the rest."""
    code = inference.find_codes(model, batch).code
    found = inference.show(model, batch, code)
    size = batch.image.shape[1]
    face = forward.reconstruct(code, model.face_model, size, size)
    _, robust = losses.robust_photometric(
        batch.image, face.rendering.image, face.rendering.coverage
    )
    grey = jnp.full_like(face.rendering.screen_vertices, 0.5)
    lamp = jnp.zeros_like(code.light).at[:, jnp.array([0, 9, 18])].set(3.4)
    lamp = lamp.at[:, jnp.array([2, 11, 20])].set(-0.9)
    flat = jnp.zeros_like(code.light).at[:, jnp.array([0, 9, 18])].set(3.5)
    shown, coverage = draw(model, code)
    photo = resized(batch.image, 224)
    landmarks = resized(_marked(np.asarray(batch.image), np.asarray(batch.landmarks)), 224)
    neutral = draw(model, code, expression=0 * code.expression, colours=grey, light=lamp)
    columns = {
        "photo, landmarks": landmarks,
        "identity": on_paper(*neutral),
        "and expression": on_paper(*draw(model, code, colours=grey, light=lamp)),
        "albedo": on_paper(*draw(model, code, light=flat)),
        "light": on_paper(*draw(model, code, colours=grey)),
        "rendering": on_paper(shown, coverage),
        "over the photo": pictures.overlay(photo, shown, coverage),
        "turned": np.asarray(inference.turned(model, code)) / 255,
        "Eq. 10": resized(np.asarray(robust), 224),
        "mask": resized(np.asarray(found.mask), 224),
    }
    names = list(columns)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    return np.concatenate([_titled({name: columns[name] for name in half}) for half in halves])


def _titled(columns: dict[str, np.ndarray]) -> np.ndarray:
    body = pictures.grid(list(columns.values()), side=SIDE)
    width = body.shape[1] // len(columns)
    titles = Image.new("RGB", (body.shape[1], 24), "white")
    pen, font = ImageDraw.Draw(titles), ImageFont.load_default(14)
    for number, name in enumerate(columns):
        pen.text(((number + 0.5) * width, 12), name, "black", font, anchor="mm")
    return np.concatenate([np.asarray(titles), body])


def _marked(images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    large = resized(images, 448)
    for image, points in zip(large, landmarks * 448 / images.shape[1], strict=True):
        for x, y in points.astype(int):
            image[max(y - 3, 0) : y + 3, max(x - 3, 0) : x + 3] = (0.1, 1.0, 0.4)
    return large


def resized(images: np.ndarray, side: int) -> np.ndarray:
    """Square pictures `[n h w 1 or 3]` in [0, 1] as `[n side side 3]`."""
    return pictures.grid([np.asarray(images)], side=side, gap=0).reshape(-1, side, side, 3) / 255.0


def _row(images: np.ndarray) -> np.ndarray:
    return pictures.grid([image[None] for image in images], side=SIDE)


if __name__ == "__main__":
    sys.exit(main())
