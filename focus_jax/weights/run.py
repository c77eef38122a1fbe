"""A trained model, read for use: the folder of a training run, or an exported one.

An exported model is a folder of `config.json` and of plain arrays: `encoder.safetensors`,
`segmenter.safetensors` and `albedo_mean.safetensors`; and `face_model.npz` where it was trained
with a face model that nothing else brings. `focus-jax weights export` makes one of a
run; its networks are also what `config.init` starts from. `face_model.json` has the digest of the
face model's file and, in a run, where it was. `hub` says what else an exported folder has.
"""

import atexit
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from focus_jax import forward, weights
from focus_jax.face_models import BUILTIN, load_face_model
from focus_jax.networks.encoder import make_encoder
from focus_jax.networks.recognizer import direct_features, encoder_features
from focus_jax.networks.segmenter import Segmenter
from focus_jax.rendering.render import Drawing
from focus_jax.system import storage
from focus_jax.system.files import is_remote, read_json, user_path, write_whole
from focus_jax.system.sharding import is_first
from focus_jax.types import Config, FaceModel
from focus_jax.weights import hub
from focus_jax.weights.recognizer import load_recognizer

# The model that comes with the package; its MODEL_CARD.md says what it can do.
SHIPPED = Path(__file__).parent / "shipped"
EXPORTED = ("encoder", "segmenter", "albedo_mean")  # fields of the state, a file each
# What a config without the section `compute`, of an older run, has: see `training.method.Method`.
COMPUTE = {"dtype": "float32", "remat": False, "parts": 1}
# Fields and sections of a config that a model cannot do without.
NEEDED = (
    "name data.size encoder.kind segmenter.width segmenter.stem segmenter.dropout recognizer.kind "
    "recognizer.weights rasterizer.backend decoding losses face_model.name face_model.modes"
)


FACE_MODEL = "face_model.json"  # in a model's folder: its face model's digest, and where it was
OWN_FACE_MODEL = "face_model.npz"  # in an exported model's, where it has one of its own
# What "builtin" named before the built-in one of today: its file's digest, and its vertices.
FORMER = "976d2977c2be53e91523cc9a84a152cfd002513c0a9f385900109180085622cc", 3442
# And the same face model as today's, before the last of the dense landmarks had their places, and
# before brows, nose and lips of the 68 lay where the detector sees them.
SAME = (
    "625bc5a85977c5d90e0c361919fb9c8abdb18c7f64478ef9e43eb95e35caea8e",
    "f7a636e86f3614aab56b74db2d87699be0e289223aabd3b66536396582cc32ae",
)


class Trained(NamedTuple):
    config: Config
    networks: forward.Networks
    face_model: FaceModel  # with the run's mean albedo
    recognizer: dict  # frozen; its variables
    variables: dict  # of the "encoder" and the "segmenter"
    face_model_file: str = "builtin"  # where it was found


def remember_face_model(workdir: Path, name: str) -> None:
    """Keep with a run where its face model lies, from wherever it is used, and its digest.

    A run that has begun keeps its face model: ValueError where `name` is another by now.
    """
    where = name if name == "builtin" else os.path.abspath(user_path(name))
    about = {"path": where, "sha256": face_model_digest(where)}
    from focus_jax.weights import checkpoint  # orbax, which plain files do without

    begun, known = checkpoint.has_begun(workdir), _remembered(workdir).get("sha256")
    if begun and known and known != about["sha256"]:
        raise ValueError(f"{_another(where, workdir)}; choose another --workdir")
    # Without a digest, a run that has begun may be of another built-in face model.
    if is_first() and (known or not begun or where != "builtin"):
        write_whole(workdir / FACE_MODEL, json.dumps(about, indent=1) + "\n")


def _remembered(folder: Path) -> dict[str, str]:
    path = folder / FACE_MODEL
    about = read_json(path) if path.is_file() else {}
    return (
        about | {"sha256": face_model_digest("builtin")} if about.get("sha256") in SAME else about
    )


