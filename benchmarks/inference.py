"""Time of inference: seconds a face, as a Markdown table.

    python -m benchmarks.inference                 both sizes, batch 1 and 16; ten minutes
    python -m benchmarks.inference --sizes=default

"networks" is what an evaluation does: encoder, face, rendering, mask. "reconstruct"
is the computation of `focus-reconstruct` and `focus-segment` for aligned faces, which also draw
them at a finer size; reading photos, finding faces and writing files come on top. "cold" is a new
process without compiled programs: its start, the compiling and the first faces; "cached" the same
with the compilation cache of an earlier one. Sizes are those of `benchmarks.step`, weights random.
"""

import argparse
import tempfile
import time
from typing import Any

from benchmarks import measure, step

# Seconds a face of the authors' code, measured as `step.RELEASE_STEPS` was.
RELEASE = 2.2


def faces(size: str, batch_size: int, cache: str, begun: float) -> list[float]:
    """Row: seconds to the first faces since `begun`, and seconds a face of each kind after that."""
    import jax
    import numpy as np

    jax.config.update("jax_compilation_cache_dir", cache)
    from benchmarks import full_size
    from focus_jax.photos import inference, trained
    from focus_jax.system import cpu
    from focus_jax.training import updates
    from focus_jax.weights import run as workdir

    cpu.prepare()  # as the commands do
    job = full_size.make_job(size, batch_size)
    state = full_size.make_state(job)
    model = trained.Model(
        name=size,
        weights="",
        size=job.config.data.size,
        record_size=workdir.crop_size(job.config),
        fix_y_offset=True,
        decoding=job.method.networks.decoding,
        face_model=job.constants.face_model,
        face_model_file="builtin",
        networks=job.method.networks,
        variables={"encoder": state.encoder, "segmenter": state.segmenter},
        recognizer=job.constants.recognizer,
        misfit=None,
    )
    side = model.record_size
    crops = np.random.default_rng(0).integers(0, 256, (batch_size, side, side, 3)).astype(np.uint8)
    landmarks = np.asarray(job.batch.landmarks) * side / model.size

    def reconstruct() -> Any:
        batch = trained.make_batch(model, crops, landmarks)
        return jax.device_get(inference.infer(model, batch))

    reconstruct()
    first = time.time() - begun

    def networks() -> Any:
        return updates.predict(state, job.batch, job.constants, method=job.method)

    found = measure.best({"networks": networks, "reconstruct": reconstruct}, budget=6.0)
    times = [x / batch_size for name in found for x in found[name]]
    return [first, *times]


def row(size: str, batch_size: int) -> list:
    """One row, of two processes: the second finds the compiled programs of the first."""
    with tempfile.TemporaryDirectory() as cache:
        found = [
            measure.in_a_process("benchmarks.inference.faces", size, batch_size, cache, time.time())
            for _ in range(2)
        ]
    warm = [min(times) for times in zip(*(numbers[1:] for numbers in found), strict=True)]
    theirs = None
    if size == "full" and measure.installed("torch"):
        # The release's time, scaled by how long PyTorch takes here for its networks.
        there = sum(
            measure.in_a_process("benchmarks.step.torch_part", name, 4, 224)[0]
            for name in step.RELEASE_NETWORKS
        )
        theirs = RELEASE * there / sum(step.RELEASE_NETWORKS.values())
    return [size, batch_size, found[0][0], found[1][0], *warm, theirs]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time inference.")
    parser.add_argument("--sizes", nargs="+", default=["full", "default"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    options = parser.parse_args()
    header = ["size", "batch", "cold s", "cached s", "networks", "processor", "reconstruct"]
    header += ["processor", "release, scaled"]
    measure.print_table(header, (row(size, n) for size in options.sizes for n in options.batches))
    print(measure.machine("jax", *(["torch"] if measure.installed("torch") else [])))


if __name__ == "__main__":
    main()
