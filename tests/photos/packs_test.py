"""Shards and their archives, with stand-ins for detection and networks."""

import csv
import tarfile
import weakref
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from focus_jax.data.detect import Detection
from focus_jax.data.faces import Found, Photo
from focus_jax.photos import packs, process, segment
from focus_jax.photos.packs import Pack, Shard, parse_shard


def test_every_photo_is_of_one_shard():
    names = [f"{n:04}.jpg" for n in range(400)]
    shards = [{n for n in names if Shard(k, 5).has(n)} for k in range(5)]
    assert sum(map(len, shards)) == 400 and set().union(*shards) == set(names)
    assert min(map(len, shards)) > 40
    assert {Shard(0, 2).has(n) for n in names[:8]} == {True, False}


def test_shards_are_named_as_people_and_slurm_do(monkeypatch):
    assert parse_shard("3/16") == (3, 16) and Shard(3, 16).named("masks") == "masks-00003-of-00016"
    for wrong in ("16/16", "1", "-1/2", "a/b", "1/0", ""):
        with pytest.raises(ValueError, match="--shard is i/n"):
            parse_shard(wrong)
    assert parse_shard(None) == (0, 1) and Shard(0, 1).named("masks") == "masks"
    monkeypatch.setenv("SLURM_PROCID", "2")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert parse_shard(None) == (0, 1)  # a batch script, which is alone
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert parse_shard(None) == (2, 4)


# --- archives ------------------------------------------------------------------------------------

NAMES = {f"{k}.png": [f"{k}_mask.png", f"{k}_occlusion.png"] for k in range(4)}


def masks(shade):
    return np.full((9, 7), shade, np.uint8), np.zeros((9, 7), np.uint8)


def open_pack(out, *, kind="tar", resume=False, names=NAMES):
    return Pack(out, Shard(0, 1), kind, names, resume=resume)


def test_a_pack_that_was_cut_off_anywhere_goes_on(tmp_path):
    with open_pack(tmp_path) as pack:
        for k in range(3):
            pack.add(f"{k}.png", masks(k))
        pack.skip("3.png (no face found)")
    part = tmp_path / "masks.tar.part"
    content = part.read_bytes()
    each = len(content) // 3
    assert not (tmp_path / "masks.tar").exists()
    for end in [0, 100, 512, each - 600, each - 1, each, 2 * each + 700, 3 * each]:
        part.write_bytes(content[:end])
        with open_pack(tmp_path, resume=True) as pack:
            whole = end // each
            assert pack.done == {f"{k}.png" for k in range(whole)}
            assert pack.left_out == {"3.png": "no face found"}
            for k in range(whole, 3):
                pack.add(f"{k}.png", masks(k))
        assert part.read_bytes() == content
    # As a system leaves a file that it had not written yet when it went down.
    part.write_bytes(content[:each] + bytes(each))
    with open_pack(tmp_path, resume=True) as pack:
        assert pack.done == {"0.png"} and part.stat().st_size == each


@pytest.mark.parametrize("kind", packs.KINDS)
def test_a_whole_pack_has_the_masks_and_is_not_begun_again(tmp_path, kind):
    with open_pack(tmp_path, kind=kind) as pack:
        for k in (2, 0, 1):
            pack.add(f"{k}.png", masks(10 * k))
        pack.skip("3.png (damaged, or none)")
        pack.finish()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"masks.{kind}", "skipped.csv"]
    path = tmp_path / f"masks.{kind}"
    if kind == "tar":
        found = dict(packs.read_masks(path))
        with tarfile.open(path) as archive:  # by other hands
            assert archive.getnames()[0] == "2_mask.png"
    else:
        found = dict(np.load(path))
    assert sorted(found) == sorted(name for k in range(3) for name in NAMES[f"{k}.png"])
    for k in range(3):
        np.testing.assert_array_equal(found[f"{k}_mask.png"], masks(10 * k)[0])
    told = (tmp_path / "skipped.csv").read_text()
    assert told == 'photo,reason\n3.png,"damaged, or none"\n'
    with pytest.raises(ValueError, match=f"there is .*masks.{kind} already; go on with --resume"):
        open_pack(tmp_path, kind=kind)
    more = {**NAMES, "9.png": ["9_mask.png", "9_occlusion.png"]}
    with pytest.raises(ValueError, match="is whole, without 1 of these photos"):
        open_pack(tmp_path, kind=kind, resume=True, names=more)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match="is damaged"):
        open_pack(tmp_path, kind=kind, resume=True)


def test_names_that_would_end_a_line_are_known_again(tmp_path):
    odd = [
        "a\nb.png",
        "a\rb.png",
        "a\r\nb.png",
        "a\x85b.png",
        "a\u2028b.png",
        'a,"b.png',
        "\udce9.png",
    ]
    names = {name: [f"{name}_mask.png", f"{name}_occlusion.png"] for name in odd}
    with open_pack(tmp_path, names=names) as pack:
        for name in odd:
            pack.skip(f"{name} (no face found)")
    for _ in range(2):  # of a part, and of what is whole
        with open_pack(tmp_path, names=names, resume=True) as pack:
            assert pack.left_out == dict.fromkeys(odd, "no face found")
            if not pack.whole:
                pack.finish()


def test_an_npz_refuses_at_once_a_name_that_it_cannot_hold(tmp_path):
    names = {"\udce9.png": ["\udce9_mask.png", "\udce9_occlusion.png"]}
    with pytest.raises(ValueError, match=r"udce9.png' is no UTF-8.*--pack tar"):
        open_pack(tmp_path, kind="npz", names=names)
    assert not list(tmp_path.iterdir())
    with open_pack(tmp_path, names=names) as pack:
        pack.add("\udce9.png", masks(1))
        pack.finish()
    assert [name for name, _ in packs.read_masks(tmp_path / "masks.tar")] == names["\udce9.png"]


