"""Train FOCUS: `python -m focus_jax.main --config=configs/em.py [--workdir=DIR]`.

`focus-jax train` is the same command.
Fields of the config are overridden by `--config.some.field=value`. Interrupt it and repeat the
command to go on from where it was; interrupted by SIGINT or SIGTERM it exits with status 75.
Several machines: `docs/scaling.md`.
"""

import os
import sys

import jax
from absl import app, flags
from ml_collections import config_flags

from focus_jax.system import command, cpu, devices, sharding, storage
from focus_jax.system.preemption import EXIT_CODE
from focus_jax.training import settings
from focus_jax.training.summary import write_summary
from focus_jax.training.train import WITHOUT_MASKS, train

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
    config = _CONFIG.value
    settings.check(config)
    if config.data.size < cpu.LARGE:
        cpu.leave_ynnpack_products()
    sharding.start_processes(config.distributed)
    devices.check()
    workdir = storage.place(_WORKDIR.value or f"runs/{config.name}")
    try:
        scores = train(config, workdir)
        without = train(config, workdir / WITHOUT_MASKS, masks=False) if config.compare else None
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        # At once, without the farewell that waits minutes for the process which is no more.
        print(
            f"process {jax.process_index()}: another process of this run has ended "
            f"({str(error).splitlines()[0][:200]}); start all of them again to go on from the last "
            "checkpoint",
            file=sys.stderr,
            flush=True,
        )
        os._exit(EXIT_CODE)
    if sharding.is_first():
        print(write_summary(config, workdir, scores, without))


def run() -> None:
    """The command: absl reads the flags of the command line, and ends the process."""
    command.share_configs(sys.argv)
    command.run(main, prepare=cpu.keep_freed_memory)  # the rest once the size is known


if __name__ == "__main__":
    run()
