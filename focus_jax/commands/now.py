"""The NoW benchmark (Sanyal et al. 2019): predictions for it, and their distances from its scans.

    focus-jax now predict --workdir=RUN --photos=NOW/photos --images=LIST --out=DIR
    focus-jax now score --dataset=NOW --predictions=DIR --images=LIST [--metrical --unit=1]

LIST has a line SUBJECT/CHALLENGE/IMAGE.jpg per photo (NOW/imagepathsvalidation.txt). A prediction
is the whole neutral mesh of the face model's file, DIR/SUBJECT/CHALLENGE/IMAGE.obj, with its seven
landmarks as .npy; with --misfit=misfit.npz, which subtracts a misfit prior, it is the training's.
Neutral is also without the mean expression of face models that have one (Basel 2017 and 2019), as
in the authors' release; --mean-expression keeps it. Photos without a face are counted and listed.

The score is a table, the numbers, the cumulative curve and, where the predictions come with
poses.csv (image,yaw in degrees), error bars by pose. Photos without a prediction are counted.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from focus_jax import forward
from focus_jax.commands.arguments import add_face_model
from focus_jax.evaluation import now
from focus_jax.face_models import load_face_model, misfit
from focus_jax.photos import now_predict
from focus_jax.photos.trained import load_model
from focus_jax.system import cpu
from focus_jax.system.command import in_one_sentence, keep_programs, quiet
from focus_jax.system.files import check_folder, user_path


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="focus-jax now",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    predict = commands.add_parser("predict", help="write the prediction folder of a model")
    predict.add_argument("--workdir", required=True, help="of the training run, or shipped")
    predict.add_argument("--photos", type=user_path, required=True, help="folder of the photos")
    predict.add_argument("--images", type=user_path, help="list of photos")
    predict.add_argument("--landmarks", type=user_path, help="68 landmarks of each photo, csv")
    predict.add_argument("--misfit", type=user_path, help="misfit prior to subtract")
    add_face_model(predict)
    predict.add_argument("--svfr", action="store_true", help="for NeRSemble's benchmark")
    predict.add_argument("--mean-expression", "--mean_expression", action="store_true")
    predict.add_argument("--out", type=user_path, required=True, help="the prediction folder")
    score = commands.add_parser("score", help="distances of predictions from the scans")
    score.add_argument("--dataset", type=user_path, required=True, help="folder of the benchmark")
    score.add_argument("--predictions", type=user_path, required=True, help="prediction folder")
    score.add_argument("--images", type=user_path, required=True, help="list of photos")
    score.add_argument("--challenge", choices=now.CHALLENGES, help="only photos of this one")
    score.add_argument("--metrical", action="store_true", help="take the meshes' size as it is")
    score.add_argument(
        "--unit", type=float, default=1.0, help="millimetres in the meshes' unit, for --metrical"
    )
    score.add_argument(
        "--out", type=user_path, default=Path("results/now"), help="of tables and plots"
    )
    options = parser.parse_args(argv)
    quiet()
    return in_one_sentence(_predict if options.command == "predict" else _score)(options)


def _predict(options: argparse.Namespace) -> int:
    check_folder(options.out)
    if not options.photos.is_dir():
        raise ValueError(f"{options.photos} is no folder; give that of the benchmark's photos")
    cpu.prepare()
    keep_programs()
    model = load_model(options.workdir, options.face_model)
    images = _images(options)
    find = now_predict.from_photos() if options.landmarks is None else None
    find = find or now_predict.from_csv(options.landmarks)
    prior = misfit.load(options.misfit, model.face_model) if options.misfit else None
    whole = None
    if prior is None:
        modes = forward.widths(model.face_model)._asdict()
        whole = load_face_model(model.face_model_file, **modes, mesh="full")
    skipped = now_predict.predict(
        model,
        images,
        options.photos,
        options.out,
        find=find,
        prior=prior,
        mean_expression=options.mean_expression,
        whole=whole,
        svfr=options.svfr,
    )
    print(f"wrote {len(images) - len(skipped)} of {len(images)} predictions to {options.out}")
    if skipped:
        print("without a prediction: " + "; ".join(skipped))
    return int(len(skipped) == len(images))


def _images(options: argparse.Namespace) -> list[str]:
    if options.images is not None:
        return now.read_images(options.images)
    if not options.svfr:
        raise ValueError("--images is needed, a list of the benchmark's photos")
    found = sorted(options.photos.glob("*/*_*_*/rgb.png"))
    if not found:
        raise ValueError(f"{options.photos} holds no PERSON/SEQUENCE_TIMESTEP_SERIAL/rgb.png")
    return [path.relative_to(options.photos).as_posix() for path in found]


def _score(options: argparse.Namespace) -> None:
    check_folder(options.out)
    images = now.read_images(options.images)
    if options.challenge:
        images = [n for n in images if n.split("/")[1] == options.challenge]
        if not images:
            raise ValueError(f"{options.images} lists no photo of {options.challenge}")
    unit = options.unit if options.metrical else None
    result = now.evaluate(options.dataset, options.predictions, images, unit=unit, progress=True)
    poses = options.predictions / "poses.csv"
    yaws = now.read_yaws(poses) if poses.is_file() else None
    print(now.write(result, options.out, label=options.predictions.name, yaws=yaws))
    if result.missing:
        shown = ", ".join(result.missing[:5])
        print(f"{len(result.missing)} photos have no prediction: {shown} ...")
