"""What a training run has reached, and how it went.

    focus-jax evaluate tables --workdir=runs/em [--split=test] [--misfit=misfit.npz]
    focus-jax evaluate tables --workdir=runs/em-photos --split=validation \\
        --subsets=kinds.csv --column=kind
    focus-jax evaluate page --workdir=runs/em [--out=runs/em/report.html]

Tables are of masks, colours and shapes, as the paper prints them; subsets those of the truth, or
the values of a csv's column, whose rows have the photos' names as filename. The page holds
settings, curves, tables and pictures in one file, also of a run that has not ended.
"""

import argparse
from collections.abc import Sequence

from focus_jax.system import cpu
from focus_jax.system.command import in_one_sentence, keep_programs, quiet
from focus_jax.system.files import user_path


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="focus-jax evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    tables = commands.add_parser("tables", help="masks, colours, shapes, by subset")
    tables.add_argument("--workdir", required=True, help="of a training run, or shipped")
    tables.add_argument("--split", choices=("validation", "test"), default="test")
    tables.add_argument(
        "--subsets", type=user_path, help="csv with the columns filename and --column"
    )
    tables.add_argument("--column", default="subset", help="the csv's column that names subsets")
    tables.add_argument("--misfit", type=user_path, help="misfit prior to subtract")
    page = commands.add_parser("page", help="the whole run as one HTML page")
    page.add_argument("--workdir", type=user_path, required=True, help="of a training run")
    page.add_argument("--out", type=user_path, help="the page; by default WORKDIR/report.html")
    options = parser.parse_args(argv)
    quiet()
    return in_one_sentence(_tables if options.command == "tables" else _page)(options)


def _tables(options: argparse.Namespace) -> None:
    from focus_jax.evaluation.tables import tables
    from focus_jax.face_models import misfit
    from focus_jax.weights.run import load_trained

    cpu.prepare()
    keep_programs()
    trained = load_trained(options.workdir)
    prior = misfit.load(options.misfit, trained.face_model) if options.misfit else None
    subsets = {"subsets": options.subsets, "column": options.column}
    print(tables(trained, options.split, **subsets, prior=prior))


def _page(options: argparse.Namespace) -> None:
    from focus_jax.evaluation.report_page import page

    out = options.out or options.workdir / "report.html"
    text = page(options.workdir)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(f"wrote {out} ({len(text) / 1e6:.1f} MB)")
