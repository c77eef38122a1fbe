"""What a config may say: numbers that would fail in the middle of a run fail before it."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from focus_jax.types import Config

# Fields, by the rule that they must meet. A config need not have all of them.
POSITIVE = (
    "log_every evaluate_every checkpoint_every data.size data.record_size data.batch_size "
    "schedule.period segmenter.width rates.initialisation.every rates.pretraining.every "
    "rates.autoencoder.every rates.segmenter.every distributed.processes distributed.timeout "
    "rasterizer.samples compute.parts"
)
NOT_NEGATIVE = (
    "seed data.train_count data.validation_count data.test_count data.versions data.renderings "
    "schedule.renderings schedule.warmup schedule.initialisation schedule.pretraining "
    "schedule.joint schedule.segmenter_steps segmenter.fine debug.skipped_updates rates.initialisation.rate "
    "rates.pretraining.rate rates.autoencoder.rate rates.segmenter.rate "
    "rates.initialisation.decay rates.pretraining.decay rates.autoencoder.decay "
    "rates.segmenter.decay optimizer.autoencoder.clip optimizer.autoencoder.weight_decay "
    "optimizer.segmenter.clip optimizer.segmenter.weight_decay"
)
ABOVE_ZERO = "losses.robust_sigma losses.robust_deviations"
SHARES = "data.paste data.occluded segmenter.dropout losses.landmark_doubt"
RULES: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    (POSITIVE, "must be at least 1", lambda x: x >= 1),
    (NOT_NEGATIVE, "must not be negative", lambda x: x >= 0),
    (ABOVE_ZERO, "must be above 0", lambda x: x > 0),
    (SHARES, "must be between 0 and 1", lambda x: 0 <= x <= 1),
)
# Words that the first step to need them would refuse, or take for another.
WORDS: dict[str, tuple[str, ...]] = {
    "losses.neighbour_search": ("target", "rendering"),
    "losses.perceptual_features": ("deep", "shallow"),
    "rasterizer.backend": ("", "warp", "jnp"),
}
# As RULES, of fields with several numbers.
LISTS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("correct_albedo", "must be whole numbers", lambda x: all(type(n) is int for n in x)),
    (
        "decoding.light_bands",
        "must be three finite numbers",
        lambda x: len(x) == 3 and all(type(n) in (int, float) and math.isfinite(n) for n in x),
    ),
)


def check(config: Config) -> None:
    """Raise ValueError, naming field and value, for a number that cannot work."""
    fields = dict(leaves(config))
    flat = {k: v for k, v in fields.items() if type(v) in (int, float)}
    for name, value in flat.items():
        # An infinite limit is one that limits nothing.
        if math.isnan(value) or (math.isinf(value) and not name.startswith("decoding.")):
            raise ValueError(f"config.{name}={value} must be a finite number")
    for names, rule, holds in RULES:
        for name in names.split():
            if name in flat and not holds(flat[name]):
                raise ValueError(f"config.{name}={flat[name]} {rule}")
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
