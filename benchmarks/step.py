"""Time and memory of the training steps, and of their parts beside PyTorch, as Markdown tables.

    python -m benchmarks.step --sizes full                      the paper's size: ten minutes
    python -m benchmarks.step --sizes default --batches 1 4 12 32    that of configs/em.py
    python -m benchmarks.step --sizes full --batches 12 --vertices 53149 --only steps

"full" is the paper's setting: ResNet-50, the U-Net of 34.5 million parameters, ArcFace's
iResNet-50, a face model of 35,709 vertices, 224 pixels; weights are random. Every row is a process
of its own. Parts are timed at the first of `--batches`; where PyTorch is installed, beside
the same networks there. Rows are printed as they are measured.
"""

import argparse
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import measure
from focus_jax.system import cpu

STAGES = ("initialisation", "pre-training", "joint segmenter", "joint autoencoder")
COLUMNS = (
    "compile s",
    "processor",
    "peak GB",
    "XLA's GB",
    "s / image",
    "processor s / image",
    "images / s",
)


def step(
    size: str,
    stage: str,
    batch_size: int,
    vertices: int | None = None,
    changes: dict[str, Any] | None = None,
) -> list:
    """One row of numbers, in the order of `COLUMNS`; `vertices` of the full size's face model."""
    import jax

    from benchmarks import full_size

    prepare(size)
    job = full_size.make_job(size, batch_size, vertices or full_size.VERTICES, changes)
    update, terms = full_size.update_of(job, stage)
    state = full_size.make_state(job)
    begun, before = time.perf_counter(), time.process_time()
    compiled = update.lower(state, job.batch, job.constants, terms, method=job.method).compile()
    compiling = time.perf_counter() - begun, time.process_time() - before

    def once() -> Any:
        nonlocal state
        state, values = compiled(state, job.batch, job.constants, terms)
        return jax.block_until_ready(values)

    # The first large steps ask the system for their memory, which takes long.
    found = measure.best({stage: once}, budget=10.0, warm=3, least=5)[stage]
    return [
        *(round(seconds, 1) for seconds in compiling),
        measure.peak_gigabytes(),
        gigabytes(compiled),
        found.wall / batch_size,
        found.cpu / batch_size,
        batch_size / found.wall,
    ]


def prepare(size: str) -> None:
    """As the training does at this size."""
    if size == "default":
        cpu.prepare()
    else:
        cpu.keep_freed_memory()


def gigabytes(compiled: Any) -> float:
    """Arguments, results and temporaries of a compiled step, by XLA's own account."""
    m = compiled.memory_analysis()
    total = m.argument_size_in_bytes + m.output_size_in_bytes + m.temp_size_in_bytes
    return (total - m.alias_size_in_bytes) / 2**30


# --- parts ---------------------------------------------------------------------------------------


PARTS = ["part", "wall", "processor", "PyTorch, wall", "PyTorch, processor"]


def parts(size: str, batch_size: int, names: Sequence[str] | None = None) -> Iterator[list]:
    """Rows of `PARTS`, in seconds an image; None where PyTorch has nothing to compare."""
    from benchmarks import full_size

    prepare(size)
    job = full_size.make_job(size, batch_size)
    with_torch = size == "full" and measure.installed("torch")
    for name, task in our_parts(job, full_size.make_state(job)).items():
        if names is not None and name not in names:
            continue
        numbers = [x / batch_size for x in timed(name, task)]
        if with_torch and name in TORCH_PARTS:
            numbers += measure.in_a_process(
                "benchmarks.step.torch_part", name, batch_size, job.config.data.size
            )
        yield [name, *numbers, *[None] * (4 - len(numbers))]


Task = Callable[[], Any]


def our_parts(job: Any, state: Any) -> dict[str, Task]:
    """What a step consists of, each as a compiled function of its own."""
    return {
        **encoder_parts(job, state),
        **drawing_parts(job),
        **segmenter_parts(job, state),
        **recognizer_parts(job),
        **optimizer_parts(job, state),
    }


def encoder_parts(job: Any, state: Any) -> dict[str, Task]:
    import jax
    import jax.numpy as jnp

    from focus_jax import forward

    def encode(parameters: Any, image: Any, train: bool) -> Any:
        variables = {**state.encoder, "params": parameters}
        seen = job.batch.replace(image=image)
        raw, _ = forward.encode(
            job.method.networks.encoder, variables, seen, train=train, dropout=jax.random.key(0)
        )
        return jnp.sum(raw**2)

    arguments = state.encoder["params"], job.batch.image
    return {
        "encoder": _task(encode, arguments, train=False),
        "encoder and gradient": _task(encode, arguments, 0, train=True),
    }


