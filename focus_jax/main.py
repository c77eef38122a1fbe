"""Train FOCUS: `python -m focus_jax.main --config=configs/em.py [--workdir=DIR]`.

Fields of the config are overridden by `--config.some.field=value`. Interrupt it and repeat the
command to go on from where it was.
"""

import logging
import sys
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from focus_jax.summary import write_summary
from focus_jax.train import Interrupted, train

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The settings of the run.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; by default runs/<config.name>.")
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(
            f"unknown arguments {argv[1:]}; settings are given as --config.field=value"
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    logging.getLogger("absl").setLevel(logging.WARNING)  # orbax tells of every step of a save
    config = _CONFIG.value
    cache = Path("~/.cache/focus_jax/xla").expanduser()
    jax.config.update("jax_compilation_cache_dir", str(cache))
    workdir = Path(_WORKDIR.value or f"runs/{config.name}")
    try:
        scores = train(config, workdir)
        without = train(config, workdir / "without_masks", masks=False) if config.compare else None
        print(write_summary(config, workdir, scores, without))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(130)
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
