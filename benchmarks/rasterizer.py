"""Time and memory of the rasterizer, Warp against plain JAX, as a Markdown table.

    python -m benchmarks.rasterizer             # minutes
    python -m benchmarks.rasterizer --quick     # the head of the README only

Every row is a process of its own, bound to its cores, so that peak memory and start-up are its own.
Where PyTorch and PyTorch3D are installed, their rasterizer is measured too (forward, index map).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

COLUMNS = (
    "cores",
    "backend",
    "triangles",
    "pixels",
    "batch",
    "index map, ms",
    "image, ms",
    "image + gradient, ms",
    "image, ns / triangle",
    "peak, MB",
    "first image, s",
)
HEAD = 53_149  # vertices; a closed surface of v vertices has 2 v - 4 triangles: 106,294


def head(vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """A closed bumpy surface about the size of a head: points [v 3] in mm, triangles [t 3]."""
    from scipy.spatial import ConvexHull

    steps = np.arange(vertices) + 0.5
    z, angle = 1 - 2 * steps / vertices, steps * np.pi * (3 - 5**0.5)  # Fibonacci's spiral
    radius = np.sqrt(1 - z * z)
    sphere = np.stack([radius * np.cos(angle), z, radius * np.sin(angle)], -1)
    # In rings, as in a scan: neighbours on the surface are near each other in memory.
    ring = np.floor(np.arccos(z) * vertices**0.5 / np.pi)
    sphere = sphere[np.lexsort((np.arctan2(sphere[:, 2], sphere[:, 0]), ring))]
    triangles = ConvexHull(sphere).simplices
    a, b, c = (sphere[triangles[:, k]] for k in range(3))
    outwards = np.sum(np.cross(b - a, c - a) * a, -1) > 0
    triangles = np.where(outwards[:, None], triangles, triangles[:, ::-1])
    triangles = triangles[np.argsort(triangles.min(-1), kind="stable")]  # in order, as files are
    bumps = 1 + 0.05 * np.sin(7 * sphere[:, :1]) * np.sin(5 * sphere[:, 1:2])
    return sphere * bumps * [75, 105, 90], triangles.astype(np.int32)


def scene(vertices: int, size: int, batch: int):
    """Screen positions of turned heads [b v 3], triangles, and colours [b v 3]."""
    import jax.numpy as jnp

    from focus_jax.rendering import camera

    points, triangles = head(vertices)
    rng = np.random.default_rng(0)
    pose = jnp.asarray(rng.normal(size=(batch, 6)) * [0.2, 0.4, 0.1, 3, 3, 3], jnp.float32)
    rotation, translation = camera.extrinsics(pose)
    points = jnp.broadcast_to(jnp.asarray(points, jnp.float32), (batch, vertices, 3))
    screen = camera.project(points, rotation, translation, camera.intrinsics(size, size))
    colours = jnp.asarray(rng.random((batch, vertices, 3)), jnp.float32)
    return screen, jnp.asarray(triangles), colours


def seconds(function, *arguments, budget: float = 3.0) -> tuple[float, float]:
    """(first call, best of the others) within about `budget` seconds.

    On one core the time is the processor's, which other work on the machine disturbs less.
    """
    import jax

    clock = time.process_time if len(os.sched_getaffinity(0)) == 1 else time.perf_counter

    def call() -> float:
        start = clock()
        jax.block_until_ready(function(*arguments))
        return clock() - start

    first, times = call(), []
    while len(times) < 3 or (sum(times) < budget and len(times) < 30):
        times.append(call())
    return first, min(times)


def measure(backend: str, vertices: int, size: int, batch: int) -> dict[str, float]:
    """One row: milliseconds per image of each task, peak MB, seconds of the first image."""
    if backend == "pytorch3d":
        return measure_pytorch3d(vertices, size, batch)
    import jax
    import jax.numpy as jnp

    from focus_jax.rendering import rasterize

    arguments = jax.block_until_ready(scene(vertices, size, batch))
    screen, triangles, _ = arguments
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(size, size, 3)), jnp.float32)

    def image(screen, triangles, colours):
        return rasterize.render(screen, triangles, colours, size, size, backend)

    def loss(screen, triangles, colours):
        return jnp.sum(image(screen, triangles, colours)[0] * weights)

    def index(screen, triangles):
        return rasterize.rasterize(screen, triangles, size, size, backend).triangle_id

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, forward = seconds(jax.jit(image), *arguments)
    # With the value, for which the plain path must compute the image too.
    _, both = seconds(jax.jit(jax.value_and_grad(loss, (0, 2))), *arguments)
    _, only_index = seconds(jax.jit(index), screen, triangles)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "triangles": triangles.shape[0],
        "index": only_index / batch * 1e3,
        "image": forward / batch * 1e3,
        "both": both / batch * 1e3,
        "memory": (after - before) / 1e3,
        "start": start,
    }


def measure_pytorch3d(vertices: int, size: int, batch: int) -> dict[str, float]:
    """PyTorch3D's index map, hard edges, one face a pixel."""
    import torch
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    screen, triangles, _ = scene(vertices, size, batch)
    points = torch.tensor(np.asarray(screen).copy())
    points[..., :2] = 1 - (points[..., :2] + 0.5) * 2 / size  # its screen runs from 1 to -1
    faces = torch.tensor(np.asarray(triangles)).long().expand(batch, -1, -1)
    start = time.perf_counter()
    rasterize_meshes(Meshes(points, faces), image_size=size, faces_per_pixel=1)
    return {"triangles": len(triangles), "index": (time.perf_counter() - start) / batch * 1e3}


