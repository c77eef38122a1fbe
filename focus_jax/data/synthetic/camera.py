"""From light to a photo: exposure, white balance, contrast, grey, blur, noise, compression."""

from typing import NamedTuple

import cv2
import numpy as np

from focus_jax.rendering import scenes


class Camera(NamedTuple):
    """How a photo is taken; all lengths in parts of its width."""

    gains: np.ndarray  # [3] of the linear light
    contrast: float  # 1 none added
    saturation: float  # 0 grey
    coarse: float  # how many times fewer pixels it was taken with
    blur: float  # pixels
    smear: tuple[float, float]  # length in pixels and direction of the camera's motion
    noise: float  # standard deviation of a middle grey
    quality: int  # of JPEG, 0 none


def random_camera(
    rng: np.random.Generator, kind: str, luminance: float, cast: np.ndarray
) -> Camera:
    """A camera before a light of some kind and colour `cast [3]` of mean 1, exposed for a face of
    this linear luminance."""
    # Most faces come out at a middle grey; dim rooms do not, and the sun behind fools the meter.
    wanted = 0.23 * np.exp(rng.normal(0, 0.35))
    if kind in ("back", "side", "coloured") or rng.random() < 0.08:
        wanted *= rng.uniform(0.15, 0.9)
    # Half of how dark a face is, is left to it.
    exposure = wanted / max(luminance, 1e-3) ** 0.7 / 0.2**0.3
    # White is found more or less, and then missed by up to a quarter.
    warm, green = rng.normal(0, [0.08, 0.03]) * (2 if rng.random() < 0.15 else 1)
    balance = np.clip(np.exp([warm, green, -warm]), 0.75, 1.25) ** scenes.GAMMA
    balance = balance * np.maximum(cast, 0.05) ** -rng.uniform(0.3, 0.9)
    dark = wanted < 0.1
    return Camera(
        gains=(exposure * balance).astype(np.float32),
        contrast=rng.uniform(0.9, 1.35),
        saturation=0.0 if rng.random() < 0.06 else rng.uniform(0.8, 1.35),
        coarse=rng.uniform(1.5, 4.5) if rng.random() < 0.15 else 1.0,
        blur=abs(rng.normal(0, 0.45)) + 0.15,
        smear=(rng.uniform(1, 6) if rng.random() < 0.06 else 0.0, rng.uniform(0, np.pi)),
        noise=rng.uniform(0.015, 0.05) if dark else abs(rng.normal(0, 0.012)) + 0.002,
        quality=int(rng.integers(45, 96)) if rng.random() < 0.7 else 0,
    )


def take(picture: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The photo uint8 `[s s 3]` of linear light `[s s 3]`."""
    size = len(picture)
    light = picture * camera.gains
    if camera.coarse > 1:
        few = max(16, round(size / camera.coarse))
        light = cv2.resize(light, (few, few), interpolation=cv2.INTER_AREA)
    if camera.smear[0] > 1:
        light = cv2.filter2D(light, -1, _streak(*camera.smear))
    light = cv2.GaussianBlur(light, (0, 0), camera.blur)
    grain = rng.standard_normal(light.shape, np.float32)
    if rng.random() < 0.5:  # as cameras leave it after smoothing it away
        grain = 1.6 * cv2.GaussianBlur(grain, (0, 0), 0.7)
    light = light + camera.noise * np.sqrt(np.maximum(light, 0.005) * 0.25) * grain
    # Highlights roll off instead of being cut.
    light = np.maximum(light, 0)
    light = np.where(light > 0.6, 0.6 + 0.5 * (1 - np.exp((0.6 - light) / 0.5)), light)
    values = np.minimum(light, 1) ** (1 / scenes.GAMMA)
    grey = values @ np.array([0.3, 0.59, 0.11], np.float32)
    values = grey[..., None] + camera.saturation * (values - grey[..., None])
    middle = 0.45
    values = middle + (values - middle) * (
        1 + (camera.contrast - 1) * np.exp(-4 * (values - middle) ** 2)
    )
    if camera.coarse > 1:
        values = cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC)
    taken = np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
    if camera.quality:
        encoded = cv2.imencode(
            ".jpg", taken[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, camera.quality]
        )[1]
        taken = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1]
    return np.ascontiguousarray(taken)


def _streak(length: float, direction: float) -> np.ndarray:
    """A kernel that smears along a line."""
    side = 2 * int(np.ceil(length)) + 1
    kernel = np.zeros((side, side), np.float32)
    x, y = (round(length / 2 * f) for f in (np.cos(direction), np.sin(direction)))
    cv2.line(kernel, (side // 2 - x, side // 2 - y), (side // 2 + x, side // 2 + y), 1.0)
    return kernel / kernel.sum()
