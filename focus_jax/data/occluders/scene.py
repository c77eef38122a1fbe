"""What a painter must know of a picture of a face: its place, its size, its skin and its light."""

from typing import NamedTuple

import numpy as np

from focus_jax.data.occluders.painting import luminance, soften

# Distances on an average face: between the outer eye corners, from the bridge of the nose to the
# chin. Together they tell the scale, one of them whichever way the head is turned.
_EYES_MM, _CHIN_MM = 90.0, 113.0


class Scene(NamedTuple):
    """A face on a square canvas. Lengths in pixels of the canvas, directions x right, y down."""

    size: int  # of the canvas
    landmarks: np.ndarray  # [68 2]
    mm: float  # pixels per millimetre
    right: np.ndarray  # [2] unit vector from one eye to the other, to the right of the picture
    down: np.ndarray  # [2] unit vector, perpendicular to `right`
    squash: float  # how much narrower than seen from the front, at most 1
    skin: np.ndarray  # [3] colour in [0, 1]
    light: np.ndarray  # [3] unit vector towards the light; z towards the viewer
    hair: np.ndarray | None = None  # [3] colour of the hair, where it is known

    def at(self, x: float, y: float) -> np.ndarray:
        """The point `[2]` x mm right and y mm below the bridge of the nose, on the face."""
        return self.landmarks[27] + self.mm * (x * self.squash * self.right + y * self.down)


def look_at(image: np.ndarray, landmarks: np.ndarray) -> Scene:
    """The scene of a picture `[n n 3]`, float32 in [0, 1], with landmarks `[68 2]` in pixels."""
    eyes = landmarks[42:48].mean(0) - landmarks[36:42].mean(0)
    right = eyes / max(np.linalg.norm(eyes), 1e-6)
    down = np.array([-right[1], right[0]])
    width = np.linalg.norm(landmarks[45] - landmarks[36])
    mm = max(width / _EYES_MM, np.linalg.norm(landmarks[8] - landmarks[27]) / _CHIN_MM, 1e-3)
    squash = float(np.clip(width / (_EYES_MM * mm), 0.6, 1.0))
    scene = Scene(len(image), landmarks, float(mm), right, down, squash, np.zeros(3), np.zeros(3))
    return scene._replace(**_appearance(image, scene))


def _appearance(image: np.ndarray, scene: Scene) -> dict[str, np.ndarray]:
    """Skin colour and direction of the light, from a few places where skin is usually bare."""
    points = scene.landmarks
    left, right = (0.5 * points[[2, 14]] + 0.5 * points[[31, 35]]).round().astype(int)
    top = scene.at(0, -35).round().astype(int)
    nose, chin = points[29].round().astype(int), (0.5 * points[8] + 0.5 * points[57]).astype(int)

    blur = 4 * scene.mm
    reach = int(4 * blur) + 4  # beyond OpenCV's kernel, so that nothing is cut off

    def look(point: np.ndarray) -> np.ndarray:
        # Only the surroundings of a point are blurred: the whole picture takes three times as long.
        x, y = np.clip(point, 0, scene.size - 1)
        left, top = max(0, x - reach), max(0, y - reach)
        around = image[top : y + reach + 1, left : x + reach + 1]
        return soften(around, blur)[y - top, x - left]

    skin = np.median([look(p) for p in (left, right, top, nose, chin)], 0)
    sides = luminance(look(right)), luminance(look(left))
    ends = luminance(look(chin)), luminance(look(top))
    across = (sides[0] - sides[1]) / (sum(sides) + 0.1)
    along = (ends[0] - ends[1]) / (sum(ends) + 0.1)
    light = np.array([1.8 * across, np.clip(along, -0.4, 0.4) - 0.25, 0.8])
    return {"skin": skin.astype(np.float32), "light": light / np.linalg.norm(light)}


def face_outline(scene: Scene) -> np.ndarray:
    """Outline `[k 2]` of the face: the jaw line, and over the brows as high as a forehead is."""
    points = scene.landmarks
    crown = [scene.at(x, y) for x, y in ((58, -45), (40, -60), (0, -68), (-40, -60), (-58, -45))]
    return np.concatenate([points[:17], crown])
