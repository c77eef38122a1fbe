"""What an accelerator really takes: rasterizer, training steps, commands, memory, a profile.

    python -m benchmarks.gpu > gpu.md            ten minutes on a machine with CUDA JAX
    python -m benchmarks.gpu --smoke             the smallest sizes, anywhere, in seconds

Parts that have not begun after `--minutes` are left out, and named. Shares of a bound are those of
`benchmarks.roofline`, whose peaks are data sheets', by XLA's count of the program that ran; of a
device that is not in its table there are none. Where PyTorch and nvdiffrast are installed, its CUDA
rasterizer is timed on the same meshes: index map and image. "ordered" is the gradient whose sums
have a fixed order.
"""

import argparse
import contextlib
import functools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import full_size, measure, rasterizer, roofline
from benchmarks.step import gigabytes
from focus_jax.data.detect import landmark_source
from focus_jax.data.faces import align_faces
from focus_jax.photos.inference import infer, infer_masks
from focus_jax.photos.trained import load_model, make_batch
from focus_jax.rendering import rasterize
from focus_jax.system import cpu

DEVICES = (*roofline.DEVICES, roofline.Device("H200", 495e12, 989e12, 4.8e12))


class Sizes(NamedTuple):
    """What is measured."""

    meshes: tuple[tuple[int, int, int], ...]  # vertices, pixels, batch
    job: str  # of `full_size.make_job`
    changes: dict[str, Any]
    stages: tuple[str, ...]
    forms: tuple[tuple[str, dict[str, Any]], ...]  # of the steps: their names and settings
    batches: tuple[int, ...]
    faces: tuple[int, ...]  # at a time
    refined: int  # steps
    budget: float  # seconds a row
    compiler: dict[str, Any] | None = None  # options, of the steps