def mean_face(job: Any) -> tuple[Any, Any, Any]:
    """The code that is all zeros, and its vertices and colours."""
    import jax.numpy as jnp

    from focus_jax import forward
    from focus_jax.rendering import morphable

    model = job.constants.face_model
    sizes = forward.widths(model)
    raw = jnp.zeros((len(job.batch.image), sizes.outputs))
    code = forward.decode(raw, sizes, job.method.networks.decoding)
    vertices = morphable.vertices(model, code.identity, code.expression)
    return code, vertices, morphable.albedo(model, code.albedo)


def drawing_parts(job: Any) -> dict[str, Task]:
    import jax.numpy as jnp

    from focus_jax.rendering import morphable, render

    model, (height, width) = job.constants.face_model, job.batch.image.shape[1:3]

    def morph(identity: Any, expression: Any, albedo: Any) -> Any:
        shape = morphable.vertices(model, identity, expression)
        return jnp.sum(shape**2) + jnp.sum(morphable.albedo(model, albedo) ** 2)

    def picture(vertices: Any, colours: Any, pose: Any, light: Any) -> Any:
        how = height, width, job.method.networks.backend
        seen = render.render_mesh(vertices, colours, model.triangles, pose, light, *how)
        return jnp.sum(seen.image**2)

    code, vertices, colours = mean_face(job)
    coefficients = code.identity, code.expression, code.albedo
    shown = vertices, colours, code.pose, code.light
    return {
        "morphable model": _task(morph, coefficients),
        "morphable model and gradient": _task(morph, coefficients, (0, 1, 2)),
        "rendering": _task(picture, shown),
        "rendering and gradient": _task(picture, shown, (0, 1, 2, 3)),
    }


def segmenter_parts(job: Any, state: Any) -> dict[str, Task]:
    import jax
    import jax.numpy as jnp

    from focus_jax import forward

    _, vertices, _ = mean_face(job)

    def segment(parameters: Any, rendering: Any, train: bool) -> Any:
        variables = {**state.segmenter, "params": parameters}
        seen = forward.Rendering(rendering, jnp.ones_like(rendering[..., :1]), vertices)
        network = job.method.networks.segmenter
        mask, _, _ = forward.segment(
            network, variables, seen, job.batch.image, train=train, dropout=jax.random.key(0)
        )
        return jnp.sum(mask**2)

    arguments = state.segmenter["params"], job.batch.image
    return {
        "segmenter": _task(segment, arguments, train=False),
        "segmenter and gradient of its weights": _task(segment, arguments, 0, train=True),
        "segmenter and gradient of its input": _task(segment, arguments, 1, train=False),
    }


def recognizer_parts(job: Any) -> dict[str, Task]:
    import jax.numpy as jnp

    from focus_jax.networks import recognizer

    chips = jnp.zeros((len(job.batch.image), 112, 112, 3)) + 0.5

    def recognize(chips: Any, shallow_only: bool) -> Any:
        seen = recognizer.features(
            job.constants.recognizer,
            chips,
            kind=job.method.networks.recognizer,
            shallow_only=shallow_only,
        )
        return jnp.sum((seen.shallow if shallow_only else seen.deep) ** 2)

    return {
        "recognizer": _task(recognize, (chips,), shallow_only=False),
        "recognizer and gradient": _task(recognize, (chips,), 0, shallow_only=False),
        "recognizer, shallow": _task(recognize, (chips,), shallow_only=True),
        "recognizer, shallow, and gradient": _task(recognize, (chips,), 0, shallow_only=True),
    }


def optimizer_parts(job: Any, state: Any) -> dict[str, Task]:
    made = {}
    for name in ("encoder", "segmenter"):
        update = getattr(job.method, f"{name}_optimizer").update
        network = getattr(state, name)["params"]
        moments = getattr(state, f"{name}_optimizer")
        made[f"optimizer of the {name}"] = _task(update, (network, moments, network))
    return made


def _task(
    function: Callable,
    arguments: Sequence[Any],
    wanted: int | tuple[int, ...] | None = None,
    **fixed: bool,
) -> Task:
    """A call of the compiled function, with the gradients of the arguments that are `wanted`."""
    import jax

    traced = functools.partial(function, **fixed)
    compiled = jax.jit(traced if wanted is None else jax.value_and_grad(traced, wanted))
    return lambda: compiled(*arguments)


def timed(name: str, task: Task) -> measure.Time:
    """Of a part, ours or PyTorch's."""
    return measure.best({name: task}, budget=3.0, warm=2, least=3)[name]


