# SPDX-License-Identifier: Apache-2.0
"""Reads and writes rosbag2 recordings without a ROS installation, through `rosbags`.

Knows topics, stamps and storage files; knows nothing of frames, tracking or playing back in time.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, ReaderError, StoragePlugin, Writer
from rosbags.typesys import TypesysError

from sam2_ros.engine.result import FrameResult
from sam2_ros.media.frame_source import SourceError, natural_key
from sam2_ros.media.messages.message_types import (
    IMAGE_TYPE,
    OBJECTS_TYPE,
    normalised_type,
    recorded_image,
    recorded_objects,
    standard_types,
    types_of_bag,
)
from sam2_ros.media.ros_image import mono_to_image_fields, rgb_to_image_fields
from sam2_ros.result_folder.scratch import scratch_folder

from .mcap_recovery import RecoveredMcap, recover_mcap
from .zstd_storage import ZSTD_MAGIC, is_compressed, unpack_file, unpack_message

STORAGE_SUFFIXES = (".mcap", ".db3")
_NO_DIGEST = "RIHS01_" + "0" * 64  # of a message type without a known definition
_MAX_MESSAGES = 10**12  # a higher count in metadata.yaml is wrong: a thousand years of a camera at 30 Hz

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TopicInfo:
    name: str
    type: str
    count: int


class RawMessage(NamedTuple):
    """One undecoded message (CDR); `stamp_ns` is the time at which the bag received it."""

    topic: str
    type: str
    stamp_ns: int
    cdr: bytes


def is_bag(path: Path) -> bool:
    """True for a storage file, and for a folder with metadata.yaml or storage files."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or bool(_storage_files(path))
    return path.suffix.lower() in STORAGE_SUFFIXES or is_compressed(path, STORAGE_SUFFIXES)


