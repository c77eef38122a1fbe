"""The misfit prior (Sec. 3.4): what the pipeline gets wrong on average, subtracted afterwards.

    focus-jax misfit --config=configs/misfit_prior.py [--workdir=DIR] [--apply=RUN] [--model=MODEL]

Trains an autoencoder without masks on synthetic faces of the model, writes the mean deviation of
its shapes as misfit.npz, draws it, and tests it on held-out synthetic faces: those of the run
itself and, with --apply, those of the finished run RUN. With --model (shipped, a run or an export)
nothing is trained: it is the prior of that model, in whose folder misfit.npz is subtracted.
"""

import sys

from absl import flags
from ml_collections import config_flags

from focus_jax.system import command
from focus_jax.system.files import user_path
from focus_jax.training import misfit, settings


def run() -> None:
    """The command: absl reads the flags of the command line, and ends the process."""
    # Here, since `focus_jax.main` has flags of the same names.
    config = config_flags.DEFINE_config_file("config", None, "Settings.", lock_config=True)
    workdir = flags.DEFINE_string("workdir", None, "Where results go; runs/<config.name>.")
    apply = flags.DEFINE_string("apply", None, "Folder of a run whose results to correct too.")
    model = flags.DEFINE_string("model", None, "Model whose prior it is; nothing is trained.")
    flags.mark_flag_as_required("config")

    def main(argv: list[str]) -> None:
        del argv
        settings.check(config.value)
        where = user_path(workdir.value or f"runs/{config.value.name}")
        tests = misfit.run(config.value, where, apply=apply.value, model=model.value)
        for name, t in tests.items():
            print(
                f"{name}: shape error {t.without:.3f} mm, with the prior {t.corrected:.3f} mm "
                f"(paired t-test on {t.faces} faces: p = {t.p:.1e})"
            )

    command.share_configs(sys.argv)
    command.run(main)
