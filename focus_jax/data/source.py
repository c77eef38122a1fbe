"""Which records a run trains and is judged on, made once and kept in a cache on disk."""

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from focus_jax.data.cache import Cached
from focus_jax.data.codes import Coded, read_codes
from focus_jax.data.cutting import cut_records
from focus_jax.data.dense_landmarks import unknown
from focus_jax.data.features import recognized
from focus_jax.data.occluders import OCCLUDERS, paste_occluder
from focus_jax.data.photos import fingerprint, photo_records
from focus_jax.data.synthetic import synthesize
from focus_jax.face_models import load_face_model
from focus_jax.system import caches, storage
from focus_jax.system.files import is_remote
from focus_jax.types import Config

log = logging.getLogger(__name__)

Records = Sequence[dict[str, Any]]
COPIES = "~/.cache/focus_jax/data"  # on this machine, of records in object storage
VERSION = 9  # of the records' content; raise it when the code that makes them changes


class Splits(NamedTuple):
    train: Records
    validation: Records
    test: Records  # with true masks: synthetic faces, or validation photos with pasted occluders


def load_splits(config: Config, recognizer: Any, *, train: bool = True) -> Splits:
    """The records that `config.data` names. ValueError for folders and files that do not fit.

    Those to train on are not made, and are none, where `train` is false: to judge takes no more.

    Photos train and validate as they are; `config.data.synthetic` synthetic faces may train among
    them, with their masks. The `test` split of photos is the validation photos with an occluder
    pasted on each, because its mask is then known exactly.
    """
    kinds: dict[str, Callable[..., Splits]] = {"synthetic": _synthetic, "photos": _photos}
    data = config.data
    if data.name not in kinds:
        raise ValueError(f"config.data.name must be one of {sorted(kinds)}, not {data.name!r}")
    splits = kinds[data.name](config, train)
    if train and data.get("cut", ""):
        key = (_identity(splits.train), data.cut, config.seed)
        mixed = cached(
            config,
            f"{data.name}-train-{data.cut}",
            key,
            lambda: cut_records(splits.train, data.cut, seed=config.seed),
        )
        splits = splits._replace(train=mixed)
    if config.encoder.kind != "recognizer":
        if data.get("codes", ""):
            raise ValueError("config.data.codes goes with config.encoder.kind recognizer alone")
        return splits

    found = Splits(
        [],
        _with_features(config, recognizer, "validation", splits.validation, 0),
        _with_features(config, recognizer, "test", splits.test, 0),
    )
    if not train:
        return found
    coded = _coder(config, splits.train)
    versions = data.versions if data.get("augment", True) else 0
    features = _with_features(config, recognizer, "train", splits.train, versions)
    return found._replace(train=coded(features))


def _coder(config: Config, faces: Records) -> Callable[[Records], Records]:
    """What gives training records their coefficients, if the config names a file of them.

    ValueError if it has those of none of the training's `faces`.
    """
    data = config.data
    if not data.get("codes", ""):
        return lambda records: records
    face_model = load_face_model(config.face_model.name, **config.face_model.modes)
    codes = read_codes(Path(data.codes).expanduser(), face_model)
    count = sum(face["filename"] in codes for face in faces if "filename" in face)
    if not count:
        raise ValueError(
            f"{data.codes} names none of the training photos of {data.root}; make the codes of "
            "that folder's (experiments.refined_codes)"
        )
    log.info("%d of %d training faces have codes in %s", count, len(faces), data.codes)
    if data.name == "photos" and data.get("synthetic", 0):
        drawn = _faces(config, "train", data.synthetic, occluded=0.5, noise=True)
        known = {face["filename"]: face["coefficients"] for face in drawn}
        # They have all modes of the face model; of a run that keeps fewer nothing is known.
        if len(next(iter(known.values()))) == sum(config.face_model.modes.values()):
            codes |= known
    return functools.partial(Coded, codes=codes, face_model=face_model)


def load_renderings(config: Config, recognizer: Any) -> Records:
    """`config.data.renderings` faces of the modes that a run keeps, with their coefficients.

    In surroundings, and taken, like synthetic photos, half of them behind an occluder: an encoder
    that knew whole faces alone would believe what lies in front of the others. ValueError if the
    config asks for none.
    """
    count = config.data.get("renderings", 0)
    if not count:
        raise ValueError(
            "config.losses.coefficients needs faces whose coefficients are known; "
            "set config.data.renderings above 0"
        )
    face_model = load_face_model(config.face_model.name, **config.face_model.modes)
    records = cached(
        config,
        "renderings",
        (_fingerprint(face_model), _side(config), config.seed, 0.5, count),
        lambda: synthesize(
            face_model,
            count,
            size=_side(config),
            seed=config.seed,
            split="renderings",
            occluded=0.5,
            noise=False,
            progress=True,
            coefficients=True,
        ),
        count=count,
    )
    if config.encoder.kind != "recognizer":
        return records
    return _with_features(config, recognizer, "renderings", records, 0)


def _with_features(
    config: Config, recognizer: Any, name: str, records: Records, versions: int
) -> Records:
    data = config.data
    paste = data.paste if versions else 0.0
    detail = config.encoder.get("detail", False)
    landmarks = config.encoder.get("landmarks", False)
    key = (
        _identity(records),
        _fingerprint(recognizer),
        data.size,
        data.record_size,
        versions,
        paste,
        config.seed,
        detail,
    ) + (("landmarks",) if landmarks else ())
    return cached(
        config,
        f"{data.name}-{name}-features",
        key,
        lambda: recognized(
            records,
            recognizer,
            kind=config.recognizer.kind,
            record_size=data.record_size,
            size=data.size,
            versions=versions,
            paste=paste,
            seed=config.seed,
            detail=detail,
            landmarks=landmarks,
        ),
        count=max(versions, 1) * len(records),
    )


