"""What the commands of this package share: bad input ends in one sentence, programs are kept."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax
from absl import app, flags

from focus_jax.system import cpu
from focus_jax.system.preemption import EXIT_CODE, Interrupted


def in_one_sentence(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """`main`, whose expected errors become a line and exit status 1.

    A training that was asked to stop exits with `preemption.EXIT_CODE`: repeat the command.
    """

    def run(argv: list[str]) -> None:
        try:
            main(argv)
        except (Interrupted, KeyboardInterrupt) as stop:
            print(str(stop) or "stopped; run the same command to go on", file=sys.stderr)
            sys.exit(EXIT_CODE)
        except (ValueError, OSError, ImportError, FloatingPointError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    return run


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


def keep_programs() -> None:
    """Keep compiled programs on the disk, so that the next run of the same job starts at once.

    In `JAX_COMPILATION_CACHE_DIR`, which JAX itself reads, or else in `~/.cache/focus_jax/xla`.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path("~/.cache/focus_jax/xla").expanduser()
        jax.config.update("jax_compilation_cache_dir", str(cache))


def run(main: Callable[[list[str]], None], *, prepare: Callable[[], object] = cpu.prepare) -> None:
    """Run a command's `main` on the flags of the command line, after `prepare`."""
    prepare()
    keep_programs()
    app.run(in_one_sentence(main), flags_parser=parse_flags)
