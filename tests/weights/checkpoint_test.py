import contextlib
import json
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from focus_jax.system import storage
from focus_jax.training.metrics import MetricWriter
from focus_jax.training.optim import make_optimizer
from focus_jax.types import TrainState
from focus_jax.weights import checkpoint
from tests.object_store import store  # noqa: F401  (a fixture)


def small_state(step, seed, rows=3):
    kernel = np.random.default_rng(seed).normal(size=(rows, 2)).astype(np.float32)
    parameters = {"params": {"kernel": jnp.asarray(kernel)}}
    moments = make_optimizer("adadelta").init(parameters["params"])
    return TrainState(
        step=jnp.int32(step),
        encoder=parameters,
        segmenter=parameters,
        encoder_optimizer=moments,
        segmenter_optimizer=moments,
        albedo_mean=jnp.ones((4, 3)),
    )


def test_a_state_comes_back_bit_for_bit(tmp_path):
    state = small_state(7, seed=1)
    manager = checkpoint.open_checkpoints(tmp_path)
    assert checkpoint.restore(manager, state) is None
    checkpoint.save(manager, state, {"position": 3})
    manager.wait_until_finished()
    manager.close()
    manager = checkpoint.open_checkpoints(tmp_path)
    restored = checkpoint.restore(manager, small_state(0, seed=2))
    assert restored is not None
    found, data = restored
    assert data == {"position": 3}
    jax.tree.map(np.testing.assert_array_equal, found, state)
    manager.close()


# --- broken storage ------------------------------------------------------------------------------


def written(workdir, steps, **options):
    """A workdir with checkpoints of these steps, each of another state."""
    manager = checkpoint.open_checkpoints(workdir)
    for step in steps:
        checkpoint.save(manager, small_state(step, seed=step, **options), {"position": step})
    checkpoint.finish(manager)
    manager.close()
    return workdir / "checkpoints"


def restored(workdir, **options):
    manager = checkpoint.open_checkpoints(workdir)
    try:
        found = checkpoint.restore(manager, small_state(0, seed=0), **options)
    finally:
        manager.close()
    assert found is not None
    step = found[1]["position"]
    jax.tree.map(np.testing.assert_array_equal, found[0], small_state(step, seed=step))
    return step


# What orbax still reads of a damaged checkpoint may end after its event loop is closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["empty", "truncated", "missing", "flipped"])
def test_whatever_is_damaged_no_wrong_state_comes_back(tmp_path, damage, caplog):
    """The newest checkpoint bit for bit, where the damage is in what nobody reads, or the older."""
    folder = written(tmp_path, [5, 10]) / "10"
    steps = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        middle = len(content) // 2
        if damage == "missing":
            path.unlink()
        elif damage == "flipped":
            path.write_bytes(
                content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]
            )
        else:
            path.write_bytes(content[: middle if damage == "truncated" else 0])
        caplog.clear()
        steps.append(restored(tmp_path))
        if steps[-1] == 5:
            (warning,) = [r.getMessage() for r in caplog.records if r.name == checkpoint.__name__]
            assert str(folder) in warning and "going back" in warning
        path.write_bytes(content)
    assert set(steps) == {5, 10}  # the place in the data and the state itself are always noticed


def test_a_broken_checkpoint_is_set_aside_and_its_step_saved_anew(tmp_path):
    folder = written(tmp_path, [5, 10])
    (folder / "10" / "data" / "metadata").write_text("{")
    (folder / "15.orbax-checkpoint-tmp").mkdir()  # as a kill in the middle of writing leaves it
    assert restored(tmp_path, mend=True) == 5
    assert [p.name for p in (tmp_path / "checkpoints_broken").iterdir()] == ["10.0"]
    written(tmp_path, [10, 15])
    assert restored(tmp_path) == 15


def test_a_checkpoint_of_another_network_is_passed_over(tmp_path, caplog):
    written(tmp_path, [5])
    written(tmp_path, [10], rows=4)
    assert restored(tmp_path) == 5
    assert "10 cannot be read" in caplog.text and "(4, 2)" in caplog.text


def test_a_run_does_not_begin_anew_where_no_checkpoint_can_be_read(tmp_path):
    folder = written(tmp_path, [5])
    (folder / "5" / "data" / "metadata").unlink()
    with pytest.raises(ValueError, match=r"none of the checkpoints .* \(step 5: .*--workdir"):
        restored(tmp_path)


