import gc
import os
import sys
from importlib.metadata import version
from pathlib import Path

import jaxtyping
import pytest
from jaxtyping import install_import_hook

# Four virtual devices for the tests of sharding; everything else runs on the first. Tests compile
# many programs and run each once, so LLVM's slow passes do not pay, nor do XLA's newer emitters of
# fused loops, whose code takes two and a half times as long to compile, nor dividing a program to
# compile it on many cores; other jaxlibs than 0.10 may end the process at these two switches.
OF_0_10 = " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
OF_0_10 *= version("jaxlib").startswith("0.10.")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0 "
    f"--xla_llvm_disable_expensive_passes=true{OF_0_10}",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# On a busy machine the threads of small matrix products wait for each other for seconds.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Tracing makes millions of objects, and a process of tests holds millions that stay: seldom looking
# for cycles among them saves a twentieth of its time.
gc.set_threshold(50_000, 20, 20)
# Helpers of the tests by their name, and one test from another as tests.ROOM.MODULE_test.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

# Shapes of arrays, and all other types, are checked by beartype at every call of these. Not where
# types are Warp's, which beartype does not know; nor in `types`, whose fields hold whatever a tree
# of arrays is mapped to.
CHECKED = ["evaluation", "face_models", "losses", "networks"]
CHECKED += ["rendering." + module for module in ("batching", "camera", "fragments", "geometry")]
CHECKED += ["rendering." + module for module in ("morphable", "pictures", "rasterize", "render")]
CHECKED += ["rendering." + module for module in ("rasterize_jnp", "scenes", "shading")]
BEARTYPE = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"  # int is a float
install_import_hook([f"focus_jax.{module}" for module in CHECKED], BEARTYPE)


# Files that fit with one small model (`untrained`), so with the same programs, which a worker that
# compiled them for one has for the others.
TOGETHER = ("reconstruct_test.py", "video_test.py", "api_test.py", "measure_people_test.py")
# Those and others that take longest begin first: pytest-xdist goes by how many tests a file has,
# and would leave a worker idle while the other is at few long ones.
LONG = ("train_test.py", *TOGETHER, "updates_test.py", "shipped_test.py", "preemption_test.py")
LONG += ("face_model_formats_test.py", "builtin_face_model_test.py", "refine_test.py")
LONG += ("start_test.py", "experiments_test.py", "rasterize_test.py", "trained_test.py")


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):  # in a process of pytest-xdist, whose order counts
        places = {name: place for place, name in enumerate(LONG)}
        items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "together" if file.endswith(TOGETHER) else file

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.fixture
def unchecked():
    """Without those checks: what the package itself says of such arguments."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