def face_model_digest(name: str) -> str:
    """SHA-256 of a face model's file, or of the files of its folder in the order of their names."""
    path, digest = BUILTIN if name == "builtin" else user_path(name), hashlib.sha256()
    for file in [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file()):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _find_face_model(folder: Path, config: Config, given: str | None) -> tuple[FaceModel, str]:
    """A run's face model, and its file: the one `given`, or where it was, or as the config says.

    ValueError where there is none, or the one that is there is another.
    """
    about, name = _remembered(folder), str(config.face_model.name)
    places = (folder / OWN_FACE_MODEL, about.get("path", ""), folder / name)
    where = given or next((str(place) for place in places if os.path.exists(place)), name)
    if where != "builtin" and not user_path(where).exists():
        raise ValueError(
            f"the face model {where} does not exist; {folder} was trained with it: give "
            "--face-model"
        )
    known = about.get("sha256")
    # What lies where it lay in training is taken for the same: hashing takes a moment.
    if known and (where == "builtin" or where != about.get("path")):
        if where == "builtin" and known == FORMER[0]:
            raise ValueError(_changed(folder))
        if face_model_digest(where) != known:
            raise ValueError(_another(where, folder))
    try:
        return load_face_model(where, **config.face_model.modes), where
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}; {folder} was trained with it: give --face-model") from None


def _another(where: str, folder: Path) -> str:
    what = "the built-in face model is" if where == "builtin" else f"{where} is"
    return f"{what} not the face model that {folder} was trained with"


def _changed(folder: Path) -> str:
    return (
        f"the built-in face model has changed since {folder} was trained; give --face-model the "
        "one of then, focus_jax/face_models/builtin.npz of the version that trained it"
    )


def folder_of(name: str | Path) -> Path:
    """The folder of a model: "shipped" is the one that comes with the package.

    What begins with "hf://" is fetched, as is what lies in object storage (`system.storage`):
    ValueError, or ImportError, where it cannot be.
    """
    if hub.is_address(name):
        return hub.fetch(str(name))
    if is_remote(name):
        return _fetched(str(name))
    return SHIPPED if str(name) == "shipped" else Path(name).expanduser()


@functools.cache
def _fetched(name: str) -> Path:
    """A copy of a model that lies in object storage, until the process ends."""
    folder = storage.place(name)
    if not (folder / "config.json").exists():
        raise ValueError(f"{name} holds no model; give the folder of a run or of an exported model")
    here = Path(tempfile.mkdtemp(prefix="focus_jax-model-"))
    atexit.register(shutil.rmtree, here, ignore_errors=True)
    for path in folder.iterdir():
        if path.is_dir():
            if path.name == "checkpoints":
                storage.fetch(path, here / path.name)
        elif any(path.match(pattern) for pattern in hub.WANTED):
            (here / path.name).write_bytes(path.read_bytes())
    return here


def missing(config: Config, names: Iterable[str]) -> list[str]:
    """Of fields and sections, by dotted names, those that a config lacks; of a whole section it."""
    lacking: dict[str, None] = {}
    for name in names:
        place: Any = config
        parts = name.split(".")
        for k, part in enumerate(parts, 1):
            if not isinstance(place, ConfigDict) or part not in place:
                lacking[".".join(parts[:k])] = None
                break
            place = place[part]
    return list(lacking)


def compute_settings(config: Config) -> dict[str, Any]:
    """The section `compute` of a config, whole; ValueError for a dtype that there is not."""
    compute = {**COMPUTE, **config.get("compute", {})}
    if compute["dtype"] not in ("float32", "bfloat16"):
        raise ValueError(f"config.compute.dtype is float32 or bfloat16, not {compute['dtype']!r}")
    return compute


def make_networks(config: Config, face_model: FaceModel) -> forward.Networks:
    """Networks, decoding and drawing named by a config. ValueError for what it cannot name."""
    compute = compute_settings(config)
    drawing = {k: v for k, v in config.rasterizer.items() if k in Drawing._fields}
    # A config that was read back from JSON has lists for tuples, which cannot be hashed.
    decoding: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in config.decoding.items()
    }
    known = [field.name for field in dataclasses.fields(forward.Decoding)]
    if unknown := [name for name in decoding if name not in known]:
        raise ValueError(
            f"config.decoding.{unknown[0]} is none of decoding's fields ({', '.join(known)}); a "
            "model of a later focus_jax needs that"
        )
    # Of an encoder without recognizer features the config's default says nothing.
    looks = config.encoder.kind == "recognizer" and config.encoder.get("landmarks", False)
    # A finished run's config may be older than a field; it was trained without.
    forms = ("composited", "robust_sigma", "robust_deviations")
    return forward.Networks(
        encoder=make_encoder(
            config.encoder.kind,
            forward.widths(face_model).outputs,
            detail=config.encoder.get("detail", False),
            direct=direct_features(config.recognizer.kind) if looks else 0,
            remat=compute["remat"],
        ),
        segmenter=Segmenter(
            width=config.segmenter.width,
            stem=config.segmenter.stem,
            dropout=config.segmenter.dropout,
            fine=config.segmenter.get("fine", 0),
            remat=compute["remat"],
        ),
        decoding=forward.Decoding(**decoding),
        recognizer=config.recognizer.kind,
        drawing=Drawing(**drawing),
        backend=config.rasterizer.backend or None,
        dtype=compute["dtype"],
        **{name: config.losses[name] for name in forms if name in config.losses},
    )


