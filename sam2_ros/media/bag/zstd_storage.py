# SPDX-License-Identifier: Apache-2.0
"""Unpacks what rosbag2 compressed with zstd, a whole storage file or single messages, where no metadata.yaml says so.

Knows zstd and names of files, nothing of bags.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from sam2_ros.media.frame_source import SourceError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""Begins every zstd frame; no CDR message begins so: its first byte is 0."""
ZSTD_SUFFIXES = (".zstd", ".zst")
MAX_MESSAGE_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 20

_log = logging.getLogger(__name__)


def is_compressed(path: Path, suffixes: tuple[str, ...]) -> bool:
    """True for `x.mcap.zstd`, when `.mcap` is one of `suffixes`."""
    return path.suffix.lower() in ZSTD_SUFFIXES and Path(path.stem).suffix.lower() in suffixes


def unpack_message(packed: bytes) -> bytes:
    """A message behind its magic number. Raises SourceError for what does not unpack, or not within 1 GiB."""
    unpacker = zstd.ZstdDecompressor()
    try:
        message = unpacker.decompress(packed, max_length=MAX_MESSAGE_BYTES)
    except zstd.ZstdError as error:
        raise SourceError(
            f"a message of {len(packed)} bytes is compressed with zstd and damaged: {error}"
        ) from error
    if not unpacker.eof:
        raise SourceError(
            f"a message of {len(packed)} bytes is compressed with zstd and cut off, or has more than 1 GiB unpacked"
        )
    return message


def unpack_file(path: Path, folder: Path) -> Path:
    """Unpack `x.mcap.zstd` to `folder`/x.mcap; of a file that was cut off what there is, with a warning.

    Raises SourceError for what is no zstd.
    """
    target, unpacker, written = folder / path.stem, zstd.ZstdDecompressor(), 0
    with path.open("rb") as packed, target.open("wb") as unpacked:
        try:
            while block := packed.read(_BLOCK_BYTES):
                while block:
                    if unpacker.eof:
                        unpacker = zstd.ZstdDecompressor()
                    written += unpacked.write(unpacker.decompress(block))
                    block = unpacker.unused_data
            problem = "" if unpacker.eof else "it was cut off"
        except zstd.ZstdError as error:
            problem = str(error)
    if problem and not written:
        raise SourceError(
            f"'{path}' does not unpack ({problem}), expected a file that rosbag2 compressed with zstd"
        )
    if problem:
        _log.warning(
            "'%s' does not unpack to its end (%s): reading the first %d bytes", path, problem, written
        )
    return target
