"""What a training run has reached, how it went, and how near its faces come to the truth.

    focus-jax evaluate tables --workdir=runs/em [--split=test] [--misfit=misfit.npz]
    focus-jax evaluate tables --workdir=runs/em-photos --split=validation \\
        --subsets=kinds.csv --column=kind
    focus-jax evaluate landmarks PEOPLE [--model=shipped] [--refine=60] [--split=test]
    focus-jax evaluate scans [SCAN --texture=PICTURE] [--ict=FACEKIT --skins=FOLDER]
    focus-jax evaluate realy DATA PREDICTIONS --template=BFM09
    focus-jax evaluate svfr TRUTH PREDICTIONS [--metrical --unit=1]
    focus-jax evaluate page --workdir=runs/em [--out=runs/em/report.html]

Tables are of masks, colours and shapes, as the paper prints them; subsets those of the truth, or
the values of a csv's column, whose rows have the photos' names as filename. The page holds
settings, curves, tables and pictures in one file, also of a run that has not ended.

`landmarks` measures on people photographed with points placed by hand, in the layout that
`focus_jax.evaluation.people` describes: errors of the detector and of the fitted face, whether
identities are told apart, and what perspective does. People whom crops of the training show are
left out; test people are for the last table, choose nothing on them.

`scans` measures shapes: pictures of a coloured scan from several sides, and of people drawn from
ICT-FaceKit's statistics in MakeHuman's skins, are reconstructed and scored by the NoW protocol,
beside mean faces that saw no picture.

`realy` and `svfr` score meshes by the protocols of REALY (four regions of each scan) and of
NeRSemble's single-view benchmark; `focus_jax.evaluation.realy` and `.svfr` say which files that
takes, docs/benchmarks.md what is as published.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from focus_jax.commands.arguments import add_face_model, add_landmarks, in_range
from focus_jax.evaluation.people import SPLITS
from focus_jax.photos.process import MOST_AT_ONCE, MOST_STEPS
from focus_jax.system import cpu
from focus_jax.system.command import in_one_sentence, keep_programs, quiet
from focus_jax.system.files import check_file, user_path, write_whole


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
        "--root", type=user_path, help="folder of photos to measure on; by default the run's own"
    )
    tables.add_argument(
        "--subsets", type=user_path, help="csv with the columns filename and --column"
    )
    tables.add_argument("--column", default="subset", help="the csv's column that names subsets")
    tables.add_argument("--misfit", type=user_path, help="misfit prior to subtract")
    add_face_model(tables)
    page = commands.add_parser("page", help="the whole run as one HTML page")
    page.add_argument("--workdir", type=user_path, required=True, help="of a training run")
    page.add_argument("--out", type=user_path, help="the page; by default WORKDIR/report.html")
    _add_landmarks(commands)
    _add_scans(commands)
    _add_benchmarks(commands)
    options = parser.parse_args(argv)
    quiet()
    jobs = {"tables": _tables, "page": _page, "landmarks": _landmarks, "scans": _scans}
    jobs |= {"realy": _realy, "svfr": _svfr}
    return in_one_sentence(jobs[options.command])(options)


def _add_landmarks(commands: Any) -> None:
    people = commands.add_parser("landmarks", help="against points that people placed by hand")
    people.add_argument(
        "folder", type=user_path, metavar="PEOPLE", help="split.csv, neutral_front/ ..."
    )
    _add_model(people)
    people.add_argument("--split", choices=SPLITS, default="train", help="default: train")
    people.add_argument(
        "--trained-on",
        type=user_path,
        help="csv whose first column names the crops that were trained on, of those of "
        "crops_in_photos.csv; by default all of them",
    )


def _add_scans(commands: Any) -> None:
    shapes = commands.add_parser("scans", help="against scans, and people drawn from statistics")
    shapes.add_argument(
        "scan", type=user_path, nargs="?", help="glb, obj or ply that looks along +z"
    )
    shapes.add_argument("--texture", type=user_path, help="its colours, where the file has none")
    shapes.add_argument("--flip-texture", action="store_true", help="which is upside down")
    shapes.add_argument(
        "--unit", type=float, help="mm in the scan's unit; by default the eyes say how large it is"
    )
    shapes.add_argument(
        "--ict", type=user_path, help="ICT-FaceKit, npz or folder, to draw people from"
    )
    shapes.add_argument("--skins", type=user_path, help="folder of MakeHuman's skins, for them")
    shapes.add_argument("--people", type=int, default=100, help="drawn (default: 100)")
    shapes.add_argument(
        "--fewer",
        type=int,
        default=16,
        help="people, the first, who are also refined and fitted without a model (default: 16)",
    )
    shapes.add_argument("--seed", type=int, default=0, help="of the people drawn")
    _add_model(shapes)


def _add_benchmarks(commands: Any) -> None:
    realy = commands.add_parser("realy", help="meshes by the protocol of REALY")
    realy.add_argument("data", type=user_path, metavar="DATA", help="REALY's own data/")
    realy.add_argument("predictions", type=user_path, metavar="PREDICTIONS", help="ID.obj ...")
    realy.add_argument("--template", required=True, help="name of the topology, in DATA")
    svfr = commands.add_parser("svfr", help="meshes by NeRSemble's single-view protocol")
    svfr.add_argument("truth", type=user_path, metavar="TRUTH", help="PERSON/KEY/mesh_posed.ply")
    svfr.add_argument("predictions", type=user_path, metavar="PREDICTIONS", help="such a tree")
    svfr.add_argument("--metrical", action="store_true", help="take the meshes' size as it is")
    svfr.add_argument(
        "--unit", type=float, default=1.0, help="millimetres in the meshes' unit, for --metrical"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="shipped", help="shipped (the default), a run's folder, or none"
    )
    add_face_model(parser)
    parser.add_argument("--refine", type=int, default=60, help="steps (default: 60)")
    parser.add_argument("--batch-size", type=int, default=8, help="faces at a time (default: 8)")
    add_landmarks(parser)


def _tables(options: argparse.Namespace) -> None:
    from focus_jax.evaluation.tables import tables
    from focus_jax.face_models import misfit
    from focus_jax.weights.run import load_trained

    cpu.prepare()
    keep_programs()
    trained = load_trained(options.workdir, options.face_model)
    trained.config.face_model.name = trained.face_model_file  # synthetic faces are drawn from it
    if options.root:
        # All of that folder, whatever the training's data were.
        with trained.config.unlocked():
            trained.config.data.update(name="photos", root=str(options.root), codes="", cut="")
            trained.config.data.update(train_count=0, validation_count=0, synthetic=0)
    prior = misfit.load(options.misfit, trained.face_model) if options.misfit else None
    subsets = {"subsets": options.subsets, "column": options.column}
    print(tables(trained, options.split, **subsets, prior=prior))


def _page(options: argparse.Namespace) -> None:
    from focus_jax.evaluation.report_page import page

    out = options.out or options.workdir / "report.html"
    check_file(out)
    text = page(options.workdir)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, text)
    print(f"wrote {out} ({len(text) / 1e6:.1f} MB)")


def _landmarks(options: argparse.Namespace) -> None:
    from focus_jax.data.detect import landmark_source
    from focus_jax.photos import measure_people
    from focus_jax.photos.trained import load_model

    cpu.prepare()
    keep_programs()
    print(
        measure_people.measure(
            load_model(options.model, options.face_model),
            landmark_source(options.landmarks),
            options.folder,
            refine=in_range(options.refine, "--refine", 0, MOST_STEPS),
            split=options.split,
            trained_on=options.trained_on,
            batch_size=in_range(options.batch_size, "--batch-size", 1, MOST_AT_ONCE),
        )
    )


def _scans(options: argparse.Namespace) -> None:
    from focus_jax.data.detect import landmark_source
    from focus_jax.evaluation.pseudo_scans import draw_people
    from focus_jax.evaluation.scan_pictures import read_scan
    from focus_jax.photos import measure_scans
    from focus_jax.photos.trained import load_model

    if options.scan is None and (options.ict is None or options.skins is None):
        raise ValueError("give a scan, or --ict and --skins to draw people, or all of them")
    cpu.prepare()
    keep_programs()
    source, model = (
        landmark_source(options.landmarks),
        load_model(options.model, options.face_model),
    )

    def find(image: Any) -> Any:
        faces = source(image, Path("scan"))
        return faces[0].landmarks if faces else None

    real, drawn = [], []
    if options.scan is not None:
        colours = {"texture": options.texture, "flip": options.flip_texture}
        real = [read_scan(options.scan, find, **colours, unit=options.unit)]
    if options.ict is not None and options.skins is not None:
        count = in_range(options.people, "--people", 1)
        drawn = draw_people(options.ict, options.skins, count, seed=options.seed)
    print(
        measure_scans.measure(
            model,
            source,
            real,
            drawn,
            refine=in_range(options.refine, "--refine", 0, MOST_STEPS),
            fewer=in_range(options.fewer, "--fewer", 0),
            ict=options.ict,
            batch_size=in_range(options.batch_size, "--batch-size", 1, MOST_AT_ONCE),
        )
    )


def _realy(options: argparse.Namespace) -> None:
    from focus_jax.evaluation import realy

    given = options.data, options.predictions, options.template
    print(realy.table(realy.evaluate(*given, progress=True)))


def _svfr(options: argparse.Namespace) -> None:
    from focus_jax.evaluation import svfr

    unit = options.unit if options.metrical else None
    print(svfr.table(svfr.evaluate(options.truth, options.predictions, unit=unit, progress=True)))