class BagReader:
    """Topics and messages of a rosbag2: a folder, with or without metadata.yaml, or a .mcap or .db3 file.

    Files and messages compressed with zstd are recognised by their bytes if metadata.yaml does not declare them.

    Raises SourceError if the bag cannot be read. Iterating twice reads the bag twice.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._unpacked = _Unpacked()
        self._warned_compressed = False
        try:
            self._readers = _open_readers(self.path, self._unpacked)
        except BaseException:
            self._unpacked.close()
            raise
        self._types = types_of_bag(self.connections())

    def topics(self) -> list[TopicInfo]:
        """Return all topics by name, with types as `pkg/msg/Type`, even from old bags."""
        counts: dict[tuple[str, str], int] = {}
        for connection in self.connections():
            key = (connection.topic, normalised_type(connection.msgtype))
            counts[key] = counts.get(key, 0) + connection.msgcount
        return [TopicInfo(topic, type_name, count) for (topic, type_name), count in sorted(counts.items())]

    def received_between_ns(self) -> tuple[int, int]:
        """Return the earliest and the latest time of reception over all topics; (0, 0) without messages."""
        filled = [reader for reader in self._readers if reader.message_count]
        if not filled:
            return 0, 0
        return min(reader.start_time for reader in filled), max(reader.end_time for reader in filled) - 1

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Yield undecoded messages in the order received; None = every topic."""
        for reader in self._readers:
            wanted = [c for c in reader.connections if topics is None or c.topic in topics]
            if not wanted:
                continue
            try:
                for connection, stamp_ns, cdr in reader.messages(wanted):
                    if cdr[: len(ZSTD_MAGIC)] == ZSTD_MAGIC:
                        cdr = self._unpack(cdr)
                    yield RawMessage(connection.topic, normalised_type(connection.msgtype), stamp_ns, cdr)
            except Exception as error:  # rosbags passes on errors of sqlite, zstd and struct
                raise _unreadable(self.path, error) from error

    def decode(self, raw: RawMessage) -> Any:
        """Decode a message. Raises SourceError if its type is unknown or its bytes do not match the type."""
        try:
            return self._types.deserialize_cdr(raw.cdr, raw.type)
        except (KeyError, TypesysError) as error:
            raise SourceError(
                f"'{self.path}' topic {raw.topic} has type {raw.type}, which neither the bag nor ROS 2 "
                "defines; record it again with a rosbag2 that stores definitions (Iron or newer)"
            ) from error
        except Exception as error:  # rosbags passes on errors of struct, NumPy and text decoding
            reason = " ".join(str(error).split()) or type(error).__name__
            if raw.cdr[: len(ZSTD_MAGIC)] == ZSTD_MAGIC:
                reason = "it is compressed with zstd and does not unpack"
            raise SourceError(
                f"'{self.path}' topic {raw.topic}: a message of {len(raw.cdr)} bytes: {reason}"
            ) from error

    def messages(self, topics: Collection[str] | None = None) -> Iterator[tuple[str, int, Any]]:
        """Yield (topic, time of reception in ns, message) in the order received; None = every topic."""
        for raw in self.raw_messages(topics):
            yield raw.topic, raw.stamp_ns, self.decode(raw)

    def close(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.close()
        self._unpacked.close()

    def _unpack(self, cdr: bytes) -> bytes:
        """Return the unpacked message; if it does not unpack, unchanged: `decode` then raises for this message only."""
        if not self._warned_compressed:
            self._warned_compressed = True
            _log.warning(
                "messages of bag '%s' are compressed with zstd, which no metadata.yaml declares: unpacked",
                self.path,
            )
        try:
            return unpack_message(cdr)
        except SourceError:
            return cdr

    def connections(self) -> Iterator[Connection]:
        """Yield the topics as rosbags describes them; a topic in several storage files comes several times."""
        for reader in self._readers:
            yield from reader.connections

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class BagWriter:
    """Writes a rosbag2 folder; `with BagWriter(path) as bag: bag.write_image(...)`.

    `storage`: "mcap" (with compressed chunks, as masks are almost all zeros) or "sqlite3". Raises FileExistsError if
    the folder exists. After an exception in the `with` block the bag is closed, too, so that it can be read.
    """

    def __init__(self, path: str | Path, storage: str = "mcap") -> None:
        plugins = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
        if storage not in plugins:
            raise ValueError(f"bag storage '{storage}', expected one of {', '.join(plugins)}")
        self.path = Path(path)
        if self.path.exists():
            raise FileExistsError(f"bag '{self.path}' exists already; remove it or write to another folder")
        self._types = standard_types()
        self._writer = Writer(self.path, version=9, storage_plugin=plugins[storage])
        if storage == "mcap":
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections: dict[tuple[str, str], Connection] = {}
        self._closed = False

    def write_image(self, topic: str, stamp_ns: int, frame_id: str, image_rgb: np.ndarray) -> None:
        """Write [H, W, 3] uint8 RGB as an rgb8 Image."""
        message = recorded_image(self._types, stamp_ns, frame_id, rgb_to_image_fields(image_rgb))
        self.write_raw(topic, IMAGE_TYPE, stamp_ns, message)

    def write_objects(self, topic: str, stamp_ns: int, frame_id: str, result: FrameResult) -> None:
        """Write one sam2_ros_msgs/TrackedObjectArray, as the live node publishes it."""
        self.write_raw(
            topic, OBJECTS_TYPE, stamp_ns, recorded_objects(self._types, stamp_ns, frame_id, result)
        )

    def write_label_image(self, topic: str, stamp_ns: int, frame_id: str, labels_hw: np.ndarray) -> None:
        """Write a [H, W] uint16 label image (`FrameResult.label_image()`) as a mono16 Image."""
        message = recorded_image(self._types, stamp_ns, frame_id, mono_to_image_fields(labels_hw))
        self.write_raw(topic, IMAGE_TYPE, stamp_ns, message)

    def declare(self, reader: BagReader) -> None:
        """Add the topics of another bag, with its definitions and qualities of service, so that `write_raw` copies any.

        Call it before the first message. A type without a definition in the bag or in ROS 2 is written without one.
        """
        for connection in reader.connections():
            key = (connection.topic, normalised_type(connection.msgtype))
            if key in self._connections:
                continue
            ext = connection.ext
            services = ext.offered_qos_profiles if isinstance(ext, ConnectionExtRosbag2) else ()
            definition: str | None = connection.msgdef.data
            digest: str | None = connection.digest
            if not (definition and digest):  # None: taken from the types of ROS 2
                definition, digest = (None, None) if key[1] in self._types.fielddefs else ("", _NO_DIGEST)
            self._connections[key] = self._writer.add_connection(
                *key, typestore=self._types, msgdef=definition, rihs01=digest, offered_qos_profiles=services
            )

    def write_raw(self, topic: str, type_name: str, stamp_ns: int, message: Any) -> None:
        """Write a message of a known type, as an object or as CDR bytes (as in `BagReader.raw_messages`)."""
        key = (topic, normalised_type(type_name))
        if key not in self._connections:
            if key[1] not in self._types.fielddefs:
                raise ValueError(f"message type '{type_name}' is neither a ROS 2 one nor of sam2_ros_msgs")
            self._connections[key] = self._writer.add_connection(*key, typestore=self._types)
        if not isinstance(message, (bytes, memoryview)):
            message = self._types.serialize_cdr(message, key[1])
        self._writer.write(self._connections[key], stamp_ns, message)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._writer.close()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class _Unpacked(contextlib.ExitStack):
    """Unpacked files of a bag, in a temporary folder that is made with the first and removed by `close`.

    After a killed run the next run removes it.
    """

    @functools.cached_property
    def folder(self) -> Path:
        return self.enter_context(scratch_folder())

    def file(self, path: Path) -> Path:
        size_bytes = path.stat().st_size
        _log.warning(
            "'%s' (%d bytes) is compressed with zstd: unpacking it to %s", path, size_bytes, self.folder
        )
        return unpack_file(path, self.folder)


def _storage_files(folder: Path) -> list[Path]:
    """List the storage files of a bag folder in natural order; a compressed copy beside its file is left out.

    A recorder that was killed while it compressed a file leaves both.
    """
    there = list(folder.iterdir())
    plain = [path for path in there if path.suffix.lower() in STORAGE_SUFFIXES]
    names = {path.name for path in plain}
    packed = [path for path in there if is_compressed(path, STORAGE_SUFFIXES) and path.stem not in names]
    return sorted(plain + packed, key=lambda p: natural_key(p.name))


def _open_readers(path: Path, unpacked: _Unpacked) -> list[Reader]:
    """Open the folder with one reader; if metadata.yaml is missing or wrong, each storage file with its own."""
    if not path.exists():
        raise SourceError(f"bag '{path}' does not exist")
    if not path.is_dir():
        return [_open_reader(path, unpacked)]
    files = _storage_files(path)
    if (path / "metadata.yaml").exists():
        try:
            return [_open_reader(path, unpacked)]
        except SourceError as error:
            if not files:
                raise
            _log.warning(
                "%s; reading %s without metadata.yaml", error, ", ".join(file.name for file in files)
            )
    elif files:
        _log.warning(
            "bag '%s' has no metadata.yaml: reconstructed in memory from %s "
            "(`ros2 bag reindex` writes a new one)",
            path,
            ", ".join(file.name for file in files),
        )
    else:
        raise SourceError(f"'{path}' is not a rosbag2: it has neither metadata.yaml nor a .mcap or .db3 file")
    readers: list[Reader] = []
    try:
        for file in files:
            readers.append(_open_reader(file, unpacked))
    except SourceError:
        for reader in readers:
            reader.close()
        raise
    return sorted(readers, key=lambda reader: reader.start_time)


def _open_reader(path: Path, unpacked: _Unpacked) -> Reader:
    plain = unpacked.file(path) if is_compressed(path, STORAGE_SUFFIXES) else path
    try:
        return _opened(plain)
    except Exception as error:  # rosbags passes on errors of sqlite, zstd, yaml and struct
        recovered = recover_mcap(plain) if plain.suffix == ".mcap" else None
        if recovered is None:
            raise _unreadable(path, error) from error
    try:
        reader = _opened(recovered)
    except Exception as error:
        raise _unreadable(path, error) from error
    _log.warning(
        "bag '%s' was cut off: reading the %d of its %d bytes that hold complete records "
        "(`mcap recover` writes a complete file)",
        path,
        recovered.whole_bytes,
        plain.stat().st_size,
    )
    return reader


def _opened(path: Path | RecoveredMcap) -> Reader:
    reader = Reader(path)  # type: ignore[arg-type]
    reader.open()
    if not all(_is_usable(connection) for connection in reader.connections):
        reader.close()
        raise ReaderError("the names, types or counts of its topics are invalid")
    return reader


def _is_usable(connection: Connection) -> bool:
    """True if name, type and count have valid types; rosbags does not check the content of metadata.yaml."""
    named = isinstance(connection.topic, str) and isinstance(connection.msgtype, str)
    count = connection.msgcount
    return named and isinstance(count, int) and 0 <= count <= _MAX_MESSAGES


def _unreadable(path: Path, error: BaseException) -> SourceError:
    """Make the error: one line with the reason and the tool that repairs this kind of file."""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if ".mcap" in path.suffixes or (path.is_dir() and any(path.glob("*.mcap"))):
        remedy = "try `mcap recover FILE.mcap -o FIXED.mcap`"
    else:
        remedy = "try `ros2 bag reindex BAG_FOLDER`, or `sqlite3 FILE.db3 .recover` for a damaged database"
    return SourceError(f"bag '{path}' cannot be read: {reason}; {remedy}")
