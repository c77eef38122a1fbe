"""The one command: its table of contents, its words, and what it says of wrong ones."""

import os
import subprocess
import sys
from importlib.metadata import version

import jax
import jaxlib
import pytest
from PIL import Image

from focus_jax import commands
from focus_jax.photos.trained import load_model
from focus_jax.system.command import in_one_sentence

FILE = "here/grey.png"  # of `test_wrong_input_is_one_sentence`


def test_help_is_a_table_of_contents(capsys):
    assert commands.main(["--help"]) == 0
    said = capsys.readouterr().out
    for word in commands.COMMANDS:
        assert f"  {word} " in said


def test_its_version_says_what_it_runs_on(capsys):
    assert commands.main(["--version"]) == 0
    first, packages, _, backend, model = capsys.readouterr().out.splitlines()
    assert first == f"focus_jax {version('focus_jax')}"
    assert f"jax {jax.__version__}, jaxlib {jaxlib.__version__}" in packages
    assert backend == f"backend cpu: {len(jax.devices())} x cpu"
    shipped = load_model("shipped")
    assert shipped.weights in model and shipped.name in model


@pytest.mark.parametrize("word", [w for w in commands.COMMANDS if w not in ("train", "misfit")])
def test_every_command_has_help(word, capsys):
    with pytest.raises(SystemExit) as stop:
        commands.main([word, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: focus-jax {word} ")


@pytest.mark.parametrize("word", ["train", "misfit"])
def test_commands_of_a_config_have_help(word):
    """In a process of their own, since absl's flags are of the whole process."""
    command = [sys.executable, "-m", "focus_jax", word, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert "--config" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--config=nowhere.py"], "no config file nowhere.py"), ([], "give the settings")],
)
def test_a_training_without_settings_is_one_sentence(arguments, said, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["focus-jax"])
    with pytest.raises(SystemExit, match=f"error: .*{said}"):
        commands.main(["train", *arguments])


def test_an_unknown_word_is_one_sentence(capsys):
    assert commands.main(["recontruct"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: focus-jax has no 'recontruct'") and "reconstruct" in said
    assert commands.main([]) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["evaluate", "tables", "--workdir=nowhere"], "nowhere is not a trained model"),
        (["evaluate", "page", "--workdir=nowhere"], "nowhere holds no config.json"),
        (["evaluate", "landmarks", "nowhere"], "london_info.csv does not exist; give a folder"),
        (
            ["evaluate", "landmarks", "x", "--refine=-1"],
            "--refine must be from 0 to 100000, not -1",
        ),
        (["evaluate", "scans"], "give a scan, or --ict and --skins to draw people"),
        (["evaluate", "scans", "no.glb"], "no.glb does not exist; give a scan"),
        (["evaluate", "scans", "--ict=no.npz", "--skins=no"], "no holds no skins"),
        (["weights", "export", "nowhere", "out"], "nowhere is not a trained model"),
        (["weights", "import", "no.pth", "--as", "encoder", "o"], "there is no file no.pth"),
        (["face-model", "show", "no.h5"], "no.h5"),
        (["prepare", "nowhere", "out"], "no photos in nowhere: nowhere (no such file"),
        (["prepare", "here", "out", "--size=0"], "--size must be from 16 to 1024, not 0"),
        (["prepare", "here", "here/grey.png"], "here/grey.png is a file; give a folder"),
        (["weights", "export", "shipped", "here/grey.png"], "here/grey.png is a file; give a"),
        (["weights", "export", "shipped", "here/grey.png/x"], "here/grey.png is a file; give a"),
        (["weights", "import", "here", "--as", "encoder", "o"], "here is a folder; give the"),
        (["weights", "import", "x", "--as", "encoder", "here"], "here is a folder; give the name"),
        (["face-model", "convert", "builtin", "here"], "here is a folder; give the name of a file"),
        (["face-model", "show", "builtin", "here"], "here is a folder; give the name of a file"),
        (["evaluate", "page", "--workdir=here", "--out=here"], "here is a folder; give the name"),
        (["evaluate", "scans", "here"], "here is a folder; give a scan"),
        (["segment", "here", "--out=here/grey.png"], "here/grey.png is a file; give a folder"),
        (["segment", "here", f"--batch-size={10**20}", "--out=o"], "must be from 1 to 4096, not 1"),
        (["reconstruct", "here", f"--refine={10**20}", "--out=o"], "must be from 0 to 100000, not"),
        (["segment", os.devnull, "--out=o"], "null (neither a file nor a folder)"),
        *(
            ([*line.split(), "--face-model=away.npz"], "away.npz does not exist")
            for line in (
                "evaluate tables --workdir=shipped",
                "evaluate landmarks people --model=shipped",
                "evaluate scans scan.glb --model=shipped",
                "now predict --workdir=shipped --photos=here --images=b --out=c",
                "weights export shipped out",
                "segment here --model=shipped --out=out",
                "reconstruct here --model=shipped --out=out",
            )
        ),
        (f"now score --dataset=a --predictions=b --images=c --out={FILE}".split(), "is a file"),
        (f"now predict --workdir=a --photos=here --out={FILE}".split(), "is a file; give a"),
        (["now", "predict", "--workdir=a", "--photos=no", "--out=c"], "no is no folder; give"),
        (["now", "score", "--dataset=a", "--predictions=b", "--images=c"], "c does not exist"),
    ],
)
def test_wrong_input_is_one_sentence(line, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "here" / "grey.png")
    assert commands.main(line) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and said in error


@pytest.mark.parametrize(
    "line",
    [
        ["weights", "export", "shipped"],
        ["weights", "import", "x.pth", "--as", "encoder"],
        ["face-model", "convert", "x.h5"],
        ["evaluate", "page", "--workdir=x", "--out"],
    ],
)
@pytest.mark.parametrize("out", ["hf://owner/name", "https://host/model", ""])
def test_results_are_not_written_to_what_is_no_path_here(line, out, capsys, tmp_path, monkeypatch):
    """They went silently into a folder of that name, or the one that one is in."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        commands.main([*line, out])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert (f"{out} is an address; give" if out else "a path is empty; give") in error
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_system_is_a_sentence_with_the_file(capsys):
    def fails(error):
        def run(_):
            raise error

        return run

    for error, said in (
        (PermissionError(13, "Permission denied", "a"), "Permission denied: a"),
        (IsADirectoryError(21, "Is a directory", "a.part", None, "a"), "Is a directory: a"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (OSError("of our own"), "of our own"),
    ):
        assert in_one_sentence(fails(error))(None) == 1
        assert capsys.readouterr().err == f"error: {said}\n"


def test_predictions_of_no_photo_are_a_failure(capsys, tmp_path):
    (tmp_path / "list.txt").write_text("A/selfie/1.jpg\n")
    words = ["now", "predict", "--workdir=shipped", f"--photos={tmp_path}"]
    words += [f"--images={tmp_path}/list.txt", f"--out={tmp_path}/out"]
    assert commands.main(words) == 1
    assert "wrote 0 of 1 predictions" in capsys.readouterr().out


def test_a_conversion_does_not_write_over_what_it_reads(capsys, tmp_path):
    """Of a face model all but the modes that are kept by default were lost."""
    path = tmp_path / "own"
    path.write_bytes(b"a download")
    for line in (["face-model", "convert", str(path)], ["weights", "import", str(path)]):
        more = ["--as", "encoder"] if line[0] == "weights" else []
        assert commands.main([*line, str(path), *more]) == 1
        assert f"error: {path} is the file that is read" in capsys.readouterr().err
    assert path.read_bytes() == b"a download"


def test_the_shipped_model_is_understood_where_a_run_is(capsys, tmp_path):
    """And nothing prints the messages of other libraries."""
    out = tmp_path / "model"
    assert commands.main(["weights", "export", "shipped", str(out)]) == 0
    suffixes = ["", ".json", ".json", ".md"] + [".safetensors"] * 3  # "": the sums
    assert sorted(p.suffix for p in out.iterdir()) == suffixes
    said = capsys.readouterr()
    assert said.err == "" and said.out == f"{out}: " + said.out.partition(": ")[2]