FULL = r"cannot be written \(.*last complete.*checkpoints/5; make room"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command, which a full disk needs")
    done = subprocess.run(["mount", *options], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a full disk needs the right to mount one: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


# What orbax still writes may end after its event loop is closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_ends_in_one_sentence_and_the_last_checkpoint_is_whole(small_disk):
    written(small_disk, [5])
    manager = checkpoint.open_checkpoints(small_disk)
    with (
        pytest.raises(OSError, match=FULL),
        checkpoint.closing(manager),
    ):
        checkpoint.save(manager, small_state(10, seed=10, rows=1_000_000), {"position": 10})
        checkpoint.finish(manager)
    assert restored(small_disk) == 5


def test_metrics_on_a_full_disk_raise_and_do_not_wait_forever(small_disk):
    manager = checkpoint.open_checkpoints(small_disk)
    with (
        pytest.raises(OSError, match=r"No space left on device.*last complete checkpoint: none"),
        checkpoint.closing(manager),
        contextlib.closing(MetricWriter(small_disk, 0)) as writer,
    ):
        for step in range(100_000):
            writer.write(step, "train", {"loss": 1.0})


def test_a_workdir_belongs_to_one_config(tmp_path):
    config = ConfigDict({"seed": 0, "data": {"size": 64}, "debug": {"nans": False}})
    checkpoint.claim_workdir(tmp_path, config)
    config.data.size = 64 // 2
    checkpoint.claim_workdir(tmp_path, config)  # nothing was saved yet
    config.data.size = 64
    checkpoint.claim_workdir(tmp_path, config)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    checkpoint.claim_workdir(tmp_path, config)
    config.debug.nans = True  # of the operation
    checkpoint.claim_workdir(tmp_path, config)
    config.data.size = 112
    with pytest.raises(ValueError, match=r"data.size \(was 64, now 112\)"):
        checkpoint.claim_workdir(tmp_path, config)
    assert '"size": 64' in (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        checkpoint.claim_workdir(tmp_path, config)


def test_metrics_after_the_resumed_step_are_dropped(tmp_path):
    writer = MetricWriter(tmp_path, 0)
    for step in (10, 20, 30):
        writer.write(step, "train", {"loss": float(step)})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "lo')  # a crash in the middle of a line
    writer = MetricWriter(tmp_path, 20)
    writer.write(30, "train", {"loss": 31.0})
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 10.0), (20, 20.0), (30, 31.0)]


def test_one_run_at_a_time_works_in_a_workdir(tmp_path):
    with (
        checkpoint.alone_in(tmp_path),
        pytest.raises(ValueError, match="another run is working"),
        checkpoint.alone_in(tmp_path),
    ):
        pytest.fail("two runs in one workdir")
    with checkpoint.alone_in(tmp_path):
        pass


# --- object storage ------------------------------------------------------------------------------


def test_a_workdir_in_object_storage(store, monkeypatch):  # noqa: F811
    """But for the checkpoints themselves, whose arrays orbax brings there past epath."""
    for name, seconds in (("RENEWED", 0.05), ("LAPSED", 0.4), ("SETTLED", 0.02)):
        monkeypatch.setattr(storage, name, seconds)
    workdir = storage.place("gs://bucket/run")
    with checkpoint.alone_in(workdir):
        checkpoint.claim_workdir(workdir, ConfigDict({"rate": 1.0}))
        with (
            pytest.raises(ValueError, match="another run is working in gs://bucket/run"),
            checkpoint.alone_in(workdir),
        ):
            raise AssertionError("two are in it")
        for begun, count in ((0, 3), (2, 1)):
            with contextlib.closing(MetricWriter(workdir, begun)) as writer:
                for step in range(begun + 1, begun + 1 + count):
                    writer.write(step, "train", {"loss": 1.0 + begun})
                writer.sync()
                assert "gs://bucket/run/metrics.jsonl" in store
    lines = [json.loads(line) for line in store["gs://bucket/run/metrics.jsonl"].splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 1.0), (3, 3.0)]
    boards = [name for name in store if name.startswith("gs://bucket/run/tensorboard/events")]
    assert len(boards) == 2 and "gs://bucket/run/lock" not in store
    store["gs://bucket/run/checkpoints/5/state/x"] = b"1"
    assert checkpoint.has_begun(workdir)
    with pytest.raises(ValueError, match=r"other settings: rate \(was 1.0, now 2.0\)"):
        checkpoint.claim_workdir(workdir, ConfigDict({"rate": 2.0}))
