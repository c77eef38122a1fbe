import os
from pathlib import Path

import cv2
import numpy as np

from focus_jax.system.names import in_utf8


def test_a_name_in_utf8_is_left_alone(tmp_path):
    with in_utf8(tmp_path / "Zoë.avi") as name:
        assert name == str(tmp_path / "Zoë.avi")


def test_opencv_writes_and_reads_a_video_whose_name_is_no_utf8(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.avi"))
    frame = np.full((32, 48, 3), 90, np.uint8)
    with in_utf8(path) as name:
        writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"MJPG"), 5, (48, 32))
    for _ in range(3):  # the link is needed to open it only
        writer.write(frame)
    writer.release()
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9.avi"]
    with in_utf8(path) as name:
        capture = cv2.VideoCapture(name)
    assert capture.read()[1].shape == frame.shape
    capture.release()
