"""What is fuzzed: for each reader or writer, files or settings to spoil, and what may be raised.

A target is a function of a folder that it may write into. It makes its examples there, and returns
`strategy`, what hypothesis draws a case from, and `use`, which gives a case to the project.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import cv2
import face_model_files
import numpy as np
import torch_files
from hypothesis import strategies as st

from focus_jax import weights
from focus_jax.data.decode import UnreadablePhoto, read_photo
from focus_jax.data.landmarks import POINTS, read_landmarks
from focus_jax.face_models import flame, load_face_model
from focus_jax.face_models.npz import write
from focus_jax.training import misfit, settings
from focus_jax.weights.torch_file import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]


class Target(NamedTuple):
    strategy: st.SearchStrategy
    use: Callable[[Any], None]
    allowed: tuple[type[Exception], ...] = (ValueError,)


# --- spoiled files -------------------------------------------------------------------------------


class Edit(NamedTuple):
    kind: str
    place: int  # from the end if negative
    length: int
    data: bytes


def edits(size: int) -> st.SearchStrategy[list[Edit]]:
    """Changes to a file of so many bytes; not the new file, as hypothesis keeps what it draws."""
    # Headers and indices lie at both ends.
    places = st.integers(0, 511) | st.integers(-512, -1) | st.integers(0, size - 1)
    kinds = st.sampled_from(["set", "set", "set", "cut", "double", "insert", "end"])
    edit = st.builds(Edit, kinds, places, st.integers(1, 64), st.binary(max_size=8))
    return st.lists(edit, max_size=6)


def spoiled(content: bytes, changes: list[Edit]) -> bytes:
    """A file with bytes changed, cut out, doubled, put in, or its end cut off."""
    data = bytearray(content)
    for kind, place, length, new in changes:
        if not data:
            break
        place %= len(data)
        if kind == "set":
            data[place : place + 1] = new
        elif kind == "cut":
            del data[place : place + length]
        elif kind == "double":
            data[place:place] = data[place : place + length]
        elif kind == "insert":
            data[place:place] = new
        else:
            del data[place:]
    return bytes(data)


def changed_one(files: dict[str, bytes]) -> st.SearchStrategy[tuple[str, list[Edit]]]:
    """One of some files by its name, and what is changed in it."""
    return st.sampled_from(sorted(files)).flatmap(
        lambda name: st.tuples(st.just(name), edits(len(files[name]) or 1))
    )


def of_files(
    files: dict[str, bytes], folder: Path, use: Callable[[Path], Any], **more: Any
) -> Target:
    """Spoil one of some files, each read under its own name. Unspoiled they must be well."""
    place = folder / "case"

    def read(case: tuple[str, list[Edit]]) -> None:
        place.mkdir(exist_ok=True)
        path = place / case[0]
        path.write_bytes(spoiled(files[case[0]], case[1]))
        try:
            use(path)
        finally:
            path.unlink(missing_ok=True)

    for name in files:
        read((name, []))
    return Target(changed_one(files), read, **more)


# --- the targets ---------------------------------------------------------------------------------


def csv(folder: Path) -> Target:
    """Landmark files: rows of any text and numbers, and spoiled bytes."""
    good = ",".join(["a.jpg", *[f"{i / 3:.2f}" for i in range(2 * POINTS)]])
    field = st.sampled_from(
        ["", "nan", "inf", "-1e999", "1", "2.5", '"', '"a,b"', "1_0", "٣", "\0"]
    )
    names = st.sampled_from(
        ["../x.jpg", "/etc/passwd", "C:\\x", "a\\..\\..\\b", "..", "a.jpg", "~"]
    )
    row = st.tuples(
        names | st.text(max_size=8), st.lists(field | st.text(max_size=4), max_size=140)
    )
    rows = st.lists(st.just(good) | row.map(lambda r: ",".join([r[0], *r[1]])), max_size=4)
    path = folder / "landmarks.csv"

    def use(data: bytes) -> None:
        path.write_bytes(data)
        for found in read_landmarks(path):
            assert np.isfinite(found.landmarks).all() and found.landmarks.shape == (POINTS, 2)
            inside = (folder / found.filename).resolve()
            assert folder.resolve() in inside.parents, found.filename

    text = rows.map("\n".join).map(lambda t: t.encode("utf-8", "surrogatepass"))
    twice = f"{good}\n{good}\n".encode()
    return Target(text | edits(len(twice)).map(lambda changes: spoiled(twice, changes)), use)


def image(folder: Path) -> Target:
    """Photos of every format that OpenCV writes."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 36, 3), np.uint8)
    files = {}
    for suffix in (".jpg", ".png", ".bmp", ".tiff", ".webp", ".ppm", ".gif", ".jp2", ".hdr"):
        given = picture.astype(np.float32) if suffix == ".hdr" else picture
        try:
            done, encoded = cv2.imencode(suffix, given)
        except cv2.error:
            continue  # this build of OpenCV does not write the format
        if done:
            files[f"photo{suffix}"] = encoded.tobytes()

    def use(path: Path) -> None:
        found = read_photo(path)
        assert found.ndim == 3 and found.shape[2] == 3 and found.dtype == np.uint8

    return of_files(files, folder, use, allowed=(UnreadablePhoto,))


