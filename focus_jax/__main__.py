"""`python -m focus_jax COMMAND ...` is `focus-jax COMMAND ...`."""

import sys

from focus_jax.commands import main

if __name__ == "__main__":
    sys.exit(main())
