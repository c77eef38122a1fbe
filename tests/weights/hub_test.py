"""Models of hubs: their addresses, checksums, and a hub of our own that a real client asks."""

import hashlib
import http.server
import json
import subprocess
import sys
import threading

import pytest

from focus_jax import commands
from focus_jax.weights import hub
from focus_jax.weights.run import folder_of, load_trained
from tests.object_store import store  # noqa: F401  (a fixture)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"name": "theirs"}',
    "encoder.safetensors": b"numbers",
    "README.md": b"---\nlicense: other\n---\n",
    "a_picture.png": b"not wanted",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "encoder.safetensors").write_bytes(b"numbers")
    (tmp_path / "face_model.npz").write_bytes(b"a face")
    (tmp_path / "config.json").write_text("{}")
    hub.write_sums(tmp_path)
    return tmp_path


def test_checksums_are_those_of_sha256sum(folder):
    assert (folder / hub.SUMS).read_text().splitlines() == [
        f"{hashlib.sha256(b'numbers').hexdigest()}  encoder.safetensors",
        f"{hashlib.sha256(b'a face').hexdigest()}  face_model.npz",
    ]
    hub.check_sums(folder)
    if sys.platform == "linux":
        subprocess.run(["sha256sum", "--check", "--quiet", hub.SUMS], cwd=folder, check=True)


def test_networks_as_onnx_are_summed_and_need_not_be_there(folder):
    """They stay at the hub where a model is fetched."""
    (folder / "encoder.onnx").write_bytes(b"a graph")
    hub.write_sums(folder)
    assert f"{hashlib.sha256(b'a graph').hexdigest()}  encoder.onnx" in (
        (folder / hub.SUMS).read_text().splitlines()
    )
    (folder / "encoder.onnx").unlink()
    hub.check_sums(folder)


@pytest.mark.parametrize("name", ["encoder.safetensors", "face_model.npz"])
def test_a_file_that_is_another_or_missing_is_refused(folder, name):
    (folder / name).write_bytes(b"others")
    with pytest.raises(ValueError, match=f"{name} is not the file that .*SHA256SUMS tells of"):
        hub.check_sums(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=name):
        hub.check_sums(folder)
    (folder / hub.SUMS).unlink()
    hub.check_sums(folder)


def test_what_else_sha256sum_reads_is_read(folder):
    """Of `--binary`, of Windows, of `./*`, with remarks and capitals."""
    first, second = (folder / hub.SUMS).read_text().splitlines()
    first = first.replace("  ", "  ./")
    digest, _, name = second.partition("  ")
    text = f"\ufeff# of my own\r\n{first}\r\n\r\n{digest.upper()} *{name}\r\n"
    (folder / hub.SUMS).write_bytes(text.encode())
    hub.check_sums(folder)
    (folder / name).write_bytes(b"others")
    with pytest.raises(ValueError, match=f"{name} is not the file"):
        hub.check_sums(folder)