def _side(config: Config) -> int:
    """Pixels of the records' crops: more than training sees where a recognizer looks first."""
    data = config.data
    return data.record_size if config.encoder.kind == "recognizer" else data.size


def cached(
    config: Config,
    name: str,
    key: Any,
    make: Callable[[], Iterable[dict]],
    *,
    count: int | None = None,
) -> Records:
    """Records of `make`, from the cache once they are there; `count` is as in `cache.Cached`."""
    digest = hashlib.sha256(repr((VERSION, name, key)).encode()).hexdigest()[:12]
    own, count = f"{name}-{digest}", count if jax.process_count() == 1 else None
    if is_remote(config.data.cache):
        there = storage.place(config.data.cache) / own
        return Cached(caches.writable(COPIES, "data") / own, make, count=count, there=there)
    wanted = Path(config.data.cache or COPIES)  # an export names none
    done = os.path.expanduser(wanted / own / "complete")
    # What is complete is read where it is, even if nothing could be written there.
    folder = Path(done).parent if os.path.exists(done) else caches.writable(wanted, "data") / own
    # One of several processes makes them, and would wait for the others in its first step longer
    # than their network allows.
    return Cached(folder, make, count=count)


def _identity(records: Records) -> str:
    """What distinguishes records from others, without waiting for those that are being made."""
    return records.digest if isinstance(records, Cached) else _fingerprint(records)


def _fingerprint(tree: Any) -> str:
    """Digest of all arrays and strings in a tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(
            leaf.encode("utf-8", "surrogateescape")
            if isinstance(leaf, str)
            else np.asarray(leaf).tobytes()
        )
    return digest.hexdigest()


def _synthetic(config: Config, train: bool) -> Splits:
    data = config.data
    occluded = data.get("occluded", 0.5)
    return Splits(
        _faces(config, "train", data.train_count, occluded=occluded, noise=True) if train else [],
        _faces(config, "validation", data.validation_count, occluded=occluded, noise=False),
        _faces(config, "test", data.test_count, occluded=occluded, noise=False),
    )


def _faces(config: Config, name: str, count: int, *, occluded: float, noise: bool) -> Records:
    face_model = load_face_model(config.face_model.name)
    key = (_fingerprint(face_model), _side(config), config.seed)
    key += () if occluded == 0.5 else (occluded,)
    coefficients = bool(config.data.get("codes", ""))
    key += ("coefficients",) if coefficients else ()
    return cached(
        config,
        f"synthetic-{name}",
        (*key, count),
        lambda: synthesize(
            face_model,
            count,
            size=_side(config),
            seed=config.seed,
            split=name,
            occluded=occluded,
            noise=noise,
            progress=True,
            coefficients=coefficients,
        ),
        count=count,
    )


def _photos(config: Config, train: bool) -> Splits:
    root, data = Path(config.data.root).expanduser(), config.data
    if not data.root or not root.is_dir():
        raise ValueError(
            f"config.data.root={data.root!r} is not a folder; give the folder of your photos"
        )
    fix = data.get("fix_y_offset", True)
    key = (fingerprint(root), _side(config))
    key += ("rolled faces upright",) if fix else ("release",)

    def split(name: str, count: int) -> Records:
        records = cached(
            config,
            f"photos-{name}",
            key,
            lambda: photo_records(root, name, _side(config), fix_y_offset=fix),
        )
        return records[:count] if count else records

    validation = split("validation", data.validation_count)
    photos = split("train", data.train_count) if train else []
    if train and data.get("synthetic", 0):
        faces = _faces(config, "train", data.synthetic, occluded=0.5, noise=True)
        dense = "dense_landmarks" in photos[0] or "dense_landmarks" in faces[0]
        photos = [_shared(r, whole=False, dense=dense) for r in photos] + [
            _shared(r, whole=True, dense=dense) for r in faces
        ]
    return Splits(photos, validation, list(pasted(validation, seed=config.seed)))


def _shared(record: dict[str, Any], *, whole: bool, dense: bool) -> dict[str, Any]:
    """What photos and synthetic faces both have; `whole`: the mask says all that is hidden.

    With `dense` landmarks, which either may lack.
    """
    shared = {name: record[name] for name in ("image", "landmarks", "filename")}
    if dense:
        shared["dense_landmarks"] = record.get("dense_landmarks", unknown())
    mask = record["mask"] if whole else np.full(record["image"].shape[:2], 255, np.uint8)
    return shared | {"mask": mask, "whole": np.uint8(whole)}


def pasted(records: Records, *, seed: int) -> Iterator[dict[str, Any]]:
    """Each record with an occluder painted on, kinds in turn; `mask` is 0 where it lies."""
    for number, record in enumerate(records):
        kind = 1 + number % (len(OCCLUDERS) - 1)
        rng = np.random.default_rng((seed, number))
        image, occluded = paste_occluder(record["image"], record["landmarks"], rng, OCCLUDERS[kind])
        mask = np.where(occluded >= 128, 0, 255).astype(np.uint8)
        yield {**record, "image": image, "mask": mask, "occluder": np.int32(kind)}