def face_model(folder: Path) -> Target:
    """Face models of every format, small."""
    made = folder / "made"
    made.mkdir()
    write(made / "ours.npz", load_face_model("builtin", identity=2, expression=2, albedo=2))
    face_model_files.write_bfm(made / "model2017.h5", modes=(2, 2, 2))
    face_model_files.write_merged_2009(made / "BFM_model_front.mat")
    # FLAME's 400 modes are 20 MB of zeros here, which hardly a change would do anything to.
    for name in ("generic_model.pkl", "flame.npz"):
        face_model_files.write_flame(made / name, modes=[0, 1, 300, 301])
    files = {p.name: p.read_bytes() for p in made.iterdir() if p.is_file()}

    def use(path: Path) -> None:
        with mock.patch.object(flame, "IDENTITY_MODES", 2):
            load_face_model(str(path))

    return of_files(files, folder, use)


def checkpoint(folder: Path) -> Target:
    """Weights of others and ours, and misfit priors."""
    from tests.weights.onnx_test import small_graph

    made = folder / "made"
    made.mkdir()
    weights.save(made / "ours.safetensors", {"params": {"a": np.ones((2, 3), np.float32)}})
    with torch_files.stand_in() as torch:
        for name, zipped in (("torch.pth", True), ("legacy.pth", False)):
            content = {"epoch": 3, "state_dict": {"w": torch.tensor(0, (2, 3), (3, 1))}}
            torch.write(made / name, content, zipped=zipped)
    small_graph(made / "arcface.onnx", ended=True)
    small = load_face_model("builtin", identity=2, expression=2, albedo=2)
    misfit.save(made / "misfit.npz", np.zeros_like(small.shape_mean), small, 3)
    files = {p.name: p.read_bytes() for p in made.iterdir()}

    def use(path: Path) -> None:
        from focus_jax.weights.onnx import read_arcface

        readers = {
            ".safetensors": weights.load,
            ".pth": read_checkpoint,
            ".onnx": read_arcface,
            ".npz": lambda p: misfit.load(p, small),
        }
        readers[path.suffix](path)

    return of_files(files, folder, use)


def workdir(folder: Path) -> Target:
    """A training's checkpoints: any state that comes back is one that was saved."""
    from tests.weights.checkpoint_test import restored, written

    written(folder / "run", [5, 10])
    names = sorted(
        str(p.relative_to(folder / "run")) for p in (folder / "run").rglob("*") if p.is_file()
    )
    files = {name: (folder / "run" / name).read_bytes() for name in names}

    def use(case: tuple[str, list[Edit]]) -> None:
        path = folder / "run" / case[0]
        path.write_bytes(spoiled(files[case[0]], case[1]))
        try:
            assert restored(folder / "run") in (5, 10)
        finally:
            path.write_bytes(files[case[0]])

    return Target(changed_one(files), use)


