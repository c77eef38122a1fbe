"""What a config may say: what would fail in the middle of a run fails before it."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from ml_collections import ConfigDict

from focus_jax.training.schedule import ACTIVE, Schedule
from focus_jax.types import Config
from focus_jax.weights import run

_INITIAL = ("initial_photometric", "initial_perceptual")
WEIGHTS = sorted(f"losses.{x}" for x in {*sum(ACTIVE.values(), _INITIAL)} - {"pretraining"})
# What a training reads besides these and the model's own fields; it does without others.
NEEDED = (
    "seed compare log_every evaluate_every checkpoint_every correct_albedo debug.nans "
    "debug.skipped_updates distributed.coordinator distributed.processes distributed.process "
    "distributed.timeout data.name data.batch_size data.augment data.paste data.cache "
    "data.train_count data.validation_count recognizer.chip_size recognizer.align_corners init "
    "optimizer.autoencoder.name optimizer.segmenter.name losses.perceptual_features "
    "schedule.warmup schedule.initialisation schedule.pretraining schedule.joint schedule.period "
    "schedule.segmenter_steps"
)
# By what else the config says.
NEEDED_FOR = {
    ("data.name", "synthetic"): ["data.test_count"],
    ("data.name", "photos"): ["data.root"],
    ("encoder.kind", "recognizer"): ["data.record_size", "data.versions"],
}
# Sections that are handed on whole, with all that they may hold.
WHOLE = {
    "schedule": tuple(field.name for field in dataclasses.fields(Schedule)),
    "face_model.modes": ("identity", "expression", "albedo"),
    "optimizer.autoencoder": ("name", "clip", "weight_decay"),
    "optimizer.segmenter": ("name", "clip", "weight_decay"),
}
# Fields, by the rule that they must meet, if the config has them.
POSITIVE = (
    "log_every evaluate_every checkpoint_every data.size data.record_size data.batch_size "
    "schedule.period segmenter.width rates.initialisation.every rates.pretraining.every "
    "rates.autoencoder.every rates.segmenter.every distributed.processes distributed.timeout "
    "rasterizer.samples compute.parts"
)
COUNTS = (
    "seed data.train_count data.validation_count data.test_count data.versions data.renderings "
    "schedule.renderings schedule.warmup schedule.initialisation schedule.pretraining "
    "schedule.joint schedule.segmenter_steps debug.skipped_updates "
    "segmenter.fine"
)
NOT_NEGATIVE = (
    "rates.initialisation.rate rates.pretraining.rate rates.autoencoder.rate rates.segmenter.rate "
    "rates.initialisation.decay rates.pretraining.decay rates.autoencoder.decay "
    "rates.segmenter.decay optimizer.autoencoder.clip optimizer.autoencoder.weight_decay "
    "optimizer.segmenter.clip optimizer.segmenter.weight_decay"
)
ABOVE_ZERO = "losses.robust_sigma losses.robust_deviations"
SHARES = "data.paste data.occluded segmenter.dropout losses.landmark_doubt"


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)


RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    (POSITIVE, "must be a whole number, at least 1", lambda x: type(x) is int and x >= 1),
    (COUNTS, "must be a whole number, not negative", lambda x: type(x) is int and x >= 0),
    (NOT_NEGATIVE, "must be a number and not be negative", lambda x: x >= 0),
    (ABOVE_ZERO, "must be a number above 0", lambda x: x > 0),
    (SHARES, "must be a number between 0 and 1", lambda x: 0 <= x <= 1),
    (" ".join(WEIGHTS), "must be a number", _is_number),
)
# Words that the first step to need them would refuse, or take for another.
WORDS: dict[str, tuple[str, ...]] = {
    "losses.neighbour_search": ("target", "rendering"),
    "losses.perceptual_features": ("deep", "shallow"),
    "rasterizer.backend": ("", "warp", "jnp"),
}
# As RULES, of fields with several numbers.
LISTS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    (
        "correct_albedo",
        "must be whole numbers, as (500, 1000)",
        lambda x: isinstance(x, (tuple, list)) and all(type(n) is int for n in x),
    ),
    (
        "decoding.light_bands",
        "must be three finite numbers",
        lambda x: (
            isinstance(x, (tuple, list))
            and len(x) == 3
            and all(_is_number(n) and math.isfinite(n) for n in x)
        ),
    ),
)


def check(config: Config) -> None:
    """Raise ValueError, naming the field, for one that is missing or cannot work."""
    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise ValueError(f"get_config of the config file must return a ConfigDict, not {kind}")
    fields = dict(leaves(config))
    wanted = [*run.NEEDED.split(), *NEEDED.split(), *WEIGHTS]
    wanted += [name for names, *_ in RULES for name in names.split() if name.startswith("rates.")]
    wanted += [name for (k, v), more in NEEDED_FOR.items() if fields.get(k) == v for name in more]
    if missing := run.missing(config, wanted):
        raise ValueError(
            f"the config has no {', '.join(missing)}; begin from configs/em.py, which has all "
            "fields, and change what differs"
        )
    for section, names in WHOLE.items():
        for name in fields:
            if name.startswith(f"{section}.") and name.removeprefix(f"{section}.") not in names:
                raise ValueError(f"config.{name} is none of {section}'s fields: {names}")
    flat = {k: v for k, v in fields.items() if _is_number(v)}
    for name, value in flat.items():
        # An infinite limit is one that limits nothing.
        if math.isnan(value) or (math.isinf(value) and not name.startswith("decoding.")):
            raise ValueError(f"config.{name}={value} must be a finite number")
    for names, rule, holds in RULES:
        for name in names.split():
            if name in fields and not (name in flat and holds(flat[name])):
                raise ValueError(f"config.{name}={fields[name]!r} {rule}")
    for name, words in WORDS.items():
        if fields.get(name, words[0]) not in words:
            raise ValueError(f"config.{name}={fields[name]!r} must be one of {words}")
    told = flat.get("losses.coefficients", 0)
    if flat.get("schedule.renderings", 0) and not told:
        raise ValueError(
            "config.schedule.renderings trains on nothing but coefficients; give "
            "config.losses.coefficients a weight"
        )
    if told and not fields.get("data.codes", "") and not flat.get("data.renderings", 0):
        raise ValueError(
            f"config.losses.coefficients={told} needs faces whose coefficients are known: name a "
            "file of them in config.data.codes, set config.data.renderings above 0, or set "
            "config.losses.coefficients and config.schedule.renderings to 0"
        )
    if fields["data.name"] == "synthetic":
        for name in ("data.train_count", "data.validation_count", "data.test_count"):
            if not flat[name]:
                raise ValueError(f"config.{name}=0: of synthetic faces there must be some")
    augmented = fields.get("data.augment", True)
    if fields.get("encoder.kind") == "recognizer":
        augmented = augmented and flat.get("data.versions", 0) > 0
    if flat.get("data.paste", 0) and not augmented:
        raise ValueError(
            f"config.data.paste={flat['data.paste']} is a part of augmentation; set "
            "config.data.augment=True, config.data.versions above 0, or config.data.paste=0"
        )
    charged = flat.get("losses.pasted", 0)
    if charged and not flat.get("data.paste", 0):
        raise ValueError(
            f"config.losses.pasted={charged} needs occluders that are known: set config.data.paste "
            "above 0, or config.losses.pasted=0"
        )
    batch, parts = flat["data.batch_size"], flat.get("compute.parts", 1)
    if batch % parts:
        raise ValueError(
            f"config.data.batch_size={batch} does not divide into config.compute.parts={parts}; "
            "choose a multiple"
        )
    window = flat.get("losses.neighbour_window", 1)
    if not (window % 2 and 0 < window <= flat["data.size"]):
        raise ValueError(
            f"config.losses.neighbour_window={window} must be odd and at most config.data.size"
        )
    joint, period = flat["schedule.joint"], flat["schedule.period"]
    alone = joint and flat["schedule.segmenter_steps"] >= min(period, joint)
    if alone and fields.get("compare", False):
        raise ValueError(
            "config.schedule.segmenter_steps fill the whole period, or all of schedule.joint, so "
            "that the joint stage trains the segmenter alone and there is nothing to compare; set "
            "config.compare=False"
        )
    for name, rule, holds in LISTS:
        if name in fields and not holds(fields[name]):
            raise ValueError(f"config.{name}={fields[name]} {rule}")
    stages = ("warmup", "initialisation", "pretraining", "joint")
    if not sum(flat[f"schedule.{stage}"] for stage in stages):
        raise ValueError("config.schedule has no steps; give at least one stage some")


def leaves(config: Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that is no section, by its dotted name."""
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
