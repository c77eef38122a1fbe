"""What the commands of this package share: bad input ends in one sentence."""

import sys
from collections.abc import Callable


def in_one_sentence(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """`main`, whose ValueError, OSError and ImportError become a line and exit status 1."""

    def run(argv: list[str]) -> None:
        try:
            main(argv)
        except (ValueError, OSError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    return run