def load_trained(folder: str | Path, face_model: str | None = None) -> Trained:
    """An exported model, also of a hub, the newest checkpoint of a run, or "shipped".

    `face_model` is the file of its face model, where that has moved. ValueError, in one
    sentence, for a folder that holds neither, or files that its checksums do not tell of.
    """
    workdir = folder_of(folder)
    path = workdir / "config.json"
    exported = all((workdir / f"{name}.safetensors").is_file() for name in EXPORTED)
    if not path.is_file() or not (exported or (workdir / "checkpoints").is_dir()):
        raise ValueError(
            f"{workdir} is not a trained model; give the folder of a training run (it holds "
            "config.json and checkpoints) or of an exported model (config.json and .safetensors)"
        )
    hub.check_sums(workdir)
    config: Config = ConfigDict(_tuples(read_json(path)))
    lacking = missing(config, NEEDED.split())
    if not lacking and config.encoder.kind == "recognizer":
        lacking = missing(config, ["data.record_size"])
    if lacking:
        raise ValueError(f"{path} is not the config of a run: it has no {', '.join(lacking)}")
    found, where = _find_face_model(workdir, config, face_model)
    networks = make_networks(config, found)
    recognizer = load_recognizer(config.recognizer.kind, config.recognizer.weights or None)
    reader = _read_exported if exported else _read_checkpoint
    try:
        # The package's own fits its config, as a test says: tracing the networks takes a second.
        shapes = None if workdir == SHIPPED else _shapes(networks, found, config, recognizer)
        read = reader(workdir, shapes)
    except ValueError:
        if where == "builtin" and _is_former(workdir, reader):
            raise ValueError(_changed(workdir)) from None
        raise
    # All at once: jnp.asarray would compile a program for every shape.
    found, read = jax.device_put((found, read))
    found = dataclasses.replace(found, albedo_mean=read.pop("albedo_mean"))
    return Trained(config, networks, found, recognizer, read, where)


def _is_former(workdir: Path, reader: Callable[[Path, dict[str, Any]], Any]) -> bool:
    """Whether a model, that may have no digest, has the vertices of the former built-in face."""
    mean = jax.ShapeDtypeStruct((FORMER[1], 3), jnp.float32)
    try:
        reader(workdir, {"albedo_mean": mean})
    except ValueError:
        return False
    return True


def _read_checkpoint(workdir: Path, shapes: dict[str, Any]) -> dict[str, Any]:
    from focus_jax.weights import checkpoint  # orbax, which plain files do without

    manager = checkpoint.open_checkpoints(workdir)
    try:
        restored = checkpoint.restore_part(manager, shapes)
    finally:
        manager.close()
    if restored is None:
        raise ValueError(f"{workdir} holds no checkpoint yet; wait for the training to save one")
    return restored


def _read_exported(folder: Path, shapes: dict[str, Any] | None) -> dict[str, Any]:
    """The model's arrays in single precision; ValueError where they are not of the `shapes`."""
    paths = {name: folder / f"{name}.safetensors" for name in EXPORTED}
    if shapes is None:
        read = {
            name: jax.tree.map(lambda x: x.astype(np.float32), weights.load(path))
            for name, path in paths.items()
        }
    else:
        read = {
            name: weights.load_like(paths[name], like, what=f"the {name} of {folder}/config.json")
            for name, like in _exported(shapes).items()
        }
    return {**read, "albedo_mean": read["albedo_mean"]["mean"]}


def _exported(arrays: dict[str, Any]) -> dict[str, dict]:
    """The content of an exported model's files."""
    return {**arrays, "albedo_mean": {"mean": arrays["albedo_mean"]}}


