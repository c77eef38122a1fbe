"""A trained model as people use it: read from the folder of its training run, applied to photos."""

import hashlib
from typing import Any, NamedTuple

import jax
import numpy as np

from focus_jax import forward
from focus_jax.data.align import shrink
from focus_jax.face_models import load_face_model, misfit
from focus_jax.photos import programs, white_balance
from focus_jax.types import Batch, FaceModel
from focus_jax.weights import hub, recognizer
from focus_jax.weights.run import crop_size, folder_of, load_trained

# Without a model: the bounds on light and tone that `configs/em.py:photos` trains with.
UNTRAINED = forward.Decoding(
    albedo_scale=1.0,
    depth_scale=30.0,
    translation_scale=10.0,
    light_colour=0.3,
    light_colour_limit=0.08,
    light_bands=(0.5, 0.5, 0.15),
    albedo_limit=1.0,
)
UNTRAINED_SIZE = 112
UNTRAINED_STEPS = 100  # of refinement, where no network has found the face
UNTRAINED_MODES = {"identity": 40, "expression": 20, "albedo": 12}


class Model(NamedTuple):
    """What turns crops into faces and masks. `networks` is None without a trained model."""

    name: str
    weights: str  # digest of the networks' weights; "" without
    size: int  # pixels of the crop that the networks see
    record_size: int  # of the crop that the recognizer sees first; `size` where none does
    fix_y_offset: bool  # how its training cut crops, see `data.align.align_face`
    decoding: forward.Decoding
    face_model: FaceModel
    face_model_file: str  # or "builtin"
    networks: forward.Networks | None
    variables: dict  # of the encoder and the segmenter
    recognizer: dict  # frozen; the encoder reads its features, refinement compares them
    misfit: np.ndarray | None  # [v 3], to subtract from shapes (see `focus_jax.training.misfit`)


def load_model(path: str, face_model: str | None = None) -> Model:
    """The model in the folder of a training run or an export (see `weights.run`).

    "hf://OWNER/NAME@REVISION" is an export on a hub (`weights.hub`), "shipped" is the one of this
    package, "none" one without networks, whose face model `face_model` names ("builtin" unless
    told); of a trained one it is where its own face model has moved to. A misfit.npz in the folder
    is the model's misfit prior. ValueError, in one sentence, for a folder that holds no finished
    checkpoint.
    """
    if path == "none":
        return Model(
            "none",
            "",
            UNTRAINED_SIZE,
            UNTRAINED_SIZE,
            True,
            UNTRAINED,
            jax.device_put(load_face_model(face_model or "builtin", **UNTRAINED_MODES)),
            face_model or "builtin",
            None,
            {},
            recognizer.load_recognizer("dlib"),
            None,
        )
    config, networks, face_model_, frozen, variables, where = load_trained(path, face_model)
    prior = folder_of(path) / hub.MISFIT
    return Model(
        str(config.name),
        _digest(variables),
        config.data.size,
        crop_size(config),
        config.data.get("fix_y_offset", True),
        networks.decoding,
        face_model_,
        where,
        networks,
        variables,
        frozen,
        misfit.load(prior, face_model_) if prior.is_file() else None,
    )


def _digest(tree: Any) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def make_batch(
    model: Model,
    crops: np.ndarray,
    landmarks: np.ndarray,
    dense: np.ndarray | None = None,
    *,
    encoded: bool = True,
) -> Batch:
    """A batch of uint8 crops `[b r r 3]` at `record_size`, with landmarks `[b 68 2]` in them.

    `dense` ones `[b 478 2]` may be nan. Unless it is to be `encoded`, it has no features.

    The networks see them at `size`, the recognizer as they are, as in training; both after
    `white_balance`, whose gains the batch remembers.
    """
    factors = white_balance.gains(crops, landmarks)
    crops = white_balance.apply(crops, factors)
    records = [{"image": i, "landmarks": p} for i, p in zip(crops, landmarks, strict=True)]
    if dense is not None:
        records = [{**r, "dense_landmarks": d} for r, d in zip(records, dense, strict=True)]
    small = [shrink(record, model.size) for record in records]
    features = None
    if encoded and model.record_size != model.size and model.networks is not None:
        encoder = model.networks.encoder
        detail, direct = (bool(getattr(encoder, n, 0)) for n in ("detail_width", "direct"))
        images = crops.astype(np.float32) / 255
        points = np.asarray(landmarks, np.float32) if direct else None
        kind = model.networks.recognizer
        features = _look(model.recognizer, images, points, kind=kind, detail=detail)
        features = np.asarray(features).astype(np.float16).astype(np.float32)  # as in training
    return Batch(
        image=np.stack([s["image"] for s in small]).astype(np.float32) / np.float32(255),
        landmarks=np.stack([s["landmarks"] for s in small]).astype(np.float32),
        index=np.arange(len(small), dtype=np.int32),
        dense_landmarks=None if dense is None else np.stack([s["dense_landmarks"] for s in small]),
        features=features,
        gains=factors,
    )


_look = programs.program(recognizer.encoder_features, static=("kind", "detail"))
