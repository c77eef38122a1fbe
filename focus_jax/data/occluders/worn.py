"""Painters of what people wear: glasses, sunglasses, masks, scarves, hats. Millimetres on the face.

Each takes a scene and a generator, and returns a layer of the scene's size.
"""

import numpy as np

from focus_jax.data.occluders.painting import (
    Layer,
    blank,
    cast_shadow,
    cloth,
    colourful,
    coordinate,
    flat,
    grid,
    lambert,
    lay,
    line,
    noise,
    polygon,
    rgb,
    rounded,
    soften,
    spline,
    tinted,
)
from focus_jax.data.occluders.scene import Scene

# ------------------------------------------------------------------------------------- glasses


def _lenses(scene: Scene, rng: np.random.Generator, large: float) -> list[np.ndarray]:
    """Outlines of two lenses `[k 2]`: superellipses around the eyes, as wide as each is seen."""
    power = rng.choice([2.0, 2.6, 4.0], p=[0.4, 0.3, 0.3])
    height = rng.uniform(15, 21) * large
    width = rng.uniform(0.98, 1.12) * large
    drop = rng.uniform(1, 5)
    droop = rng.uniform(0, 0.25)  # pilots' glasses reach down on the outside
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    lenses = []
    for corners, side in (((36, 39), -1), ((42, 45), 1)):
        first, second = scene.landmarks[list(corners)]
        half = 0.5 * (second - first) * width * 1.42
        centre = 0.5 * (first + second) + scene.mm * drop * scene.down + side * 0.06 * half
        c = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power)
        s = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power)
        s = s * (1 + droop * side * c * (s > 0))
        lenses.append(centre + c[:, None] * half + s[:, None] * scene.mm * height * scene.down)
    return lenses