def test_two_processes_are_not_at_one_shard(tmp_path):
    with open_pack(tmp_path) as pack:
        pack.add("0.png", masks(3))
        with pytest.raises(ValueError, match="another process is at"):
            open_pack(tmp_path, resume=True)
        pack.add("1.png", masks(4))
    with open_pack(tmp_path, resume=True) as pack:
        assert pack.done == {"0.png", "1.png"}


# --- five hundred photos -------------------------------------------------------------------------


@pytest.fixture
def many(monkeypatch):
    """500 photos of a tar, of which each tenth shows no face, and what segments them."""
    monkeypatch.setattr(process, "make_batch", lambda model, crops, *points: crops[:, 0, 0, 0])
    monkeypatch.setattr(segment, "infer_masks", lambda model, batch, steps: {"shade": batch})
    points = np.random.default_rng(1).uniform(30, 60, (68, 2))
    points[[36, 39, 42, 45]] = [(40, 30), (48, 30), (62, 30), (70, 30)]
    points[[30, 48, 54]] = [(55, 45), (46, 58), (64, 58)]

    images, alive = [], []

    def source(image, path):
        images.append(weakref.ref(image))
        alive.append(sum(image() is not None for image in images))
        there = int(path.stem) % 10
        return [Detection(points, 1.0, "test")] if there else []

    monkeypatch.setattr(segment, "joined_masks", lambda image, faces: masks(image[0, 0, 0]))
    encoded = [cv2.imencode(".png", np.full((90, 100, 3), k, np.uint8))[1] for k in range(250)]
    photos = [
        Photo(packs.Path(f"{k:04}.png"), f"{k:04}.png", encoded=encoded[k % 250].tobytes)
        for k in range(500)
    ]
    model = SimpleNamespace(record_size=16, fix_y_offset=True)

    def run(out, shard, *, resume=False, photos=photos, source=source):
        found = packs.part_of(Found(photos, [], [], []), shard)
        names = segment.check_names(found, out)
        with Pack(out, shard, "tar", names, resume=resume) as pack:
            return segment.segment_pack(found, pack, model, source)

    run.alive, run.source = alive, source
    return run


def test_many_photos_in_shards_and_what_a_kill_leaves(tmp_path, many, capsys):
    found = [many(tmp_path, Shard(k, 3)) for k in range(2)]
    assert max(many.alive) < 60  # photos in memory, of some 165
    calls = []

    def dies(image, path):
        calls.append(path)
        if len(calls) > 60:
            raise KeyboardInterrupt
        return []

    with pytest.raises(KeyboardInterrupt):
        many(tmp_path, Shard(2, 3), source=dies)
    assert not list(tmp_path.glob("masks-00002*.tar")) and not found[0].before
    last = many(tmp_path, Shard(2, 3), resume=True)
    assert last.photos > len(last.skipped) > 0
    total = [*found, last]
    assert sum(s.photos + s.before for s in total) == 500
    files = [name for k in range(3) for name, _ in packs.read_masks(_tar(tmp_path, k))]
    assert len(files) == len(set(files)) == 2 * (450 - _without_face(tmp_path, last))
    again = many(tmp_path, Shard(0, 3), resume=True)
    assert again.skipped == found[0].skipped and again.photos == len(again.skipped) > 0
    assert again.photos + again.before == found[0].photos
    capsys.readouterr()


def test_photos_without_a_face_are_listed_again_and_not_searched(tmp_path, many, capsys):
    """As without an archive: while it is a part, and once it is whole."""

    def dies(image, path):
        if path.stem == "0400":
            raise KeyboardInterrupt
        return many.source(image, path)

    with pytest.raises(KeyboardInterrupt):
        many(tmp_path, Shard(0, 1), source=dies)
    told = {row[0] for row in csv.reader((tmp_path / "skipped.csv").read_text().splitlines())}
    searched = []

    def searches(image, path):
        searched.append(path.name)
        return many.source(image, path)

    found = many(tmp_path, Shard(0, 1), resume=True, source=searches)
    faceless = [f"{k:04}.png (no face found)" for k in range(0, 500, 10)]
    assert sorted(found.skipped) == faceless and found.photos + found.before == 500
    assert len(told) > 1 and not told & set(searched)
    whole = many(tmp_path, Shard(0, 1), resume=True, source=None)
    assert sorted(whole.skipped) == faceless and (whole.photos, whole.before) == (50, 450)
    capsys.readouterr()


def test_a_whole_archive_of_nothing_is_none_done(tmp_path, many, capsys):
    photos = [Photo(tmp_path / "no.png", "no.png", encoded=lambda: b"none")]
    first, again = (
        many(tmp_path, Shard(0, 1), resume=resume, photos=photos) for resume in (False, True)
    )
    assert first.skipped == again.skipped and len(again.skipped) == 1
    assert first.empty() and again.empty()
    capsys.readouterr()


def _tar(out, k):
    return out / f"{Shard(k, 3).named('masks')}.tar"


def _without_face(out, last):
    """Of the killed run, which found none anywhere: those that would have one."""
    with (out / "skipped-00002-of-00003.csv").open() as file:
        names = [row[0] for row in list(csv.reader(file))[1:]]
    assert len(names) == len(set(names)) == len(last.skipped)
    return sum(int(name[:4]) % 10 > 0 for name in names)
