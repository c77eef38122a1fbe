"""What the commands of this package share: bad input ends in one sentence, programs are kept."""

import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
from absl import app, flags

from focus_jax.system import caches, cpu, devices
from focus_jax.system.preemption import EXIT_CODE, Interrupted

Options = TypeVar("Options")


def in_one_sentence(main: Callable[[Options], Any]) -> Callable[[Options], int]:
    """`main`, whose expected errors become a line and exit status 1; its own status or 0 else.

    A training that was asked to stop has `preemption.EXIT_CODE`: repeat the command.
    """

    def run(options: Options) -> int:
        try:
            devices.single_precision()
            return main(options) or 0
        except (Interrupted, KeyboardInterrupt) as stop:
            print(str(stop) or "stopped; run the same command to go on", file=sys.stderr)
            return EXIT_CODE
        except OSError as error:
            about = error.filename2 or error.filename  # of two the one that was to be written
            said = f"{error.strerror}: {about}" if error.strerror and about else str(error)
            print(f"error: {said}", file=sys.stderr)
            return 1
        except (ValueError, ImportError, FloatingPointError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return run


def quiet() -> None:
    """Keep other libraries' messages below warnings to themselves; ours are shown as they are."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    logging.getLogger("focus_jax").setLevel(logging.INFO)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax tells of every step of a save
    # Names of files need not be UTF-8, and are written as they are.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    bridge = logging.getLogger("jax._src.xla_bridge")
    bridge.setLevel(logging.WARNING)  # "no TPU", where none is
    bridge.addFilter(_not_of_gpus)


def _not_of_gpus(record: logging.LogRecord) -> bool:
    """Not JAX's line on a GPU that it cannot use: `devices.check` says what to do about it."""
    return "CUDA-enabled" not in record.getMessage()


def parse_flags(argv: list[str]) -> list[str]:
    """absl's parsing, with what is wrong with the flags or the config as one sentence."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        # Of an error within the config file absl quotes the traceback, whose last line says it.
        said = str(error).strip().splitlines()[-1].strip()
        sys.exit(f"error: {said.removeprefix('ValueError: ')}")
    except (AttributeError, KeyError, ValueError) as error:  # unknown, in a number, not a name
        detail = " ".join(str(error.args[0]).split()).partition(": SyntaxError")[0]
        sys.exit(f"error: the config has no such field: {detail}")
    except SyntaxError as error:  # of the file itself; one that is no text has no line
        sys.exit(f"error: {error.filename or 'the config file'} is no Python: {error}")
    except ImportError as error:
        sys.exit(f"error: the config file imports what there is not: {error}")


def share_configs(argv: Sequence[str]) -> None:
    """Let the file that `--config` names import its neighbours: `from configs import em`.

    Ends the process with one sentence where it names none.
    """
    named = [
        Path((given or value).partition(":")[0]).expanduser()
        for flag, value in zip(argv, [*argv[1:], ""], strict=True)
        for name, _, given in [flag.partition("=")]
        if name in ("--config", "-config")
    ]
    if not named:
        sys.exit("error: give the settings, as --config=configs/em.py")
    for path in named:
        if not path.is_file():
            sys.exit(f"error: there is no config file {path}")
        sys.path.append(str(path.resolve().parents[1]))


def keep_programs() -> None:
    """Keep compiled programs on the disk, so that the next run of the same job starts at once.

    In `JAX_COMPILATION_CACHE_DIR`, which JAX itself reads, or else in `~/.cache/focus_jax/xla`; in
    a temporary folder where that cannot be written.
    """
    wanted = os.environ.get("JAX_COMPILATION_CACHE_DIR", "~/.cache/focus_jax/xla")
    if "://" not in wanted:  # a bucket is JAX's own affair
        jax.config.update("jax_compilation_cache_dir", str(caches.writable(wanted, "xla")))


def run(main: Callable[[list[str]], Any], *, prepare: Callable[[], object] = cpu.prepare) -> None:
    """Run the `main` of a command of absl's flags, after `prepare`."""
    prepare()
    keep_programs()

    def called(argv: list[str]) -> None:
        quiet()  # here, since absl sets its own handler before
        sys.exit(in_one_sentence(main)(argv))

    app.run(called, flags_parser=parse_flags)