# The networks' parts in PyTorch, by the names of `our_parts`: network, whether it trains, and
# whether the gradients of its weights and of its input are computed.
TORCH_PARTS = {
    "encoder": ("resnet50", False, False, False),
    "encoder and gradient": ("resnet50", True, True, False),
    "segmenter": ("unet", False, False, False),
    "segmenter and gradient of its weights": ("unet", True, True, False),
    "segmenter and gradient of its input": ("unet", False, False, True),
    "recognizer": ("arcface", False, False, False),
    "recognizer and gradient": ("arcface", False, False, True),
    "recognizer, shallow": ("shallow", False, False, False),
    "recognizer, shallow, and gradient": ("shallow", False, False, True),
}


def torch_part(name: str, batch_size: int, size: int) -> measure.Time:
    """Seconds an image of one of `TORCH_PARTS`: in a process of its own, as its users run it."""
    import torch

    from benchmarks import torch_networks

    kind, train, weights, image = TORCH_PARTS[name]
    channels, side = {"resnet50": (3, size), "unet": (6, size)}.get(kind, (3, 112))
    network = {
        "resnet50": lambda: torch_networks.resnet50(257),
        "unet": torch_networks.UNet,
        "arcface": torch_networks.iresnet,
        "shallow": lambda: torch_networks.iresnet(shallow=True),
    }[kind]()
    network.train(train).requires_grad_(weights)
    x = torch.rand(batch_size, channels, side, side, requires_grad=image)

    def task() -> None:
        with torch.set_grad_enabled(weights or image):
            loss = (network(x) ** 2).sum()
        if weights or image:
            network.zero_grad(set_to_none=True)
            loss.backward()

    found = timed(name, task)
    return measure.Time(*(seconds / batch_size for seconds in found))


# --- against a step of the release ---------------------------------------------------------------


# Seconds an image of the authors' code in PyTorch with the same networks, batch 4, on two quiet
# cores like those of the tables; their code is no part of this repository. Its forward passes:
RELEASE_NETWORKS = {"encoder": 0.15, "segmenter": 1.7}
RELEASE_STEPS = {"joint segmenter": 7.8, "joint autoencoder": 7.9}


AGAINST = [
    "stage",
    "wall",
    "release, wall",
    "times as fast",
    "processor",
    "release, processor",
    "times as fast",
]


def against_release(rows: Sequence[Sequence], steps: dict[str, Sequence[float]]) -> list[list]:
    """Rows of `AGAINST`, in seconds an image.

    The release's are scaled by how long PyTorch takes here for two of its networks.
    """
    theirs = {row[0]: row[3:5] for row in rows}
    networks = sum(RELEASE_NETWORKS.values())
    wall, cpu = (sum(theirs[name][i] for name in RELEASE_NETWORKS) / networks for i in (0, 1))
    return [
        [
            stage,
            *(ours[0], wall * seconds, wall * seconds / ours[0]),
            *(ours[1], cpu * seconds, cpu * seconds / ours[1]),
        ]
        for stage, seconds in RELEASE_STEPS.items()
        if (ours := steps.get(stage))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the training steps and their parts.")
    parser.add_argument("--sizes", nargs="+", default=["full", "default"])
    parser.add_argument("--batches", nargs="+", type=int, default=[4])
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    parser.add_argument("--vertices", type=int, help="of the face model at full size")
    parser.add_argument("--only", choices=("parts", "steps"), help="one of the two tables")
    parser.add_argument("--parts", nargs="+", help="these parts only", metavar="PART")
    options = parser.parse_args()
    for size in options.sizes:
        first, rows, steps = options.batches[0], [], []
        if options.only != "parts":
            print(f"Steps, {size} size:\n")
            steps = measure.print_table(
                ["stage", "batch", *COLUMNS],
                (
                    [
                        stage,
                        n,
                        *measure.in_a_process(
                            "benchmarks.step.step", size, stage, n, options.vertices
                        ),
                    ]
                    for n in options.batches
                    for stage in options.stages
                ),
            )
        if options.only != "steps":
            print(f"Parts at batch {first}, {size} size, seconds an image:\n")
            rows = measure.print_table(PARTS, parts(size, first, options.parts))
        if steps and {row[0] for row in rows if row[3]} >= RELEASE_NETWORKS.keys():
            seconds = {row[0]: row[6:8] for row in steps if row[1] == first}
            measure.print_table(AGAINST, against_release(rows, seconds))
    print(measure.machine("jax", *(["torch"] if measure.installed("torch") else [])))


if __name__ == "__main__":
    main()