def export(workdir: str | Path, folder: Path, face_model: str | None = None) -> int:
    """Write the model of a run as a folder that `load_trained` reads; returns its bytes.

    Numbers are kept in half precision, which halves the file. Folders of this machine are left out
    of the settings. So is the face model's file, whose licence may forbid to hand it on: its name
    and digest tell it, and beside config.json it is found. One that an exported model already
    has of its own goes along, and so does a misfit prior. `face_model` is as in `load_trained`.
    A folder of an earlier export may be written again; until it is whole it holds no config.json.
    ValueError for one of a run, or with files that would be taken for this model's.
    """
    trained = load_trained(workdir, face_model)
    config = trained.config.copy_and_resolve_references().unlock()
    for section, name in (
        ("data", "root"),
        ("data", "cache"),
        ("data", "codes"),
        ("init", "encoder"),
        ("init", "segmenter"),
        ("init", "albedo_mean"),
    ):
        if name in config.get(section, {}):  # a run may be older than a field
            config[section][name] = ""
    used, source = trained.face_model_file, folder_of(workdir)
    config.face_model.name = Path(used).name
    known = _remembered(source).get("sha256") or face_model_digest(used)
    beside = [name for name in (OWN_FACE_MODEL, hub.MISFIT) if (source / name).is_file()]
    _check_free(folder, source, known, beside)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", *(f"{name}.onnx" for name in EXPORTED)):
        (folder / name).unlink(missing_ok=True)  # of the networks that were there
    for name in beside:
        shutil.copy(used if name == OWN_FACE_MODEL else source / name, folder / name)
    (folder / FACE_MODEL).write_text(json.dumps({"sha256": known}) + "\n")
    state = {**trained.variables, "albedo_mean": trained.face_model.albedo_mean}
    for name, arrays in _exported(state).items():
        weights.save(folder / f"{name}.safetensors", weights.halved(arrays))
    hub.write_card(folder, str(config.name))
    hub.write_sums(folder)
    write_whole(folder / "config.json", json.dumps(config.to_dict(), indent=2) + "\n")
    return sum((folder / f"{name}.safetensors").stat().st_size for name in EXPORTED)


def _check_free(folder: Path, source: Path, face_model: str, beside: list[str]) -> None:
    """ValueError for a folder that an export of `source` would spoil, or that would spoil it.

    `face_model` is the digest of the export's, and `beside` are the files that it brings.
    """
    if not folder.is_dir():
        return
    if folder.samefile(source) or (folder / "checkpoints").exists():
        raise ValueError(
            f"{folder} is the folder of a run, or of the model to export; give another one"
        )
    for name in (OWN_FACE_MODEL, hub.MISFIT):
        path = folder / name
        if name in beside or not path.exists():
            continue
        if name == hub.MISFIT or face_model_digest(str(path)) != face_model:
            raise ValueError(
                f"{path} is of another model than {source}; move it away, or export to another "
                "folder"
            )


def _shapes(
    networks: forward.Networks, face_model: FaceModel, config: Config, recognizer: Any
) -> dict[str, Any]:
    """Shapes of what a model consists of; no network runs."""
    size, features = config.data.size, None
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    if config.encoder.kind == "recognizer":
        look = functools.partial(
            encoder_features,
            kind=config.recognizer.kind,
            detail=config.encoder.get("detail", False),
        )
        points = jax.ShapeDtypeStruct((1, 68, 2), jnp.float32)
        landmarks = points if config.encoder.get("landmarks", False) else None
        features = jax.eval_shape(look, recognizer, image, landmarks)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def init(module: Any, *inputs: Any) -> Any:
        return jax.eval_shape(functools.partial(module.init, train=False), key, *inputs)

    return {
        "encoder": init(networks.encoder, image, features),
        "segmenter": init(networks.segmenter, image, image),
        "albedo_mean": jax.ShapeDtypeStruct(np.shape(face_model.albedo_mean), jnp.float32),
    }


def _tuples(tree: Any) -> Any:
    """Lists, which JSON made of tuples, back: what a program is compiled for must be hashable."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    return tuple(map(_tuples, tree)) if isinstance(tree, list) else tree


def crop_size(config: Config) -> int:
    """Pixels of the crop that a model looks at first."""
    data = config.data
    return data.record_size if config.encoder.kind == "recognizer" else data.size