def in_a_process(cores: int, cache: str, *row) -> dict[str, float]:
    """`measure` in a new process on the first `cores` cores, its kernels cached in `cache`."""
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    code = (
        f"import os, json; os.sched_setaffinity(0, {allowed}); import warp\n"
        f"warp.config.kernel_cache_dir = {cache!r}\n"
        f"from benchmarks import rasterizer; print(json.dumps(rasterizer.measure(*{row!r})))"
    )
    environment = {**os.environ, "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{row}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def installed(module: str) -> bool:
    return (
        subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode
        == 0
    )


def rows(quick: bool) -> list[tuple[int, str, int, int, int]]:
    """(cores, backend, vertices, size, batch)."""
    cores = (1, 2) if len(os.sched_getaffinity(0)) > 1 else (1,)
    chosen = [(n, b, HEAD, 224, 12) for n in cores for b in ("warp", "jnp")]
    if not quick:
        chosen += [(1, b, HEAD, 224, 1) for b in ("warp", "jnp")]
        chosen += [(1, b, v, 224, 1) for v in (2_502, 25_002, 250_002) for b in ("warp", "jnp")]
        chosen += [(1, b, HEAD, s, 1) for s in (112, 512, 1024) for b in ("warp", "jnp")]
        chosen += [(1, "warp", 250_002, 1024, 12)]
        if installed("pytorch3d"):
            chosen += [(1, "pytorch3d", 2_502, 112, 1)]
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the rasterizer, Warp against JAX.")
    parser.add_argument("--quick", action="store_true", help="only the head at 224 x 224, batch 12")
    quick = parser.parse_args().quick
    print(f"| {' | '.join(COLUMNS)} |")
    print("| --- " * len(COLUMNS) + "|")
    with tempfile.TemporaryDirectory() as cache:
        for number, (cores, backend, vertices, size, batch) in enumerate(rows(quick)):
            found = in_a_process(cores, cache, backend, vertices, size, batch)
            shown = {key: f"{value:.2f}" for key, value in found.items()}
            per_triangle = found.get("image", found["index"]) * 1e6 / found["triangles"]
            cold = " (cold)" if number == 0 else ""
            print(
                f"| {cores} | {backend} | {found['triangles']:,} | {size} | {batch} "
                f"| {shown['index']} | {shown.get('image', '')} | {shown.get('both', '')} "
                f"| {per_triangle:.1f} | {shown.get('memory', '')} "
                f"| {shown.get('start', '')}{cold} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
