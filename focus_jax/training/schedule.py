"""What happens at which step: stages, networks, loss weights and learning rates.

Everything here is a pure function of the step, so that a run which resumes needs no memory of it.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from focus_jax.training.updates import Terms

Stage = Literal["renderings", "warm-up", "initialisation", "pre-training", "joint", "done"]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Length of each stage in steps.

    `renderings`, not of the paper, teaches the encoder the coefficients of rendered faces alone;
    `warmup` fits the whole rendered face, led by the landmarks, until Eq. 10 has something to pass;
    the joint stage consists of periods that begin with `segmenter_steps` of the segmenter.
    """

    warmup: int
    initialisation: int
    pretraining: int
    joint: int
    period: int
    segmenter_steps: int
    renderings: int = 0  # a config may be older

    @property
    def total(self) -> int:
        begun = self.renderings + self.warmup + self.initialisation
        return begun + self.pretraining + self.joint

    def without_masks(self) -> "Schedule":
        """The same number of autoencoder steps, and none of the segmenter."""
        segmenter = sum(
            phase_at(step, self).network == "segmenter"
            for step in range(self.total - self.joint, self.total)
        )
        return dataclasses.replace(
            self, pretraining=0, joint=self.joint - segmenter, segmenter_steps=0
        )


class Phase(NamedTuple):
    stage: Stage
    network: Literal["autoencoder", "segmenter"]
    start: int  # the stage's first step
    round: int  # the period of the joint stage, from 0


def phase_at(step: int, schedule: Schedule) -> Phase:
    """The stage of a step and the network that it trains (PAPER_VS_RELEASE: segmenter first)."""
    start = 0
    for stage, network, length in (
        ("renderings", "autoencoder", schedule.renderings),
        ("warm-up", "autoencoder", schedule.warmup),
        ("initialisation", "autoencoder", schedule.initialisation),
        ("pre-training", "segmenter", schedule.pretraining),
    ):
        if step < start + length:
            return Phase(stage, network, start, 0)  # type: ignore[arg-type]
        start += length
    if step >= start + schedule.joint:
        return Phase("done", "autoencoder", start + schedule.joint, 0)
    joint_round, position = divmod(step - start, schedule.period)
    network = "segmenter" if position < schedule.segmenter_steps else "autoencoder"
    return Phase("joint", network, start, joint_round)


# Which weights of the config's `losses` count in which stage. Those of the warm-up and the
# initialisation share one program, in which the other's weight is zero.
CHEAP = ("photometric", "robust", "landmark", "prior", "autoencoder_area")
ACTIVE = {
    ("renderings", "autoencoder"): ("coefficients",),
    ("warm-up", "autoencoder"): ("photometric", "landmark", "prior", "coefficients"),
    ("initialisation", "autoencoder"): (
        "photometric",
        "robust",
        "perceptual",
        "landmark",
        "prior",
        "coefficients",
    ),
    ("pre-training", "segmenter"): ("pretraining", "pasted"),
    ("joint", "segmenter"): (
        "neighbour",
        "distance",
        "area",
        "preserve",
        "binary",
        "pasted",
    ),
    ("joint", "autoencoder"): (
        "photometric",
        "perceptual",
        "landmark",
        "prior",
        "autoencoder_area",
        "coefficients",
    ),
}


def terms_at(
    step: int,
    schedule: Schedule,
    losses: Mapping[str, Any],
    rates: Mapping[str, Any],
    *,
    masks: bool = True,
    true_masks: bool = False,
) -> Terms:
    """Loss weights, learning rate and mask source of a step.

    `rates` holds, for "initialisation", "pretraining", "autoencoder" and "segmenter", the initial
    rate, its decay factor and after how many steps of the stage it is applied. Without `masks` the
    autoencoder always fits the whole rendered face, and with `true_masks` always their part of it.
    """
    masks = masks and not true_masks
    phase = phase_at(step, schedule)
    active = ACTIVE[phase.stage, phase.network]
    given = {**losses, "pretraining": 1.0}
    if phase.stage == "initialisation":
        given["perceptual"] = losses["initial_perceptual"]
        if masks:
            given["photometric"] = losses["initial_photometric"]
        else:
            given["robust"] = 0
    weights = {name: np.float32(given[name]) for name in active if given[name] != 0}
    if phase.network == "autoencoder" and phase.stage != "renderings":
        weights = dict.fromkeys(CHEAP, np.float32(0)) | weights
    section = {
        "renderings": "initialisation",
        "warm-up": "initialisation",
        "initialisation": "initialisation",
        "pre-training": "pretraining",
        "joint": phase.network,
    }[phase.stage]
    rate = rates[section]
    # The warm-up and the initialisation share one decay, from the warm-up's first step.
    begin = schedule.renderings if phase.stage == "initialisation" else phase.start
    learning_rate = rate["rate"] * rate["decay"] ** ((step - begin) // rate["every"])
    return Terms(
        weights,  # type: ignore[arg-type]
        np.float32(learning_rate),  # type: ignore[arg-type]
        robust=np.float32(masks and phase.stage == "initialisation"),  # type: ignore[arg-type]
        segmenter_mask=masks and phase.stage == "joint",
        true_mask=true_masks,
    )
