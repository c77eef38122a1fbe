"""Operations, bytes and memory of the steps, and what they would take on machines not at hand.

    python -m benchmarks.roofline                    the tables of docs/performance.md; 20 minutes
    python -m benchmarks.roofline --vertices=53149 --batch=12 --memory-only

Steps are compiled, not run: on a CPU, but with convolutions in the form that a GPU or TPU gets, and
counted by XLA. Its count of a foreign call has no operations, and of a loop one turn; so the
rasterizer's plain form is counted for one image, in which its loop over images turns once. Peaks
are data sheets'. The step takes at least the longer of operations / peak and bytes / bandwidth; how
much of that bound a real step reaches is not known without the machine (`USED` is an assumption).
"""

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import full_size, measure
from benchmarks.step import gigabytes
from focus_jax import forward
from focus_jax.networks import convolution
from focus_jax.training import updates


class Device(NamedTuple):
    """Peaks by the maker's data sheet: operations a second, bytes a second."""

    name: str
    float32: float  # GPUs: TF32, in which JAX multiplies float32 there; TPUs: bfloat16, likewise
    bfloat16: float
    bandwidth: float


DEVICES = (
    Device("H100 (SXM)", 495e12, 989e12, 3.35e12),
    Device("A100 (80 GB)", 156e12, 312e12, 2.04e12),
    Device("TPU v4", 275e12, 275e12, 1.2e12),
)
USED = 0.3


class Cost(NamedTuple):
    """Of one image: floating-point operations, and bytes read and written."""

    operations: float
    traffic: float


def cost(compiled: Any, images: int) -> Cost:
    """XLA's count, for each image."""
    found = compiled.cost_analysis()
    return Cost(found["flops"] / images, found["bytes accessed"] / images)


def compile_step(job: full_size.Job, stage: str) -> Any:
    """The compiled update of a stage."""
    update, terms = full_size.update_of(job, stage)
    state = full_size.state_shapes(job)
    lowered = update.lower(state, job.batch, job.constants, terms, method=job.method)
    return lowered.compile(compiler_options={"xla_backend_optimization_level": 0})


def rendering_cost(job: full_size.Job, backend: str | None, *, gradient: bool) -> Cost:
    """Face and picture from the coefficients, with the gradient back to them or without."""
    model, size = job.constants.face_model, job.config.data.size
    raw = jnp.zeros((1, forward.widths(model).outputs))

    def picture(raw: jax.Array) -> jax.Array:
        code = forward.decode(raw, forward.widths(model), job.method.networks.decoding)
        face = forward.reconstruct(code, model, size, size, backend=backend)
        return jnp.sum(face.rendering.image**2)

    function = jax.jit(jax.value_and_grad(picture) if gradient else picture)
    return cost(function.lower(raw).compile(), 1)


def costs_of(job: full_size.Job, stage: str) -> dict[str, Cost]:
    """Costs of a stage's step with the kernels, of its rendering so, and in plain JAX."""
    gradient = full_size.update_of(job, stage)[0] is updates.update_autoencoder
    rendering = {b: rendering_cost(job, b, gradient=gradient) for b in ("warp", "jnp")}
    return {"step": cost(compile_step(job, stage), len(job.batch.image)), **rendering}


def bound(device: Device, costs: dict[str, Cost], dtype: str, backend: str) -> tuple[float, str]:
    """Images a second that the device can do at most, and by what it is bound."""
    step, warp, chosen = costs["step"], costs["warp"], costs[backend]
    operations = step.operations + chosen.operations - warp.operations
    networks = step.traffic - warp.traffic  # bfloat16 halves what they move
    traffic = networks / (2 if dtype == "bfloat16" else 1) + chosen.traffic
    compute, memory = operations / getattr(device, dtype), traffic / device.bandwidth
    return 1 / max(compute, memory), "compute" if compute > memory else "bandwidth"


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the steps' operations, bytes and memory.")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--vertices", type=int, default=full_size.VERTICES)
    parser.add_argument("--memory-only", action="store_true", help="of float32, remat and bfloat16")
    options = parser.parse_args()
    convolution.on_cpu = lambda: False
    if options.memory_only:
        memory(options.batch, options.vertices)
    else:
        speed(options.batch, options.vertices)
    print(measure.machine("jax"))


def speed(batch_size: int, vertices: int) -> None:
    job = full_size.make_job("full", batch_size, vertices)
    found = {}

    def rows() -> Iterator[list]:
        for name in full_size.STAGES:
            found[name] = c = costs_of(job, name)
            operations, traffic = c["step"]
            yield [name, operations / 1e9, traffic / 1e9, c["jnp"].traffic / 1e9]

    header = ["stage", "GFLOP / image", "GB / image", "of plain rendering, GB / image"]
    measure.print_table(header, rows())
    forms = [("float32", "jnp"), ("float32", "warp"), ("bfloat16", "warp")]
    header = ["device", "stage", *(f"{d}, {b}" for d, b in forms), "bound by", f"at {USED:.0%}"]
    lines = []
    for device in DEVICES:
        for name, costs in found.items():
            bounds = [bound(device, costs, *form) for form in forms]
            rates = [round(rate) for rate, _ in bounds]
            lines.append([device.name, name, *rates, bounds[-1][1], round(USED * bounds[-1][0])])
    print("Images a second, at most:\n")
    measure.print_table(header, lines)


def memory(batch_size: int, vertices: int) -> None:
    changes: dict[str, dict[str, Any]] = {
        "float32": {},
        "float32, rematerialised": {"compute.remat": True},
        "float32, in 3 parts": {"compute.parts": 3},
    }

    def rows() -> Iterator[list]:
        for name, change in changes.items():
            job = full_size.make_job("full", batch_size, vertices, change)
            for stage in full_size.STAGES:
                yield [name, stage, batch_size, gigabytes(compile_step(job, stage))]

    measure.print_table(["computed in", "stage", "batch", "GB"], rows())


if __name__ == "__main__":
    main()
