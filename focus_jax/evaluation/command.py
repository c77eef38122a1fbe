"""What the commands of this package share: bad input ends in one sentence."""

import sys
from collections.abc import Callable

from absl import app

from focus_jax.memory import keep_freed_memory
from focus_jax.preemption import EXIT_CODE, Interrupted


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
    """absl's parsing, with a misspelt field of the config as one sentence."""
    try:
        return app.parse_flags_with_usage(argv)
    except AttributeError as error:
        sys.exit(f"error: the config has no such field: {' '.join(str(error).split())}")


def run(main: Callable[[list[str]], None]) -> None:
    """Run a command's `main` on the flags of the command line."""
    keep_freed_memory()
    app.run(in_one_sentence(main), flags_parser=parse_flags)