WHOLE = Sizes(
    meshes=(
        *(
            (vertices, 224, n)
            for vertices in (full_size.VERTICES, rasterizer.HEAD)
            for n in (1, 12, 64)
        ),
        *((rasterizer.HEAD, pixels, 1) for pixels in (512, 1024)),
    ),
    job="full",
    changes={},
    stages=full_size.STAGES,
    forms=(
        ("float32", {}),
        ("bfloat16", {"compute.dtype": "bfloat16"}),
        ("float32, rematerialised", {"compute.remat": True}),
    ),
    batches=(12, 64, 128),
    faces=(8, 64),
    refined=20,
    budget=2.0,
)
SMOKE = Sizes(
    meshes=((502, 32, 1),),
    job="default",
    changes={"data.size": 32},
    stages=("initialisation",),
    forms=(("float32", {}),),
    batches=(1,),
    faces=(),
    refined=1,
    budget=0.01,
    compiler={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
)


def seconds(task: Callable[[], Any], budget: float) -> float:
    """The best of several calls, once it is warm."""
    return measure.best({"": task}, budget=budget, warm=1, least=2)[""].wall


# --- rasterizer ----------------------------------------------------------------------------------


def meshes(sizes: Sizes) -> Iterator[list[Any]]:
    """Milliseconds an image of each backend."""
    on_gpu = jax.default_backend() == "gpu"
    for vertices, pixels, batch in sizes.meshes:
        screen, triangles, colours = jax.block_until_ready(
            rasterizer.scene(vertices, pixels, batch)
        )
        for backend in ("warp", "jnp"):
            found = [
                1000 * seconds(task, sizes.budget) / batch
                for task in _tasks(backend, pixels, screen, triangles, colours)
            ]
            yield [backend, vertices, pixels, batch, *found, *[None] * (4 - len(found))]
        if on_gpu and measure.installed("nvdiffrast.torch"):
            found = _nvdiffrast(np.asarray(screen), np.asarray(triangles), pixels, sizes.budget)
            times = (1000 * s / batch for s in found)
            yield ["nvdiffrast", vertices, pixels, batch, *times, None, None]


def _tasks(backend: str, pixels: int, screen: Any, triangles: Any, colours: Any) -> Iterator[Any]:
    """Index map; image; image and its gradient; of the kernels the same in a fixed order."""
    sides = pixels, pixels, backend

    def loss(screen: Any, triangles: Any, colours: Any, **options: Any) -> Any:
        return jnp.sum(rasterize.render(screen, triangles, colours, *sides, **options)[0] ** 2)

    ordered = functools.partial(loss, deterministic=True)
    index = jax.jit(lambda s, t, c: rasterize.rasterize(s, t, *sides).triangle_id)
    image = jax.jit(lambda s, t, c: rasterize.render(s, t, c, *sides)[0])
    losses = [loss, ordered] if backend == "warp" else [loss]
    for function in (index, image, *(jax.jit(jax.value_and_grad(f, (0, 2))) for f in losses)):
        yield functools.partial(function, screen, triangles, colours)


def _nvdiffrast(screen: Any, triangles: Any, pixels: int, budget: float) -> list[float]:
    import nvdiffrast.torch as dr
    import torch

    depth = screen[..., 2:]
    flat = (screen[..., :2] + 0.5) * 2 / pixels - 1
    near, far = depth.min(), depth.max()
    clip = np.concatenate([flat, (depth - near) / (far - near) * 2 - 1, np.ones_like(depth)], -1)
    points = torch.tensor(clip, dtype=torch.float32, device="cuda").contiguous()
    faces = torch.tensor(triangles, dtype=torch.int32, device="cuda").contiguous()
    colours = torch.rand((*clip.shape[:2], 3), device="cuda")
    context = dr.RasterizeCudaContext()

    def index() -> Any:
        found, _ = dr.rasterize(context, points, faces, (pixels, pixels))
        torch.cuda.synchronize()
        return found

    def image() -> None:
        dr.interpolate(colours, index(), faces)
        torch.cuda.synchronize()

    return [seconds(task, budget) for task in (index, image)]


# --- training ------------------------------------------------------------------------------------


def steps(sizes: Sizes, kept: dict[str, Any]) -> Iterator[list[Any]]:
    """Images a second of each stage, beside what the device could do at most; `kept` gets one."""
    device = next((d for d in DEVICES if d.name.split()[0] in jax.devices()[0].device_kind), None)
    for batch in sizes.batches:
        for form, changes in sizes.forms:
            for stage in sizes.stages:
                row = [stage, form, batch]
                try:
                    once, compiled = _step(sizes, stage, batch, changes)
                    rate = batch / seconds(once, sizes.budget)
                except Exception as error:  # of a device that has too little memory
                    yield [*row, None, None, None, " ".join(str(error).split())[:60]]
                    continue
                kept["step"] = once
                share = None
                if device is not None:
                    peak = device.bfloat16 if form == "bfloat16" else device.float32
                    cost = roofline.cost(compiled, batch)
                    share = rate * max(cost.operations / peak, cost.traffic / device.bandwidth)
                yield [*row, rate, share, gigabytes(compiled), None]


def _step(sizes: Sizes, stage: str, batch: int, changes: dict[str, Any]) -> tuple[Any, Any]:
    """A step that can be repeated, and its program."""
    job = full_size.make_job(sizes.job, batch, full_size.VERTICES, {**sizes.changes, **changes})
    update, terms = full_size.update_of(job, stage)
    state = full_size.make_state(job)
    lowered = update.lower(state, job.batch, job.constants, terms, method=job.method)
    compiled = lowered.compile(compiler_options=sizes.compiler)

    def once() -> Any:
        nonlocal state
        state, values = compiled(state, job.batch, job.constants, terms)
        return values

    return once, compiled


# --- commands ------------------------------------------------------------------------------------


def faces(sizes: Sizes) -> Iterator[list[Any]]:
    """Faces a second of what the commands compute, without decoding, detection and files."""
    import skimage.data

    photo = skimage.data.astronaut()
    model = load_model("shipped")
    found = landmark_source("mediapipe")(photo, Path())[:1]
    face = align_faces(photo, found, model.record_size, fix_y_offset=model.fix_y_offset)[0]
    for count in sizes.faces:
        arrays = (face.crop, face.landmarks, face.dense_landmarks)
        batch = make_batch(model, *(np.stack([x] * count) for x in arrays))
        works = {
            "segment": lambda batch=batch: infer_masks(model, batch),
            "reconstruct": lambda batch=batch: infer(model, batch),
            f"refine {sizes.refined}": lambda batch=batch: infer(model, batch, sizes.refined),
        }
        for name, work in works.items():
            yield [name, count, count / seconds(work, sizes.budget)]


# --- a profile -----------------------------------------------------------------------------------


def largest(task: Callable[[], Any], count: int = 10) -> list[list[Any]]:
    """Names and milliseconds of the operations of a step that take longest on the device."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(task())
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
        device = [p for p in planes if p.name.startswith("/device:")] or planes
        spent: Counter[str] = Counter()
        for plane in device:
            for line in plane.lines:
                if "XLA Ops" in line.name or line.name.startswith(("Stream", "tf_XLA")):
                    for event in line.events:
                        spent[event.name] += event.duration_ns
    return [[name[:60], nanoseconds / 1e6] for name, nanoseconds in spent.most_common(count)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which nothing is begun")
    options = parser.parse_args()
    sizes = SMOKE if options.smoke else WHOLE
    if jax.default_backend() == "cpu":
        cpu.prepare()
    until = time.monotonic() + 60 * options.minutes
    device, kept = jax.devices()[0], {}

    def timely(rows: Iterator[list[Any]]) -> Iterator[list[Any]]:
        with contextlib.closing(rows):  # type: ignore[type-var]
            while time.monotonic() < until and (row := next(rows, None)) is not None:
                yield row
        if time.monotonic() >= until:
            print("\nNot all of this table: the time was over.", flush=True)

    print(f"Rasterizer on {device.device_kind}, milliseconds an image:\n")
    header = [
        "backend",
        "vertices",
        "pixels",
        "batch",
        "index map",
        "image",
        "with gradient",
        "ordered",
    ]
    measure.print_table(header, timely(meshes(sizes)))
    print("Training steps:\n")
    header = ["stage", "computed in", "batch", "images / s", "of the bound", "GB", "failed"]
    measure.print_table(header, timely(steps(sizes, kept)))
    print("Commands, without decoding, detection and files:\n")
    measure.print_table(["command", "faces at a time", "faces / s"], timely(faces(sizes)))
    if "step" in kept:
        print("The ten largest operations of the last step above:\n")
        measure.print_table(["operation", "ms"], largest(kept["step"]))
    print(f"{device.device_kind}, {measure.machine('jax', 'warp-lang')}")


if __name__ == "__main__":
    main()
