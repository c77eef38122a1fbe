"""What of JAX's environment the commands set right, or refuse in a sentence."""

import os

import jax


def single_precision() -> None:
    """Compute in float32 and mix types as NumPy does, whatever JAX_ENABLE_X64 and the like say.

    Of this process, which is a command's: who imports the package keeps the settings of their own.
    """
    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_numpy_dtype_promotion", "standard")


def check() -> None:
    """ValueError where JAX finds none of the devices that JAX_PLATFORMS asks for.

    JAX looks at its devices here: processes of one run must have found each other before.
    """
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # an assertion without a text is JAX's own
        asked = os.environ.get("JAX_PLATFORMS", "")
        detail = (str(error).splitlines() or ["none is there"])[0]
        raise ValueError(
            f"JAX finds no device for JAX_PLATFORMS={asked!r} ({detail}); unset it, or install JAX "
            "for that device"
        ) from None
