"""What MediaPipe's own package finds, for tests/data/face_landmarker_golden.npz.

    pip install mediapipe==1.2.3 scikit-image
    python third_party/face_landmarker_golden.py PORTRAITS tests/data/face_landmarker_golden.npz

PORTRAITS holds the CC0 pictures named below (faker-js/assets-person-portrait). Each face comes as
478 points in pixels of its photo and 52 weights: of one photo (mode IMAGE), and of the second frame
of a film that stands still (mode VIDEO), in which the mesh is laid where it lay in the first. Two
faces are in that one, so that MediaPipe looks for no third and smooths nothing.
"""

import sys
from pathlib import Path

import mediapipe
import numpy as np
import skimage.data
import skimage.io

NAMES = ("female_03", "female_18", "female_47", "male_08", "male_29", "male_66", "male_91")
TASK = Path(__file__).parents[1] / "focus_jax" / "data" / "face_landmarker_v2.task"
vision = mediapipe.tasks.vision


def landmarker(mode):
    return vision.FaceLandmarker.create_from_options(
        vision.FaceLandmarkerOptions(
            base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(TASK)),
            running_mode=mode,
            num_faces=2,
            output_face_blendshapes=True,
        )
    )


def frame(photo):
    return mediapipe.Image(
        image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(photo)
    )


def read(result, photo):
    height, width = photo.shape[:2]
    points = [[(p.x, p.y, p.z) for p in face] for face in result.face_landmarks]
    weights = [[shape.score for shape in face] for face in result.face_blendshapes]
    points = np.array(points) * (width, height, width)
    return points.round(3).astype(np.float32), np.array(weights, np.float32)


def main(folder, out):
    photos = {"astronaut": skimage.data.astronaut()}
    photos |= {name: skimage.io.imread(Path(folder) / f"{name}.jpg") for name in NAMES}
    arrays = {"origin": f"mediapipe {mediapipe.__version__}, third_party/{Path(__file__).name}"}
    with landmarker(vision.RunningMode.IMAGE) as still:
        for name, photo in photos.items():
            points, weights = read(still.detect(frame(photo)), photo)
            assert len(points) == 1, name
            arrays |= {f"{name}_points": points[0], f"{name}_weights": weights[0]}
    piece = photos["astronaut"][:300, 100:400]
    pair = np.concatenate([piece, piece[:, ::-1]], axis=1)
    with landmarker(vision.RunningMode.VIDEO) as film:
        film.detect_for_video(frame(pair), 0)
        arrays["pair_points"], arrays["pair_weights"] = read(
            film.detect_for_video(frame(pair), 33), pair
        )
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
