"""A page of one's own to try a model on: `focus-jax demo`.

Opens a local web page (gradio, extra `demo`): drop a photo on it, or take one with the webcam where
the browser has one, and see mask, overlay and a 3D face that turns; sliders change who it is, the
expression and the light. The page is for this machine alone unless --host says otherwise; what was
uploaded lies in a temporary folder and goes when the command ends, or after ten minutes.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from focus_jax.commands import arguments as common
from focus_jax.data.detect import landmark_source
from focus_jax.photos import trained
from focus_jax.system import cpu
from focus_jax.system.command import quiet

LOOPBACK = "127.0.0.1"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="focus-jax demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="shipped", help="shipped (the default), a run, none")
    common.add_face_model(parser)
    common.add_landmarks(parser)
    parser.add_argument("--host", default=LOOPBACK, help=f"who may come in (default: {LOOPBACK})")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    arguments = parser.parse_args(argv)
    quiet()
    cpu.prepare()
    try:
        if not 0 < arguments.port < 65536:
            raise ValueError(f"--port is from 1 to 65535, not {arguments.port}")
        landmark_source(arguments.landmarks)  # what it is refused for is said now
        model = trained.load_model(arguments.model, arguments.face_model)
        for ended in ("SIGTERM", "SIGHUP"):  # as Ctrl-C does it, so that no upload is left behind
            if hasattr(signal, ended):
                signal.signal(getattr(signal, ended), signal.default_int_handler)
        with tempfile.TemporaryDirectory(prefix="focus_jax_demo_") as folder:
            _serve(arguments, model, folder)
    except KeyboardInterrupt:
        return 0
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(arguments: argparse.Namespace, model: trained.Model, folder: str) -> None:
    # Read when gradio is imported: copies of all that it is given and shows, and no reports home.
    os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
    from focus_jax.photos.demo import make_page

    page = make_page(model, arguments.landmarks, Path(folder))
    print(f"http://{arguments.host}:{arguments.port} (Ctrl-C ends it)", flush=True)
    page.launch(
        server_name=arguments.host,
        server_port=arguments.port,
        inbrowser=arguments.open,
        quiet=True,
        max_file_size="30mb",
    )