# What overrides may be set to: of other types, out of range, or meant for a shell or a path.
VALUES = ["0", "-1", "1", "2.5", "nan", "inf", "-inf", "1e999", "True", "None", "()", "(1,2)"]
VALUES += ["False", "[1]", "{}", "'", "../..", "~", "%", "$(touch_x)"]
# What fields of a type may well be.
SOUND = {
    bool: ["True", "False"],
    int: ["0", "1", "2", "3", "8", "20"],
    float: ["0.0", "0.5", "1.0", "3", "1e-30", "1e30"],
    str: ["", "small", "adam", "jnp", "bfloat16", "shallow", "rendering", "dlib"],
    tuple: ["(1,2)", "(1.0,0.5,0.1)", "()"],
}


def config(folder: Path) -> Target:
    """Overrides of any field by any text: a flag's error, one of ours, or a config that is well."""
    from absl import flags
    from ml_collections import config_flags

    from focus_jax.training.schedule import Schedule, phase_at, terms_at
    from focus_jax.training.train import make_method

    def parse(overrides: list[tuple[str, str]]) -> Any:
        arguments = ["", f"--config={ROOT / 'configs' / 'em.py'}:smoke"]
        arguments += [f"--config.{name}={text}" for name, text in overrides]
        parsed = flags.FlagValues()
        given = config_flags.DEFINE_config_file(
            "config", None, "", lock_config=True, flag_values=parsed, sys_argv=arguments
        )
        try:
            parsed(arguments)
        except (flags.Error, AttributeError, KeyError, ValueError) as error:
            raise ValueError(f"as a command says it: {error}") from error
        return given.value

    any_value = st.sampled_from(VALUES) | st.text(max_size=6)
    sound = [(n, v) for n, x in settings.leaves(parse([])) for v in SOUND[type(x)]]
    names = st.sampled_from(sorted({n for n, _ in sound})) | st.text(max_size=6)
    override = st.sampled_from(sound) | st.tuples(names, any_value)
    face_model = load_face_model("builtin", identity=2, expression=2, albedo=2)

    def use(overrides: list[tuple[str, str]]) -> None:
        found = parse(overrides)
        settings.check(found)
        schedule = Schedule(**found.schedule)
        for step in range(min(schedule.total, 40)):
            phase_at(step, schedule)
            terms_at(step, schedule, found.losses, found.rates)
        make_method(found, face_model)

    return Target(st.lists(override, max_size=3), use)


def export(folder: Path) -> Target:
    """Results of photos with any name, in an output folder that links lead out of."""
    from focus_jax.data.faces import find_photos
    from focus_jax.photos.process import check_inside
    from focus_jax.photos.results import write_text

    piece = st.text(max_size=6) | st.sampled_from(
        ["..", ".", "~", "a", "-x", "a b", "\u202e", "x\n"]
    )
    names = st.lists(piece, min_size=1, max_size=4)
    picture = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()

    def use(parts: list[str]) -> None:
        inside, out = folder / "photos", folder / "out"
        for place in (inside, out):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        (out / "a").symlink_to(folder / "elsewhere")
        path = inside.joinpath(*[p.replace("/", "_").strip("/") or "_" for p in parts])
        path = path.with_name(path.name + ".png")
        if inside.resolve() not in path.resolve().parents:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture)
        except (OSError, ValueError):
            return  # a name that no file can have
        photos = find_photos([str(inside)], out).photos
        check_inside(out, [photo.name for photo in photos])
        for photo in photos:
            place = out / photo.name / "0"
            assert out.resolve() in place.resolve().parents, photo.name
            place.mkdir(parents=True)
            write_text(place / "face.json", "{}")

    return Target(names, use, allowed=(ValueError, OSError))


TARGETS: dict[str, Callable[[Path], Target]] = {
    f.__name__: f for f in (csv, image, face_model, checkpoint, workdir, config, export)
}