@pytest.mark.parametrize(
    "name",
    [
        *("../encoder.safetensors", "a/encoder.safetensors", "..\\x", "..", "", "x.onnx/y.npz"),
        *("./../x", "./..", "./", ".//x", "/x"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(folder, name):
    (folder / hub.SUMS).write_text(f"\n{hashlib.sha256(b'numbers').hexdigest()}  {name}\n")
    with pytest.raises(ValueError, match=r"line 2 of .*SHA256SUMS is .*the name of a file beside"):
        hub.check_sums(folder)


@pytest.mark.parametrize("cut", [1, 60, 64, 66])
def test_a_damaged_line_of_checksums_is_named(folder, cut):
    whole = (folder / hub.SUMS).read_bytes()
    first = whole.index(b"\n") + 1
    (folder / hub.SUMS).write_bytes(whole[: first + cut])
    with pytest.raises(ValueError, match=r"line 2 of .*SHA256SUMS is") as told:
        hub.check_sums(folder)
    assert "\n" not in str(told.value)
    (folder / hub.SUMS).write_bytes(whole.replace(b"a", b"\xff", 1))
    with pytest.raises(ValueError, match="line 1 of"):
        hub.check_sums(folder)


def test_a_card_has_front_matter_and_stays_once_it_is_written(tmp_path):
    hub.write_card(tmp_path, "mine")
    empty, front, text = (tmp_path / hub.CARD).read_text().split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert empty == "" and fields["library_name"] == "focus_jax" and "license" in fields
    assert text.strip().startswith("# mine")
    (tmp_path / hub.CARD).write_text("of my own")
    hub.write_card(tmp_path, "mine")
    assert (tmp_path / hub.CARD).read_text() == "of my own"


@pytest.mark.parametrize("address", ["hf://name", "hf://a/b/c", "hf://a/b@", "hf://../b@x y"])
def test_what_is_no_address_is_said(address):
    with pytest.raises(ValueError, match="is no address of a model; give hf://OWNER/NAME"):
        load_trained(address)


def test_without_the_client_a_sentence_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install .focus_jax\[hub\]"):
        load_trained("hf://owner/absent")
    (tmp_path / "a.png").write_bytes(b"a photo")
    words = ["segment", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    assert commands.main([*words, "--model", "hf://owner/absent"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: hf://owner/absent needs")


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as its client needs to fetch FILES of owner/model."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/owner/model/tree/"):
            listed = [
                {"type": "file", "path": name, "size": len(FILES[name]), "oid": "0" * 40}
                for name in FILES
            ]
            self._answer(json.dumps(listed))
        elif path.startswith("/api/models/owner/model/"):
            siblings = [{"rfilename": name} for name in FILES]
            self._answer(json.dumps({"id": "owner/model", "sha": COMMIT, "siblings": siblings}))
        elif path.startswith("/owner/model/resolve/") and path.split("/")[-1] in FILES:
            self.server.asked.append(path)
            self._answer(FILES[path.split("/")[-1]])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _answer(self, body):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What a hub on this machine is asked for, by huggingface_hub itself."""
    client = pytest.importorskip("huggingface_hub")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    given = {"endpoint": f"http://127.0.0.1:{server.server_port}", "cache_dir": tmp_path / "cache"}
    real = client.snapshot_download
    monkeypatch.setattr(client, "snapshot_download", lambda *a, **k: real(*a, **k, **given))
    hub.fetch.cache_clear()
    yield server.asked
    server.shutdown()
    server.server_close()
    hub.fetch.cache_clear()


def test_a_hubs_model_is_a_folder_of_the_wanted_files(asked):
    folder = hub.fetch("hf://owner/model@v1.0")
    assert sorted(path.name for path in folder.iterdir()) == sorted(set(FILES) - {"a_picture.png"})
    assert (folder / "encoder.safetensors").read_bytes() == b"numbers"
    assert folder.name == COMMIT and all(COMMIT in path for path in asked)
    count = len(asked)
    assert hub.fetch("hf://owner/model@v1.0") == folder and len(asked) == count


def test_a_model_that_no_hub_has_is_one_sentence(asked):
    with pytest.raises(ValueError, match="hf://owner/other cannot be had") as told:
        load_trained("hf://owner/other")
    assert "\n" not in str(told.value)


def test_a_model_in_object_storage_is_fetched(store):  # noqa: F811
    store |= {f"gs://bucket/model/{name}": content for name, content in FILES.items()}
    store["gs://bucket/model/checkpoints/7/state/x"] = b"numbers"
    folder = folder_of("gs://bucket/model")
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert found == ["README.md", "checkpoints/7/state/x", "config.json", "encoder.safetensors"]
    assert (folder / "encoder.safetensors").read_bytes() == b"numbers"
    assert folder_of("gs://bucket/model") == folder
    with pytest.raises(ValueError, match="gs://bucket/nothing holds no model; give the folder"):
        load_trained("gs://bucket/nothing")
