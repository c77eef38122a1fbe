"""The command as a user types it: what is wrong is said in one sentence, without a traceback."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest
from absl import flags
from ml_collections import config_flags

from focus_jax.system import command

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments, workdir):
    command = [sys.executable, "-m", "focus_jax.main", f"--workdir={workdir}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.data.root=/nowhere"], "config.data.root='/nowhere' is not a folder"),
        (["--config.face_model.name=/etc/hostname"], "is not a face model"),
    ],
)
def test_bad_settings_are_one_sentence(arguments, message, tmp_path):
    done = run("--config=configs/em.py:photos,smoke", *arguments, workdir=tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in line and "Traceback" not in done.stderr


def test_a_misspelt_field_is_an_error(tmp_path):
    done = run("--config=configs/em.py", "--config.data.sise=32", workdir=tmp_path)
    assert done.returncode == 1 and "sise" in done.stderr and "Traceback" not in done.stderr


def test_a_misspelt_argument_of_a_config_is_one_sentence(tmp_path):
    done = run("--config=configs/em.py:photo", workdir=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: configs/em.py knows the arguments photos, renderings and smoke" in done.stderr


@pytest.mark.filterwarnings("ignore:the load_module")  # by ml_collections
@pytest.mark.parametrize("name", ["data.sise", "data.size.x", "data..size", "1", ""])
def test_a_field_that_there_is_not_is_one_sentence(name, monkeypatch):
    arguments = ["main", "--config=configs/em.py", f"--config.{name}=3"]
    parsed = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=parsed, sys_argv=arguments)
    monkeypatch.setattr(flags, "FLAGS", parsed)
    with pytest.raises(
        SystemExit, match=f"error: the config has no such field: .*{name.removeprefix('data.')}"
    ):
        command.parse_flags(arguments)


@pytest.mark.filterwarnings("ignore:the load_module")  # by ml_collections
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"def get_config(:", "is no Python: invalid syntax"),
        (b"\x89PNG\0", "is no Python"),
        (b"import nothing_there", "imports what there is not: No module named 'nothing_there'"),
    ],
)
def test_a_config_file_that_cannot_be_read_is_one_sentence(content, said, monkeypatch, tmp_path):
    (tmp_path / "own.py").write_bytes(content)
    arguments = ["main", f"--config={tmp_path}/own.py"]
    parsed = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=parsed, sys_argv=arguments)
    monkeypatch.setattr(flags, "FLAGS", parsed)
    with pytest.raises(SystemExit, match=f"^error: .*{said}"):
        command.parse_flags(arguments)


@pytest.mark.parametrize("given", ["", "elsewhere"])
def test_programs_are_kept(given, monkeypatch):
    """Where the environment says, which JAX reads itself, or else in the home folder."""
    kept = {}
    monkeypatch.setattr(jax.config, "update", lambda name, value: kept.update({name: value}))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    if given:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", given)
    command.keep_programs()
    home = str(Path("~/.cache/focus_jax/xla").expanduser())
    assert kept == {"jax_compilation_cache_dir": given or home}


def test_a_csv_with_a_missing_point_names_file_and_row(tmp_path):
    (tmp_path / "photos").mkdir()
    for split in ("train", "val"):
        row = ",".join(["a.jpg", *["1.0"] * 134])
        (tmp_path / "photos" / f"{split}_landmarks.csv").write_text(row + "\n")
    done = run(
        "--config=configs/em.py:photos,smoke",
        f"--config.data.root={tmp_path / 'photos'}",
        f"--config.data.cache={tmp_path / 'cache'}",
        workdir=tmp_path / "run",
    )
    assert done.returncode == 1
    assert "row 1 (a.jpg): 67 points instead of 68" in done.stderr
    assert "Traceback" not in done.stderr
