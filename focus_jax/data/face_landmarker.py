"""MediaPipe's Face Landmarker, run by OpenCV: 478 points and 52 blendshape weights of each face.

Three networks lie in `face_landmarker_v2.task` (Apache-2.0; third_party/README.md): a detector, the
mesh (Kartynnik et al. 2019; attention mesh: Grishchenko et al. 2020), and weights of ARKit's
blendshapes out of 146 of its points.
"""

import contextlib
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from focus_jax.data.face_detector import Photo, Square, find_squares, look, square_transform

FILE = Path(__file__).with_name("face_landmarker_v2.task")
POINTS = 478  # 468 of the mesh, then five of each iris, the subject's right one first
SIDE = 256  # pixels that the mesh network sees
ENLARGED = 1.5  # the square that it sees, in sides of the detector's box or of its own
ABSENT = 0.01  # probability of a face where the first mesh was laid, below which there is none
PRESENT = 0.5  # least probability of a face where the mesh was laid,
DOUBTFUL = 0.7  # and where the detector's score is less than this,
EVIDENT = 0.9  # a higher one: patterns, too, are found with such scores
RIGHT, LEFT = 33, 263  # outer corners of the eyes
PASSES = 3  # at most, of the mesh
TURNED = np.radians(15)  # between passes: so far off upright, the points are to be found again
MOVED = 0.1  # of a followed face's square, between frames: as far, they are to be found again, too
SEARCHED = 10  # frames, after which a film is searched for new faces
# A frame as small as this differs by so much on average, of 255, from one before a cut; somebody
# who moves in front of the camera makes it differ by a few.
THUMB, CUT = 16, 20.0

# Of the points that the third network reads. Facts of MediaPipe's face_blendshapes_graph.
BLENDSHAPE_POINTS = np.array(
    [
        *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63),
        *(65, 66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132),
        *(133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162),
        *(163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269),
        *(270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314),
        *(317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378),
        *(379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415),
        *(454, 466, *range(468, 478)),
    ]
)
BLENDSHAPES = (
    *("_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft"),
    *("browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft"),
    *("eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight"),
    *("eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft"),
    *("eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen"),
    *("jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft"),
    *("mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower"),
    *("mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight"),
    *("mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight"),
)


class MeshFace(NamedTuple):
    """A face that the networks found."""

    points: Float[np.ndarray, "478 3"]  # pixels of the photo; depth too, away from the camera
    blendshapes: Float[np.ndarray, "52"]  # weights in the order of BLENDSHAPES, 0 to 1
    score: float  # of the detector, 0 to 1
    presence: float  # probability of a face under the mesh


class Networks(NamedTuple):
    """The three, as OpenCV's nets. A net keeps what it computes: each thread needs its own."""

    detector: Any
    mesh: Any
    blendshapes: Any


def load_networks(path: Path = FILE) -> Networks:
    """The networks of a `.task` file. Raises ValueError, naming the file, where they are not."""
    # With OpenCV 5.0 only networks read by a file's name run in its classic engine; its new one
    # gives one output of several. OpenCV 4 has no choice of engines.
    classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    options = {} if classic is None else {"engine": classic}
    names = ("face_detector", "face_landmarks_detector", "face_blendshapes")
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as task:
            return Networks(
                *(
                    cv2.dnn.readNetFromTFLite(task.extract(f"{name}.tflite", folder), **options)
                    for name in names
                )
            )
    except (OSError, KeyError, zipfile.BadZipFile, cv2.error) as error:
        raise ValueError(
            f"{path} is not the file of MediaPipe's Face Landmarker: {error}"
        ) from None


def face_landmarker(path: Path = FILE) -> Callable[[Photo], list[MeshFace]]:
    """A function from a photo `[h w 3]`, uint8 RGB, to its faces, the largest first.

    It may be called by several threads at once. Raises ValueError for a file that is none.
    """
    # What is wrong with the file is said here, not in a thread; the first thread takes these.
    ready = [load_networks(path)]
    own = threading.local()

    def find(photo: Photo) -> list[MeshFace]:
        if not hasattr(own, "networks"):
            with contextlib.suppress(IndexError):
                own.networks = ready.pop()
        if not hasattr(own, "networks"):
            own.networks = load_networks(path)
        return find_faces(own.networks, photo)

    return find


