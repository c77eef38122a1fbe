"""Photos that lie many in a file: tar archives, as WebDataset has them, and data sets of
tensorflow-datasets. Nothing is unpacked: a photo is read where it lies, when its turn comes."""

import functools
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple


class Member(NamedTuple):
    """A file of an archive."""

    name: str
    start: int  # byte at which its content begins
    size: int  # bytes


def members(path: Path) -> Iterator[Member]:
    """The files of a tar archive that is not compressed, in their order.

    ValueError, in words that go behind the archive's name, where it ends before its end, is none,
    or where a name leads out of it; OSError where it cannot be read.
    """
    length = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            seen: list = getattr(archive, "members")  # noqa: B009  (types know nothing of it)
            while (about := archive.next()) is not None:
                seen.clear()  # it would keep a million
                if not about.isfile():
                    continue
                if about.offset_data + about.size > length:
                    raise ValueError("ends in the middle of a file")
                name = PurePosixPath(about.name)
                if name.is_absolute() or ".." in name.parts:
                    raise ValueError(f"holds {about.name!r}, which leads out of it")
                yield Member(name.as_posix(), about.offset_data, about.size)
    except tarfile.TarError as error:
        raise ValueError(f"not a whole tar archive: {error}") from None


def read_member(path: Path, start: int, size: int) -> bytes:
    """The content of a `Member`; OSError."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size)


def pictures(name_or_folder: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Pictures of a data set of tensorflow-datasets, of all splits: SPLIT/NUMBER and its file.

    Named as in its catalogue, or the folder in which a version of it was built. ValueError for one
    that is not there, that has no pictures, or whose files cannot be read in any order.
    """
    import tensorflow_datasets as tfds

    folder = Path(name_or_folder).expanduser()
    try:
        if (folder / "dataset_info.json").is_file():
            builder: Any = tfds.builder_from_directory(str(folder))
        else:
            builder = tfds.builder(name_or_folder)
        feature = _picture(builder.info.features)
        skip = {feature: tfds.decode.SkipDecoding()}
        for split in sorted(builder.info.splits):
            source = builder.as_data_source(split=split, decoders=skip)
            for number in range(len(source)):
                yield f"{split}/{number:08}", functools.partial(_record, source, number, feature)
    except Exception as error:  # of many kinds: its registry, its files, and what builders import
        why = " ".join(str(error).split()).partition(". Available")[0][:300]
        raise ValueError(
            f"the data set {name_or_folder} cannot be read: {why}; give the folder of one that was "
            "built with `tfds build --file_format=array_record`"
        ) from None


def _picture(features: Any) -> str:
    """The name of the picture among the features of a data set."""
    import tensorflow_datasets as tfds

    named = [name for name, kind in features.items() if isinstance(kind, tfds.features.Image)]
    if not named:
        raise ValueError(f"it has no pictures, but {', '.join(features)}")
    return "image" if "image" in named else named[0]


def _record(source: Any, number: int, feature: str) -> bytes:
    return bytes(source[number][feature])
