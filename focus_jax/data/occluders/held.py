"""Painters of what gets before a face: hands, hair, microphones and cups, patches. In millimetres.

Each takes a scene and a generator, and returns a layer of the scene's size.
"""

import cv2
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
    interpolate,
    lambert,
    lay,
    line,
    noise,
    polygon,
    rgb,
    rounded,
    soften,
    spline,
    strands,
    tapered,
    tinted,
)
from focus_jax.data.occluders.scene import Scene

# --------------------------------------------------------------------------------------- hands

# Fingers from the index to the little one: where they leave the palm (mm from its axis, mm along
# it), length and width; the lengths are those of an adult's hand 190 mm long.
_FINGERS = ((-30, 0, 72, 19), (-10, 5, 80, 20), (11, 3, 74, 19), (31, -8, 58, 16))


def _unit(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def _skin_body(
    scene: Scene,
    rng: np.random.Generator,
    layer: Layer,
    alpha: np.ndarray,
    radius: float,
    tone: np.ndarray,
) -> Layer:
    """One rounded part of a hand laid over the others, with the dark line where they touch."""
    rim = soften(np.clip(cv2.dilate(alpha, np.ones((3, 3))) - 0.0, 0, 1), 0.9 * scene.mm)
    layer = lay(layer, 0.5 * rim * (layer.alpha > 0.5), 0.45 * tone)
    shade = rounded(alpha, radius, scene.light, 0.45)
    creases = 1 + 0.05 * noise(rng, scene.size, scene.size / (5 * scene.mm))
    warm = 1 + tinted(1 - shade, np.array([0.08, -0.06, -0.08]))  # blood shows in the shade
    colour = flat(scene.size, tone) * warm * rgb(shade * creases) * 1.12
    return lay(layer, alpha, np.clip(colour, 0, 1))


def _finger(
    scene: Scene,
    rng: np.random.Generator,
    layer: Layer,
    joints: np.ndarray,
    width: float,
    tone: np.ndarray,
    back: bool,
) -> Layer:
    """A finger through joints `[4 2]`: body, knuckle wrinkles and, seen from the back, a nail."""
    n, mm = scene.size, scene.mm
    body = tapered(n, joints, width * mm * np.array([1.0, 1.02, 0.92, 0.78]))
    layer = _skin_body(scene, rng, layer, body, 0.5 * width * mm, tone)
    for k in (1, 2):
        along = joints[k + 1] - joints[k]
        along = along / max(np.linalg.norm(along), 1e-6)
        side = np.array([-along[1], along[0]]) * 0.32 * width * mm
        for shift in (-1.2, 1.2) if back else (0.0,):
            middle = joints[k] + shift * mm * along
            wrinkle = line(
                n,
                spline(np.stack([middle - side, middle + 0.6 * mm * along, middle + side])),
                0.9 * mm,
            )
            layer = lay(layer, 0.35 * wrinkle * body, 0.55 * tone)
    if back:
        along = joints[3] - joints[2]
        along = along / max(np.linalg.norm(along), 1e-6)
        tip = joints[3] - 0.5 * mm * along
        angle = np.degrees(np.arctan2(along[1], along[0]))
        nail = np.asarray(cv2.ellipse2Poly((0, 0), (100, 62), int(angle), 0, 360, 20), float) / 100
        nail = polygon(n, tip + nail * 0.42 * width * mm)
        pink = np.clip(tone * np.array([1.08, 0.95, 0.95]) + 0.07, 0, 1)
        layer = lay(layer, 0.75 * nail, pink)
        layer = lay(
            layer,
            0.3 * soften(nail, 0.3) * (rounded(nail, 3 * mm, scene.light, 0) > 0.85),
            np.ones(3),
        )
    return layer


def hand(scene: Scene, rng: np.random.Generator) -> Layer:
    """A hand before mouth, cheek, eye or chin, its wrist outside the face. Skin as the face's."""
    n, p, mm = scene.size, scene.landmarks, scene.mm
    targets = {
        "mouth": p[62],
        "cheek": p[[2, 31]].mean(0),
        "other cheek": p[[14, 35]].mean(0),
        "chin": p[8],
        "eye": p[37],
        "other eye": p[44],
        "forehead": scene.at(0, -30),
    }
    goal = targets[str(rng.choice(list(targets)))] + mm * rng.normal(0, 6, 2)
    side = np.sign((goal - p[33]) @ scene.right) if rng.random() < 0.85 else rng.choice([-1, 1])
    # The arm comes from below and from its own side; the fingers point up and inwards.
    lean = rng.uniform(-0.2, 1.25) * (side or 1)
    aim = np.arctan2(-scene.down[1], -scene.down[0]) - lean
    along, across = _unit(aim), _unit(aim + np.pi / 2)
    mirror = rng.choice([-1, 1])
    scale = mm * rng.uniform(0.85, 1.05)
    origin = goal - along * scale * rng.uniform(10, 60)  # where the fingers leave the palm
    back = bool(rng.random() < 0.65)
    tone = np.clip(scene.skin * rng.uniform(0.85, 1.15) * (1 + rng.normal(0, 0.03, 3)), 0, 1)
    wrist = origin - along * scale * 95
    sleeve = rng.random() < 0.5
    arm = tapered(
        n,
        np.stack([wrist - along * scale * 160, wrist, wrist + along * scale * 25]),
        scale * np.array([74, 54, 64]),
    )
    knuckles = [
        (-38, -6),
        (-28, 9),
        (-10, 13),
        (11, 11),
        (33, 0),
        (40, -18),
        (34, -70),
        (27, -100),
        (-26, -100),
        (-36, -60),
    ]
    palm = polygon(
        n,
        spline(
            np.stack([origin + scale * (mirror * a * across + b * along) for a, b in knuckles]),
            closed=True,
        ),
    )
    layer = _skin_body(scene, rng, blank(n), np.maximum(arm, palm), 26 * scale, tone)
    spread, curl = rng.uniform(-0.02, 0.16), rng.normal(0, 0.07)
    for k in rng.permutation(4):
        a, b, length, width = _FINGERS[k]
        length = length * scale * rng.uniform(0.85, 1.0) * (0.55 if rng.random() < 0.08 else 1)
        base, turn, joints = (
            origin + scale * (mirror * a * across + b * along),
            aim + mirror * spread * (k - 1.5),
            [],
        )
        for part in (-0.25, 0.0, 0.45, 0.28, 0.2):
            joints.append(base if not joints else joints[-1] + abs(part) * length * _unit(turn))
            turn = turn + curl * rng.uniform(0.6, 1.4)
        joints = np.stack(joints)[1:] - 0.15 * length * along
        layer = _finger(scene, rng, layer, joints, width * scale / mm, tone, back)
    if rng.random() < 0.75:
        turn = aim + mirror * -rng.uniform(0.35, 0.9)
        start = origin + scale * (mirror * -30 * across - 62 * along)
        steps = np.array([0, 26, 52, 74])[:, None] * scale
        thumb = start + steps * _unit(turn) + (steps / (70 * scale)) ** 2 * 14 * scale * along
        layer = _finger(scene, rng, layer, thumb, 21 * scale / mm, tone, back)
    if sleeve:
        cuff = tapered(
            n,
            np.stack([wrist - along * scale * 170, wrist - along * scale * rng.uniform(10, 40)]),
            scale * np.array([100, 74]),
        )
        fabric = cloth(rng, n, colourful(rng), 14 * mm) * rgb(rounded(cuff, 38 * mm, scene.light))
        layer = lay(layer, cuff, np.clip(fabric, 0, 1))
    return cast_shadow(layer, mm * (2 * scene.down - 4 * scene.light[:2]), 4 * mm, 0.5)


# ---------------------------------------------------------------------------------------- hair


def hair_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour of hair `[3]`: black to brown mostly, blond, red, grey, now and then a dye."""
    natural = np.array(
        [
            (0.06, 0.05, 0.05),
            (0.13, 0.09, 0.07),
            (0.24, 0.16, 0.1),
            (0.4, 0.27, 0.16),
            (0.66, 0.52, 0.33),
            (0.42, 0.2, 0.1),
            (0.55, 0.54, 0.53),
            (0.8, 0.79, 0.77),
        ]
    )
    if rng.random() < 0.06:
        return colourful(rng, 0.9)
    base = natural[rng.choice(8, p=[0.25, 0.2, 0.17, 0.12, 0.1, 0.06, 0.06, 0.04])]
    return np.clip(base * rng.uniform(0.8, 1.25) + rng.normal(0, 0.01, 3), 0, 1).astype(np.float32)


def locks(
    scene: Scene,
    rng: np.random.Generator,
    roots: np.ndarray,
    tips: np.ndarray,
    bend: np.ndarray,
    width: float,
    colour: np.ndarray,
) -> Layer:
    """Tapered locks from roots to tips `[k 2]`, bowed by `bend [k 2]` pixels, with single hairs."""
    n, mm = scene.size, scene.mm
    t = np.linspace(0, 1, 9)[:, None]
    paths = roots[:, None] * (1 - t) + tips[:, None] * t + bend[:, None] * (4 * t * (1 - t))
    along = np.gradient(paths, axis=1)
    side = np.stack([-along[..., 1], along[..., 0]], -1)
    side = side / np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-6)
    taper = (1 - t**2.5) * width * mm * rng.uniform(0.6, 1.3, (len(roots), 1, 1)) / 2
    outlines = np.concatenate([paths + taper * side, (paths - taper * side)[:, ::-1]], 1)
    alpha = polygon(n, *outlines)
    base = tinted(1 + 0.12 * noise(rng, n, n / (14 * mm)), colour)
    # Each lock is lit along its middle; then hairs, some a little longer than their lock.
    gloss = soften(
        polygon(
            n,
            *np.concatenate([paths + 0.3 * taper * side, (paths - 0.3 * taper * side)[:, ::-1]], 1),
        ),
        0.8 * mm,
    )
    base = base * rgb(0.72 + 0.4 * gloss)
    pick = rng.integers(0, len(paths), 7 * len(paths))
    hairs = paths[pick] + rng.uniform(-1, 1, (len(pick), 1, 1)) * taper[pick] * side[pick]
    picture = strands(rng, base, hairs, 0.22)
    strays = paths[pick[: len(paths)]] + rng.normal(0, 1.6 * mm, (len(paths), 1, 2)) * t
    fine = np.zeros((n, n), np.float32)
    for path in strays:
        fine = np.maximum(fine, line(n, path, 0.6 * mm))
    layer = lay(lay(blank(n), 0.7 * fine, colour), alpha, np.clip(picture, 0, 1))
    return cast_shadow(layer, mm * (2.5 * scene.down - 3 * scene.light[:2]), 2.5 * mm, 0.45)


def fringe(scene: Scene, rng: np.random.Generator) -> Layer:
    """Hair from the hairline over the forehead, to the brows, over both eyes, or swept over one."""
    mm = scene.mm
    colour = hair_colour(rng) if scene.hair is None else scene.hair
    count = int(rng.integers(16, 34))
    place = np.sort(rng.uniform(-1, 1, count))
    swept = rng.random() < 0.5
    parting = rng.uniform(-0.9, 0.9)
    roots, tips = [], []
    low = rng.uniform(-22, 4)
    for x in place:
        roots.append(
            scene.at(66 * x, -72 + 26 * x * x)
            if not swept
            else scene.at(30 * parting + 42 * x, -82 + 14 * x * x)
        )
        if swept:
            # Away from the parting, lower the further it goes.
            way = -np.sign(parting) * rng.uniform(0.25, 1.0)
            reach = low + rng.uniform(-6, 6) + 26 * abs(way)
            tips.append(scene.at(30 * parting + 95 * way + 16 * x, reach - 16 * (x + 1)))
        else:
            tips.append(scene.at(64 * x + rng.normal(0, 5), low + rng.normal(0, 5) + 10 * x * x))
    bend = (
        mm * (rng.normal(0, 2.5, (count, 1)) + (8 * np.sign(parting) if swept else 0)) * scene.right
    )
    bend = bend - mm * (6 if swept else 0) * scene.down
    order = rng.permutation(count)
    return locks(
        scene,
        rng,
        np.stack(roots)[order],
        np.stack(tips)[order],
        bend[order],
        rng.uniform(9, 16),
        colour,
    )


# ------------------------------------------------------------------------------------- objects


def microphone(scene: Scene, rng: np.random.Generator) -> Layer:
    """A microphone or a cup at the mouth, held from below, often with fingers around it."""
    n, p, mm = scene.size, scene.landmarks, scene.mm
    goal = p[62] + mm * (rng.uniform(-22, 22) * scene.right + rng.uniform(-4, 22) * scene.down)
    lean = rng.uniform(-0.9, 0.9)
    aim = np.arctan2(scene.down[1], scene.down[0]) + lean
    along, across = _unit(aim), _unit(aim + np.pi / 2)
    cup = rng.random() < 0.4
    if cup:
        aim = np.arctan2(scene.down[1], scene.down[0]) + 0.25 * lean
        along, across = _unit(aim), _unit(aim + np.pi / 2)
        top, bottom, height = rng.uniform(36, 48), rng.uniform(26, 36), rng.uniform(75, 120)
        rim = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        ends = [
            goal
            + mm
            * (w * np.cos(rim)[:, None] * across + (0.22 * w * np.sin(rim)[:, None] + h) * along)
            for w, h in ((top, 0), (bottom, height))
        ]
        hull = cv2.convexHull(np.concatenate(ends).astype(np.float32))[:, 0]
        body, mouth = polygon(n, hull), polygon(n, ends[0])
        colour = cloth(rng, n, colourful(rng, 0.8), 20 * mm)
        shade = rounded(body, 34 * mm, scene.light, 0.4)
        layer = lay(blank(n), body, np.clip(colour * rgb(shade), 0, 1))
        lid = np.full(3, rng.choice([0.93, 0.2, 0.08])) * (0.8 + 0.2 * rng.random())
        layer = lay(layer, mouth, np.clip(lid * rng.uniform(0.7, 1.0), 0, 1))
        grip = (rng.uniform(0.35, 0.6) * height, 0.9 * (top + bottom) / 2)
    else:
        ball, shaft = rng.uniform(25, 36), rng.uniform(20, 26)
        path = goal + mm * np.array([[ball * 0.6], [120], [260]]) * along
        stick = tapered(n, path, mm * shaft * np.array([1.25, 1.0, 0.9]))
        dark = rng.choice([0.07, 0.12, 0.3]) * np.ones(3)
        layer = lay(
            blank(n),
            stick,
            np.clip(tinted(rounded(stick, shaft * mm / 2, scene.light, 0.2), dark * 1.6), 0, 1),
        )
        angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)[:, None]
        head = goal + mm * ball * (np.cos(angle) * across + 1.12 * np.sin(angle) * along)
        head = polygon(n, head)
        x, y = grid(n)
        pitch = 2 * np.pi / (mm * 3.2)
        mesh = 0.75 + 0.25 * np.sin((x + y) * pitch) * np.sin((x - y) * pitch)
        metal = rng.choice([0.12, 0.35, 0.6]) if rng.random() < 0.75 else colourful(rng)
        shine = rounded(head, ball * mm, scene.light, 0.15)
        shine = mesh * shine + 0.4 * np.maximum(shine - 0.9, 0) * 10 * (mesh > 0.8)
        layer = lay(layer, head, np.clip(tinted(shine, metal * np.ones(3)) * 1.4, 0, 1))
        band = line(
            n,
            np.stack(
                [goal + mm * (ball * 0.95 * along + s * 0.55 * ball * across) for s in (-1, 1)]
            ),
            5 * mm,
        )
        layer = lay(layer, 0.8 * band, np.array([0.5, 0.5, 0.52]))
        grip = (rng.uniform(55, 85), 17.0)
    if rng.random() < 0.7:
        tone = np.clip(scene.skin * rng.uniform(0.85, 1.1), 0, 1)
        half = grip[1] + 6
        for k in range(4):
            start = goal + mm * ((grip[0] + 18 * k) * along + half * across)
            end = start - mm * (2 * half - 4 * k) * across + mm * rng.uniform(-4, 6) * along
            joints = interpolate(np.stack([start, end]), np.linspace(0, 1, 4))
            layer = _finger(scene, rng, layer, joints, 17, tone, True)
    return cast_shadow(layer, mm * (4 * scene.down - 5 * scene.light[:2]), 5 * mm, 0.5)


def patch(scene: Scene, rng: np.random.Generator) -> Layer:
    """A flat thing of any texture: a card, a page of text, a blob, somewhere on the face."""
    n, mm = scene.size, scene.mm
    centre = scene.at(rng.uniform(-40, 40), rng.uniform(-30, 90))
    half = mm * rng.uniform(22, 55, 2)
    turn = rng.uniform(0, np.pi)
    axes = np.stack([_unit(turn), _unit(turn + np.pi / 2)])
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    kind = rng.choice(["card", "ellipse", "blob"])
    if kind == "card":
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (1 + rng.normal(0, 0.06, (4, 2)))
        outline = centre + (corners * half) @ axes
    else:
        wobble = 1 + (kind == "blob") * 0.35 * np.sin(
            angle * rng.integers(2, 5) + rng.uniform(0, 6)
        )
        outline = (
            centre + (np.stack([np.cos(angle), np.sin(angle)], 1) * wobble[:, None] * half) @ axes
        )
        outline = spline(outline, closed=True)
    alpha = polygon(n, outline)
    surface = rng.choice(["cloth", "noise", "text", "picture"])
    if surface == "cloth":
        colour = cloth(rng, n, colourful(rng, 0.8), mm * rng.uniform(5, 20))
    elif surface == "noise":
        layers = [noise(rng, n, n / (rng.uniform(6, 30) * mm), 3) for _ in range(3)]
        colour = colourful(rng) + rng.uniform(0.08, 0.3) * np.stack(layers, -1)
    elif surface == "text":
        u, v = (coordinate(n, centre, axis) for axis in axes)
        pitch = mm * rng.uniform(5, 10)
        ink = (np.sin(2 * np.pi * v / pitch) > 0.1) & (
            np.sin(u / pitch * 5 + 3 * np.floor(v / pitch) ** 2) > -0.5
        )
        paper, dark = rng.uniform(0.75, 0.95), rng.uniform(0.05, 0.35)
        colour = rgb(np.where(ink, dark, paper))
    else:
        blend = np.clip(0.5 + coordinate(n, centre, axes[0]) / (2 * half[0]), 0, 1)
        colour = (
            tinted(blend, colourful(rng))
            + tinted(1 - blend, colourful(rng))
            + rgb(0.08 * noise(rng, n, 8, 3))
        )
    bend = lambert(noise(rng, n, 3) * rng.uniform(0, 9) * mm, scene.light, 0.4)
    layer = lay(blank(n), alpha, np.clip(colour * rgb(bend) * 1.1, 0, 1).astype(np.float32))
    return cast_shadow(layer, mm * (3 * scene.down - 5 * scene.light[:2]), 3 * mm, 0.45)
