"""Face crops on disk: a data set of tensorflow-datasets in ArrayRecord files, without TensorFlow.

A record is a dict: pictures (`image` and `clean` uint8 `[h w 3]`, `mask` and `pasted` uint8
`[h w]`) are stored as PNG, arrays, numbers and strings as they are.
"""

import contextlib
import itertools
import logging
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

Record = dict[str, Any]
PICTURES = ("image", "clean", "mask", "pasted")  # stored as PNG, which is lossless
NAME, VERSION = "face_crops", "1.0.0"
PER_FILE = 4096  # records
AT_ONCE = 64  # records, as the description of the whole is written again after each call
IN_MEMORY = 10**9  # bytes of decoded records; more stay on disk and are decoded when asked for


def _feature(name: str, value: Any) -> Any:
    if name in PICTURES:
        channels = 3 if np.ndim(value) == 3 else 1
        return tfds.features.Image(shape=(None, None, channels), encoding_format="png")
    if isinstance(value, str):
        return tfds.features.Text()
    array = np.asarray(value)
    # An array as its bytes: tensorflow-datasets would store it number by number, which is slow.
    encoding = "bytes" if array.ndim else "none"
    return tfds.features.Tensor(shape=array.shape, dtype=array.dtype, encoding=encoding)


def _encoded(name: str, value: Any) -> Any:
    if isinstance(value, str):  # names of files need not be UTF-8
        return value.encode("utf-8", "surrogateescape")
    if name not in PICTURES:
        return value
    # Encoded here: tensorflow-datasets would ask TensorFlow to encode an array.
    return cv2.imencode(".png", value[..., ::-1] if value.ndim == 3 else value)[1].tobytes()


def write_records(folder: Path, records: Iterable[Record]) -> None:
    """Write records into a folder, in their order, in place of those that it holds.

    Raises ValueError when there is none or when their fields differ, and passes on what `records`
    raises; a folder is complete or, after an error, without records.
    """
    records = iter(records)
    first = next(records, None)
    if first is None:
        raise ValueError(f"there are no records to write into {folder}")
    unfinished = folder / "unfinished"
    for old in (folder / NAME, unfinished):
        shutil.rmtree(old, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        with _quiet("absl"):
            _write(unfinished, first, itertools.chain([first], records))
        (folder / NAME).mkdir()
        unfinished.rename(folder / NAME / VERSION)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(folder: Path, first: Record, records: Iterable[Record]) -> None:
    """Through tensorflow-datasets' writer in order: its builders need TensorFlow above 1 GB."""
    identity = tfds.core.DatasetIdentity(NAME, tfds.core.Version(VERSION), str(folder), __name__)
    features = tfds.features.FeaturesDict({k: _feature(k, v) for k, v in first.items()})
    info = tfds.core.DatasetInfo(builder=identity, features=features, disable_shuffling=True)
    writer = tfds.core.SequentialWriter(info, PER_FILE, file_format="array_record")
    writer.initialize_splits(["train"])
    examples = _examples(records, first)
    try:
        while some := list(itertools.islice(examples, AT_ONCE)):
            writer.add_examples({"train": some})
    finally:
        writer.close_all()


def _examples(records: Iterable[Record], first: Record) -> Iterator[Record]:
    for number, record in enumerate(records):
        if record.keys() != first.keys():
            raise ValueError(
                f"record {number} has the fields {sorted(record)}, the first {sorted(first)}; "
                "all must have the same"
            )
        yield {k: _encoded(k, v) for k, v in record.items()}


@contextlib.contextmanager
def _quiet(name: str) -> Generator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def open_records(folder: Path, *, in_memory: int = IN_MEMORY) -> Sequence[Record]:
    """Records written by `write_records`, by number or slice.

    They are decoded once and kept if that takes less than `in_memory` bytes. Raises ValueError for
    a folder without records.
    """
    written = folder / NAME / VERSION
    if not (written / "dataset_info.json").is_file():
        raise ValueError(f"{folder} holds no records; write them with write_records")
    builder: Any = tfds.builder_from_directory(str(written))
    source = builder.as_data_source(split="train")
    records = _OnDisk(source, range(len(source)))
    return list(records) if size_of(records[0]) * len(records) < in_memory else records


def size_of(record: Record) -> int:
    """Bytes of a decoded record."""
    return sum(np.asarray(value).nbytes for value in record.values())


class _OnDisk(Sequence):
    """Records decoded each time they are asked for."""

    def __init__(self, source: Sequence[Any], numbers: range) -> None:
        self._source, self._numbers = source, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, key: Any) -> Any:
        numbers = self._numbers[key]
        if isinstance(numbers, range):
            return _OnDisk(self._source, numbers)
        return _decoded(self._source[numbers])


def _decoded(record: Record) -> Record:
    decoded: Record = {
        k: v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v
        for k, v in record.items()
    }
    for name in ("mask", "pasted"):
        if name in decoded:
            decoded[name] = decoded[name][..., 0]
    return decoded