def find_faces(networks: Networks, photo: Photo) -> list[MeshFace]:
    """The faces of a photo `[h w 3]`, uint8 RGB, the largest first."""

    def detector(view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        networks.detector.setInput(_blob(view, 127.5, -1.0))
        regressors, logits = networks.detector.forward(["regressors", "classificators"])
        return regressors.reshape(-1, 16).astype(np.float64), logits.reshape(-1).astype(np.float64)

    photo = np.ascontiguousarray(photo)
    meshes = (find_mesh(networks, photo, square) for square in find_squares(detector, photo))
    return _each_once(
        mesh
        for mesh in sorted((m for m in meshes if m is not None), key=lambda mesh: -_extent(mesh))
        if mesh.presence >= (EVIDENT if mesh.score < DOUBTFUL else PRESENT)
    )


def _each_once(faces: Iterable[MeshFace]) -> list[MeshFace]:
    """Of faces that lie upon each other the first."""
    kept: list[MeshFace] = []
    for face in faces:
        if all(_apart(face, other) for other in kept):
            kept.append(face)
    return kept


def face_follower(path: Path = FILE) -> Callable[[Photo], list[MeshFace]]:
    """As `face_landmarker`, of the frames of a film as they come; for one thread.

    A face is followed by the mesh alone, which costs a small part of a search. All of the frame is
    searched where a face is lost, where none was, after a cut, and in every `SEARCHED`-th frame,
    for faces that are new.
    """
    networks = load_networks(path)
    faces: list[MeshFace] = []
    small, since = np.zeros((0, 0, 3), np.float32), 0

    def find(frame: Photo) -> list[MeshFace]:
        nonlocal faces, small, since
        frame, before = np.ascontiguousarray(frame), small
        small = cv2.resize(frame, (THUMB, THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
        cut = before.shape != small.shape or np.abs(small - before).mean() > CUT
        followed = [] if cut else [follow_mesh(networks, frame, face) for face in faces]
        kept = _each_once(face for face in followed if face is not None)
        since += 1
        if not kept or len(kept) < len(faces) or since >= SEARCHED:
            # What is followed and not found again, turned away mostly, stays.
            kept, since = _each_once([*find_faces(networks, frame), *kept]), 0
        faces = sorted(kept, key=lambda face: -_extent(face))
        return faces

    return find


def follow_mesh(networks: Networks, frame: Photo, before: MeshFace) -> MeshFace | None:
    """The face in the next frame of a film; None where it is not where it was."""
    view = mesh_square(before.points, before.score)
    for _ in range(PASSES - 1):
        points, presence = lay_mesh(networks.mesh, frame, view)
        if presence < PRESENT:
            return None
        last, view = view, mesh_square(points, before.score)
        moved = float(np.linalg.norm(view.centre - last.centre)) / last.side
        if moved < MOVED and _turn(view.angle - last.angle) < TURNED:
            break
    weights = blendshape_weights(networks.blendshapes, points)
    return MeshFace(points.astype(np.float32), weights, before.score, presence)


def _turn(angle: float) -> float:
    """How far a turn by `angle` is from none, radians."""
    return abs((angle + np.pi) % (2 * np.pi) - np.pi)


def find_mesh(networks: Networks, photo: Photo, square: Square) -> MeshFace | None:
    """The mesh of the face in a detected square, laid once more where the first one lies.

    The second pass, as when MediaPipe follows a face through a film, makes less of how well the
    detector placed its box; and where that was turned wrongly a third one begins upright. None
    where the first one finds no trace of a face.
    """
    view = square._replace(side=ENLARGED * square.side)
    points, presence = lay_mesh(networks.mesh, photo, view)
    if presence < ABSENT:
        return None
    for _ in range(PASSES - 1):
        turned = view.angle
        view = mesh_square(points, square.score)
        points, again = lay_mesh(networks.mesh, photo, view)
        presence = max(presence, again)  # of a half hidden face it changes with a pixel
        if _turn(view.angle - turned) < TURNED:
            break
    weights = blendshape_weights(networks.blendshapes, points)
    return MeshFace(points.astype(np.float32), weights, square.score, presence)


def mesh_square(points: Float[np.ndarray, "478 3"], score: float) -> Square:
    """The square in which the mesh is laid again: half as large again as its bounding box."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    across = points[LEFT] - points[RIGHT]
    side = ENLARGED * float((high - low).max())
    return Square((low + high) / 2, side, float(np.arctan2(across[1], across[0])), score)


def lay_mesh(net: Any, photo: Photo, view: Square) -> tuple[Float[np.ndarray, "478 3"], float]:
    """Points in the photo, and the probability that a face is there, by one pass of the network.

    The network counts its pixels from their edges: mirrored photos give mirrored points only when
    half a pixel of its view is taken off. MediaPipe does not do that.
    """
    net.setInput(_blob(look(photo, view, SIDE, cv2.BORDER_REPLICATE), 255.0, 0.0))
    points, logit = net.forward(["Identity", "Identity_1"])
    points = points.reshape(POINTS, 3).astype(np.float64)
    transform = square_transform(view, SIDE)
    places = (points[:, :2] - 0.5 - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    depth = points[:, 2:] * view.side / SIDE
    presence = 1 / (1 + np.exp(-np.clip(float(logit.reshape(-1)[0]), -100, 100)))
    return np.concatenate([places, depth], axis=1), float(presence)


def blendshape_weights(net: Any, points: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "52"]:
    """Weights of ARKit's blendshapes, by BLENDSHAPES; the points in pixels of any upright photo."""
    net.setInput(np.ascontiguousarray(points[BLENDSHAPE_POINTS, :2], np.float32)[None])
    return net.forward().reshape(-1).copy()


def _blob(view: UInt8[np.ndarray, "s s 3"], scale: float, offset: float) -> np.ndarray:
    blob = view.astype(np.float32).transpose(2, 0, 1)[None] / np.float32(scale)
    return np.ascontiguousarray(blob + np.float32(offset))


def _extent(face: MeshFace) -> float:
    return float(np.ptp(face.points[:, :2], axis=0).prod())


def _apart(one: MeshFace, other: MeshFace) -> bool:
    """Whether two meshes are of two faces: the noses further apart than a third of the larger."""
    distance = float(np.linalg.norm(one.points[4, :2] - other.points[4, :2]))
    return distance**2 > max(_extent(one), _extent(other)) / 9
