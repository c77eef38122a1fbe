"""The two readings of the method, as tables of named fields.

`RELEASE` is the authors' code, which produced the published numbers, with its plain mistakes
mended; `PAPER` is the literal text. Every field can be overridden in a config, so any mixture can
be asked for. Where a field is a weight, its equation is given.
"""

import logging

import ml_collections

log = logging.getLogger(__name__)

RELEASE = {
    # Segmentation objective.
    "neighbour": 15.0,  # eta 1, Eq. 1
    "distance": 3.0,  # eta 2, Eq. 2
    "area": 0.5,  # eta 3, Eq. 3
    "preserve": 0.25,  # eta 4, Eq. 4
    "binary": 10.0,  # eta 5
    # Not of the paper: charges the mask where `data.paste` put an occluder.
    "pasted": 0.0,
    # Not of the paper: the coefficients of `data.renderings`, faces of the face model that the
    # encoder sees beside the photos.
    "coefficients": 0.0,
    "neighbour_window": 5,
    "neighbour_search": "target",
    "neighbour_squared": False,
    "binary_squared": False,
    "normalize_width": True,  # of the shallow features, before their cosine
    # Autoencoder objective, joint stage.
    "photometric": 0.5,  # lambda 1, Eq. 5
    "perceptual": 0.25,  # lambda 2, Eq. 6
    "perceptual_features": "deep",  # or "shallow", as in the authors' later container
    "landmark": 5e-4,  # lambda 3, Eq. 7
    "prior": 0.1 / 224,  # lambda 4; the release divides by the image width
    "prior_on_scene": False,  # also on light and pose
    "photometric_squared": False,
    "autoencoder_area": 0.06,  # keeps the encoder from shrinking the mask that it can influence
    "detach_mask": False,  # stop the gradient from the autoencoder's loss through the mask
    # Initialisation.
    "robust": 0.5,  # Eq. 9 on the pixels of Eq. 10
    "initial_photometric": 0.0,  # Eq. 5 on the pixels of Eq. 10 instead, as the text has it
    "initial_perceptual": 0.25,  # Eq. 6; costs a pass of the recognizer each step
    "robust_sigma": 0.043,
    "robust_deviations": 3.0,  # xi of Eq. 10 is (deviations * sigma)^2 = 0.0166
    # Of the pre-training, as in the authors' script: plain mistakes.
    "double_sigmoid": False,
    "pretraining_bgr": False,  # channels of both pictures; everything else sees RGB
    # The rendering laid over the photo, not on black, goes into the U-Net and the losses, as in the
    # authors' later container.
    "composited": False,
    # Landmarks: the weight of the nose ridge and inner lip, squared with the distance (400).
    "landmark_heavy": 20.0,
    # Not of the paper: the part of its weight, squared, that a landmark loses where the mask says
    # that something lies before it, since what a detector says of it is a guess.
    "landmark_doubt": 0.0,
}

PAPER = {
    **RELEASE,
    "preserve": 2.5,
    "neighbour_window": 3,
    "neighbour_search": "rendering",
    "neighbour_squared": True,
    "binary_squared": True,
    "normalize_width": False,
    "prior": 0.1,
    "prior_on_scene": True,
    "photometric_squared": True,
    "autoencoder_area": 0.0,
    "detach_mask": True,
    "robust": 0.0,
    "initial_photometric": 0.5,
    "robust_deviations": 0.17**0.5 / 0.043,  # xi = 0.17, most likely a misprint of 0.017
    "landmark_heavy": 20.0**0.5,
}

TABLES = {"release": RELEASE, "paper": PAPER}


def losses(preset: str) -> ml_collections.ConfigDict:
    """The `losses` section of a config."""
    if preset not in TABLES:
        raise ValueError(f"preset must be one of {sorted(TABLES)}, not {preset!r}")
    if preset == "paper":
        log.warning(
            "the paper's threshold of Eq. 10 is 0.17, most likely a misprint of 0.017; "
            "losses.robust_deviations=3 gives that"
        )
    return ml_collections.ConfigDict(TABLES[preset])


__all__ = ["PAPER", "RELEASE", "losses"]