def _frame(
    scene: Scene, rng: np.random.Generator, lenses: list[np.ndarray], thickness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage `[n n]` of rims, bridge and temples, and a shaded colour `[n n 3]` for them."""
    n, width = scene.size, thickness * scene.mm
    alpha = np.zeros((n, n), np.float32)
    for lens in lenses:
        alpha = np.maximum(alpha, line(n, lens, width, closed=True))
    right_of_left, left_of_right = lenses[0][0], lenses[1][20]
    arch = 0.5 * (right_of_left + left_of_right) - scene.mm * rng.uniform(2, 6) * scene.down
    lift = -2.0 * scene.mm * scene.down
    bridge = spline(np.stack([right_of_left + lift, arch, left_of_right + lift]))
    alpha = np.maximum(alpha, line(n, bridge, 0.9 * width))
    for lens, start, ear in ((lenses[0], 18, 0), (lenses[1], 2, 16)):
        away = scene.landmarks[ear] - scene.landmarks[27]
        end = scene.landmarks[ear] + 0.1 * away - 6 * scene.mm * scene.down
        alpha = np.maximum(alpha, line(n, np.stack([lens[start], end]), width))
    if rng.random() < 0.6:
        base = rng.choice([0.04, 0.08, 0.14]) * np.ones(3)
    else:
        base = colourful(rng) * rng.uniform(0.4, 0.9)
    colour = flat(n, base).astype(np.float32)
    if rng.random() < 0.3:  # tortoiseshell
        spots = np.clip(noise(rng, n, 40) * 0.5, 0, 1)
        colour = colour + tinted(spots, np.array([0.45, 0.25, 0.08], np.float32))
    gloss = np.maximum(rounded(alpha, max(width / 2, 1), scene.light, 0.0) - 0.75, 0)
    return alpha, np.clip(colour + rgb(0.9 * gloss), 0, 1)


def _streaks(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Slanted reflections `[n n]` in [0, 1], as windows make on lenses."""
    x, y = grid(scene.size)
    slant = rng.uniform(0.4, 1.2) * rng.choice([-1, 1])
    along = (x + slant * y) / (scene.mm * rng.uniform(9, 22)) + rng.uniform(0, 6)
    return soften((np.sin(along) > rng.uniform(0.3, 0.8)).astype(np.float32), 0.8 * scene.mm)


def glasses(scene: Scene, rng: np.random.Generator) -> Layer:
    """Rims with clear lenses. The lenses reflect a little and hide nothing."""
    lenses = _lenses(scene, rng, 1.0)
    alpha, colour = _frame(scene, rng, lenses, rng.uniform(3.5, 7.5))
    glass = polygon(scene.size, *lenses)
    layer = lay(blank(scene.size), glass * rng.uniform(0.0, 0.10), np.array([0.9, 0.95, 1.0]))
    shine = glass * _streaks(scene, rng) * rng.uniform(0, 0.3)
    layer = lay(lay(layer, shine, np.ones(3)), alpha, colour)
    rim = Layer(colour, alpha, layer.shadow)
    rim = cast_shadow(rim, scene.mm * (5 * scene.down - 3 * scene.light[:2]), 2 * scene.mm, 0.35)
    return layer._replace(shadow=rim.shadow)


def sunglasses(scene: Scene, rng: np.random.Generator) -> Layer:
    """Dark or mirrored lenses, darker above, with the sky or a window in them."""
    n = scene.size
    lenses = _lenses(scene, rng, rng.uniform(1.05, 1.3))
    glass = polygon(n, *lenses)
    tint = rng.choice(["black", "brown", "green", "mirror"], p=[0.45, 0.2, 0.1, 0.25])
    base = {"black": (0.05, 0.05, 0.06), "brown": (0.16, 0.09, 0.05), "green": (0.06, 0.1, 0.07)}
    _, y = grid(n)
    top = scene.landmarks[27] - 15 * scene.mm * scene.down
    fall = np.clip((y - top[1]) / (40 * scene.mm), 0, 1)
    if tint == "mirror":
        low, high = colourful(rng, 0.9), np.clip(colourful(rng, 0.9) + 0.3, 0, 1)
        horizon = fall + 0.1 * noise(rng, n, n / (25 * scene.mm))
        below = rgb((horizon > rng.uniform(0.4, 0.7)).astype(np.uint8))
        colour = np.where(below, flat(n, 0.5 * low), tinted(1 - 0.6 * fall, high))
        colour = soften(colour.astype(np.float32), 1.0 * scene.mm)
    else:
        colour = tinted(1 + 1.2 * fall, np.array(base[tint], np.float32))
        sky = np.clip(1 - 2.2 * fall, 0, 1) * rng.uniform(0, 0.35)
        colour = colour + tinted(sky, np.array([0.6, 0.7, 0.8], np.float32))
    layer = lay(blank(n), glass * rng.uniform(0.88, 1.0), colour)
    layer = lay(
        layer, glass * _streaks(scene, rng) * rng.uniform(0, 0.35), np.array([0.9, 0.95, 1])
    )
    alpha, frame = _frame(scene, rng, lenses, rng.uniform(2.0, 6.5))
    layer = lay(layer, alpha, frame)
    return cast_shadow(layer, scene.mm * (5 * scene.down - 2 * scene.light[:2]), 3 * scene.mm, 0.4)


# --------------------------------------------------------------------------- masks and scarves


def _mask_outline(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Outline `[k 2]` of a face mask: over the nose, along the cheeks, under the chin."""
    p = scene.landmarks
    nose = p[28] + rng.uniform(-0.3, 0.7) * (p[29] - p[28])
    middle = p[33]
    jaw = middle + rng.uniform(1.03, 1.08) * (p[3:14] - middle)
    jaw[3:8] += scene.mm * rng.uniform(1, 7) * scene.down
    side = rng.uniform(0.05, 0.6)  # how far up the cheeks
    left, right = p[2] + side * (p[1] - p[2]), p[14] + side * (p[15] - p[14])
    left, right = left + 0.1 * (middle - left), right + 0.1 * (middle - right)
    flank_l, flank_r = 0.5 * (left + nose), 0.5 * (right + nose)
    dip = scene.mm * rng.uniform(3, 8) * scene.down
    top = spline(np.stack([left, flank_l + dip, nose, flank_r + dip, right]))
    return np.concatenate([top, spline(jaw[::-1])])


def _pleats(scene: Scene, rng: np.random.Generator, shape: np.ndarray) -> np.ndarray:
    """Factor `[n n]` of a surgical mask's horizontal folds: a light ridge over a dark crease."""
    p, shade = scene.landmarks, np.ones((scene.size, scene.size), np.float32)
    strength = rng.uniform(0.15, 0.35)
    for height in np.linspace(0.15, 0.85, 3) + rng.uniform(-0.04, 0.04, 3):
        sides = [p[2 + round(2 * height)], p[14 - round(2 * height)]]
        middle = p[33] + height * 0.8 * (p[8] - p[33])
        sides = [s + 0.25 * (middle - s) for s in sides]
        sag = 0.15 * (p[8] - p[33])
        quarter = [0.5 * (s + middle) + 0.4 * sag for s in sides]
        path = spline(np.stack([sides[0], quarter[0], middle + 0.3 * sag, quarter[1], sides[1]]))
        crease = soften(line(scene.size, path, 1.6 * scene.mm), 0.8 * scene.mm)
        ridge = line(scene.size, path - 2.5 * scene.mm * scene.down, 2 * scene.mm)
        shade += 0.4 * strength * soften(ridge, scene.mm) - strength * crease
    return 1 + (shade - 1) * shape


def mask(scene: Scene, rng: np.random.Generator) -> Layer:
    """A surgical mask with pleats, or one of cloth or felt with a seam; loops to the ears."""
    n, p, mm = scene.size, scene.landmarks, scene.mm
    outline = _mask_outline(scene, rng)
    alpha = polygon(n, outline)
    style = rng.choice(["surgical", "cloth", "moulded"], p=[0.5, 0.35, 0.15])
    palette = np.array([(0.62, 0.78, 0.88), (0.9, 0.91, 0.92), (0.45, 0.7, 0.72), (0.1, 0.1, 0.11)])
    if style == "cloth":
        colour = cloth(rng, n, colourful(rng, 0.7), mm * rng.uniform(6, 18))
    elif style == "moulded":
        colour = np.full((n, n, 3), rng.choice([0.92, 0.88, 0.15]), np.float32)
    else:
        base = palette[rng.choice(4, p=[0.45, 0.25, 0.1, 0.2])] + rng.uniform(-0.05, 0.05, 3)
        colour = flat(n, base).astype(np.float32)
    # A tent over nose and chin: high in the middle, falling to all sides.
    bulge = rounded(alpha, 45 * mm, scene.light, 0.45)
    nose = soften(polygon(n, np.stack([p[29], p[31], p[35]])), 5 * mm)
    folds = lambert(
        soften(noise(rng, n, n / (16 * mm), 2), 1.2 * mm) * 0.8 * mm + 9 * mm * nose, scene.light
    )
    shade = bulge * (0.6 + 0.45 * folds / max(float(folds[alpha > 0.5].mean()), 0.1))
    if style == "surgical":
        shade = shade * _pleats(scene, rng, alpha)
    else:
        seam = spline(np.stack([p[28], p[33] + 3 * mm * scene.right, p[57], p[8]]))
        shade = shade * (1 - 0.3 * soften(line(n, seam, 1.5 * mm), 0.7 * mm))
    hem = line(n, outline, 1.5 * mm, closed=True)
    shade = shade * (1 - 0.2 * soften(hem, 0.5 * mm))
    layer = blank(n)
    for corner, low, ear in ((outline[0], p[4], 0), (outline[24], p[12], 16)):
        tip = p[ear] + 0.12 * (p[ear] - p[27])
        for start, end in ((corner, tip - 4 * mm * scene.down), (low, tip + 12 * mm * scene.down)):
            loop = line(n, np.stack([start, end]), rng.uniform(1.5, 3) * mm)
            layer = lay(layer, loop, np.clip(colour.mean((0, 1)) * 0.9 + 0.05, 0, 1))
    gain = rng.uniform(0.8, 1.1)
    layer = lay(layer, alpha, np.clip(colour * rgb(shade) * gain, 0, 1))
    return cast_shadow(layer, mm * (1.5 * scene.down - 2 * scene.light[:2]), 2.5 * mm, 0.45)


def scarf(scene: Scene, rng: np.random.Generator) -> Layer:
    """Cloth wound around neck, chin and mouth, sometimes the nose, in soft folds."""
    n, p, mm = scene.size, scene.landmarks, scene.mm
    height = rng.uniform(0, 1)
    middle = p[30] + height * (p[62] - p[30]) + mm * rng.uniform(-4, 4) * scene.down
    left, right = (
        p[2] + rng.uniform(0, 1) * (p[4] - p[2]),
        p[14] + rng.uniform(0, 1) * (p[12] - p[14]),
    )
    far = [
        c + rng.uniform(0.15, 0.4) * (c - p[33]) + mm * rng.uniform(-5, 25) * scene.down
        for c in (left, right)
    ]
    wave = mm * rng.uniform(-4, 8, (2, 1)) * scene.down
    top = spline(
        np.stack(
            [
                far[0],
                left,
                0.5 * (left + middle) + wave[0],
                middle,
                0.5 * (right + middle) + wave[1],
                right,
                far[1],
            ]
        )
    )
    depth = mm * 250 * scene.down
    bottom = np.stack(
        [far[1] + depth + 40 * mm * scene.right, far[0] + depth - 40 * mm * scene.right]
    )
    alpha = polygon(n, np.concatenate([top, bottom]))
    colour = cloth(rng, n, colourful(rng, 0.75), mm * rng.uniform(8, 30))
    x, y = grid(n)
    down = ((x - middle[0]) * scene.down[0] + (y - middle[1]) * scene.down[1]) / mm
    across = ((x - middle[0]) * scene.right[0] + (y - middle[1]) * scene.right[1]) / mm
    tilt = rng.uniform(-0.4, 0.4)
    # Folds hang between the ears: their height above the middle grows with the square of x.
    phase = (down + across * across / rng.uniform(110, 260) + tilt * across) / rng.uniform(14, 26)
    wrinkle = np.sin(2 * np.pi * phase + 1.1 * noise(rng, n, 4)) + 0.35 * noise(
        rng, n, n / (10 * mm)
    )
    shade = lambert(soften(wrinkle, 0.8 * mm) * 3.2 * mm, scene.light, 0.35)
    shade *= 0.75 + 0.35 * rounded(alpha, 40 * mm, scene.light, 0.3)
    layer = lay(blank(n), alpha, np.clip(colour * rgb(shade) * rng.uniform(0.85, 1.2), 0, 1))
    return cast_shadow(layer, -3 * mm * scene.down - 2 * mm * scene.light[:2], 3.5 * mm, 0.5)


# ---------------------------------------------------------------------------------------- hats


def hat(scene: Scene, rng: np.random.Generator) -> Layer:
    """A cap with a peak, a knitted cap or a brimmed hat, pulled down to the brows."""
    n, p, mm = scene.size, scene.landmarks, scene.mm
    centre = 0.5 * (p[0] + p[16])
    centre = 0.5 * (centre + scene.at(0, 0)) + mm * rng.uniform(-46, -24) * scene.down
    half = max(72.0 * scene.squash, 0.55 * float(np.linalg.norm(p[16] - p[0])) / mm) * rng.uniform(
        1.04, 1.15
    )
    tall, sag = rng.uniform(65, 110), rng.uniform(2, 12)
    angle = np.linspace(np.pi, 2 * np.pi, 24)
    dome = centre + mm * (
        half * np.cos(angle)[:, None] * scene.right
        + tall * (np.abs(np.sin(angle)) ** 0.8)[:, None] * -scene.down
    )
    t = np.linspace(1, -1, 16)[:, None]
    edge = centre + mm * (half * t * scene.right + sag * (1 - t * t) * scene.down)
    alpha = polygon(n, np.concatenate([dome, edge]))
    colour = cloth(rng, n, colourful(rng, 0.7), mm * rng.uniform(8, 20))
    style = rng.choice(["peak", "knitted", "brim"])
    shade = rounded(alpha, 55 * mm, scene.light, 0.4)
    down = coordinate(n, centre, scene.down) / mm
    across = coordinate(n, centre, scene.right) / mm
    if style == "knitted":
        around = np.arcsin(np.clip(across / half, -1, 1)) * half  # ribs crowd at the sides
        shade = shade * (0.85 + 0.15 * np.sin(around * 2 * np.pi / rng.uniform(4, 8)))
        cuff = (down > -rng.uniform(18, 32)) & (alpha > 0)
        shade = shade * np.where(cuff, 1.08, 1 - 0.25 * np.exp(-np.abs(down + 25) / 6))
    else:
        for panel in (-0.45, 0.0, 0.45):
            seam = np.abs(across - panel * half * np.sqrt(np.clip(1 - (down / tall) ** 2, 0, 1)))
            shade = shade * (1 - 0.18 * np.exp(-seam / 1.2))
    layer = lay(blank(n), alpha, np.clip(colour * rgb(shade), 0, 1))
    if style != "knitted":
        layer = lay(layer, *_brim(scene, rng, centre, half, sag, colour, style == "brim"))
    return cast_shadow(layer, mm * (11 * scene.down - 8 * scene.light[:2]), 5 * mm, 0.5)


def _brim(
    scene: Scene,
    rng: np.random.Generator,
    centre: np.ndarray,
    half: float,
    sag: float,
    colour: np.ndarray,
    wide: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and colour of a peak over the brows, or of a brim all around."""
    mm, depth = scene.mm, rng.uniform(14, 30)
    reach = half * (rng.uniform(1.35, 1.7) if wide else rng.uniform(0.8, 0.95))
    turn = (
        0.0
        if wide
        else float(
            (scene.landmarks[30] - 0.5 * (scene.landmarks[0] + scene.landmarks[16])) @ scene.right
        )
        / mm
        * 0.25
    )
    t = np.linspace(-1, 1, 20)[:, None]
    upper = (-8.0 if wide else 0.75 * sag) * (1 - t * t)
    lower = sag + depth * (1 - t * t) - sag * t * t
    points = [
        centre + mm * ((reach * t + turn) * scene.right + row * scene.down)
        for row in (upper, lower)
    ]
    alpha = polygon(scene.size, np.concatenate([points[0], points[1][::-1]]))
    shade = rounded(alpha, 0.5 * depth * mm, scene.light, 0.5) * rng.uniform(0.55, 0.95)
    if rng.random() < 0.4:
        colour = flat(scene.size, colourful(rng))
    return alpha, np.clip(colour * rgb(shade), 0, 1)
