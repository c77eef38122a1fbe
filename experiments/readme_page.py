"""The README's picture of a results page: `python -m experiments.readme_page MODEL`.

Runs `focus-reconstruct` with a trained MODEL (the folder of a run, or none) on scikit-image's
astronaut (NASA, public domain) and a few synthetic faces, and lets Chromium take docs/page.jpg.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import skimage.data

from focus_jax.commands import reconstruct
from focus_jax.data.synthetic import synthesize
from focus_jax.face_models import load_face_model
from focus_jax.rendering import pictures

SYNTHETIC = 3


def main(model: str) -> None:
    browser = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if browser is None:
        sys.exit("this needs Chromium (chromium-headless-shell)")
    with tempfile.TemporaryDirectory() as folder:
        photos, out = Path(folder) / "photos", Path(folder) / "out"
        pictures.write_png(photos / "astronaut.png", skimage.data.astronaut())
        faces = synthesize(load_face_model("builtin"), 40, size=256, seed=4, split="test")
        chosen = [face for face in faces if face["occluder"]][:SYNTHETIC]
        for number, face in enumerate(chosen):
            pictures.write_png(photos / f"synthetic{number}.png", face["image"])
        reconstruct.main([str(photos), "--out", str(out), "--model", model, "--refine", "60"])
        options = ["--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
        options += [
            "--enable-unsafe-swiftshader",
            "--virtual-time-budget=8000",
            "--hide-scrollbars",
        ]
        subprocess.run(
            [
                browser,
                *options,
                "--window-size=1420,930",
                f"--screenshot={out / 'page.png'}",
                (out / "index.html").as_uri(),
            ],
            check=True,
        )
        # A seventh of the size of the PNG.
        shot = cv2.imread(str(out / "page.png"))
        cv2.imwrite("docs/page.jpg", shot, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "none")
