"""Whether identity coefficients tell people apart: two photos of each person, all with all."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Identity(NamedTuple):
    """Of n people, each seen twice."""

    people: int
    same: float  # mean cosine between the two photos of a person
    different: float  # and between photos of two
    auc: float  # how often a pair of the same person is the more alike of two; 0.5 is chance
    first_rank: float  # share of people whose second photo is the one most like their first


def tell_apart(first: Float[np.ndarray, "n i"], second: Float[np.ndarray, "n i"]) -> Identity:
    """Of identity coefficients of a first and a second photo of the same people.

    ValueError for fewer than two people, and for coefficients that are all zero.
    """
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(
            f"two people with two photos each are needed: {first.shape} and {second.shape}"
        )
    alike = cosines(first, second)
    own = np.eye(len(alike), dtype=bool)
    return Identity(
        len(alike),
        float(alike[own].mean()),
        float(alike[~own].mean()),
        auc(alike[own], alike[~own]),
        float((alike.argmax(axis=1) == np.arange(len(alike))).mean()),
    )


def cosines(
    first: Float[np.ndarray, "n i"], second: Float[np.ndarray, "m i"]
) -> Float[np.ndarray, "n m"]:
    """Cosine of each of the first with each of the second; ValueError for a row of zeros."""
    lengths = [np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]
    if any((length == 0).any() for length in lengths):
        raise ValueError(
            "identity coefficients are all zero: that model does not tell people apart"
        )
    return (first / lengths[0]) @ (second / lengths[1]).T


def auc(positive: Float[np.ndarray, "p"], negative: Float[np.ndarray, "q"]) -> float:
    """Area under the curve of hits over false alarms: a positive is above a negative; ties half."""
    from scipy.stats import rankdata  # here: slow to import

    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    above = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(above / (len(positive) * len(negative)))
