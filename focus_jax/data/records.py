"""Face crops on disk: a tensorflow-datasets builder that writes ArrayRecord, without TensorFlow.

A record is a dict: pictures (`image` and `clean` uint8 `[h w 3]`, `mask` and `pasted` uint8
`[h w]`) are stored as PNG, arrays, numbers and strings as they are.
"""

import contextlib
import itertools
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

Record = dict[str, Any]
PICTURES = ("image", "clean", "mask", "pasted")  # stored as PNG, which is lossless
IN_MEMORY = 10**9  # bytes of decoded records; more stay on disk and are decoded when asked for


class FaceCrops(tfds.core.GeneratorBasedBuilder):
    """One split, `train`, of records in the order given. Fields are those of the first record."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, records: Iterable[Record] = (), **options: Any) -> None:
        self._records = iter(records)
        self.first = next(self._records, None)
        super().__init__(**options)

    # It would narrate on standard output, where the progress bar of the records' maker says more.
    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass

    def _info(self) -> tfds.core.DatasetInfo:
        features = {k: _feature(k, v) for k, v in (self.first or {}).items()}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, Record]]:
        first = self.first or {}
        for number, record in enumerate(itertools.chain([first], self._records)):
            if record.keys() != first.keys():
                raise ValueError(
                    f"record {number} has the fields {sorted(record)}, the first {sorted(first)}; "
                    "all must have the same"
                )
            yield number, {k: _encoded(k, v) for k, v in record.items()}


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
    if name not in PICTURES:
        return value
    # Encoded here: tensorflow-datasets would ask TensorFlow to encode an array.
    return cv2.imencode(".png", value[..., ::-1] if value.ndim == 3 else value)[1].tobytes()


def write_records(folder: Path, records: Iterable[Record]) -> None:
    """Write records into a folder, in their order, in place of those that it holds.

    Raises ValueError when there is none or when their fields differ, and passes on what `records`
    raises; a folder is complete or, after an error, without records.
    """
    shutil.rmtree(folder / "face_crops", ignore_errors=True)
    builder = FaceCrops(records, data_dir=str(folder), file_format="array_record")
    if builder.first is None:
        raise ValueError(f"there are no records to write into {folder}")
    tfds.disable_progress_bar()
    with _quiet("absl"):
        builder.download_and_prepare()
    shutil.rmtree(folder / "downloads", ignore_errors=True)  # tensorflow-datasets' own, empty


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
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
    written = folder / "face_crops" / str(FaceCrops.VERSION)
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
    decoded: Record = {k: v.decode() if isinstance(v, bytes) else v for k, v in record.items()}
    for name in ("mask", "pasted"):
        if name in decoded:
            decoded[name] = decoded[name][..., 0]
    return decoded
