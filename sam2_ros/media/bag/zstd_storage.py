# SPDX-License-Identifier: Apache-2.0
"""Unpacks zstd-compressed storage files and messages of rosbag2 that no metadata.yaml declares as compressed.

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
"""Every zstd frame begins with it, no CDR message does: its first byte is 0."""
ZSTD_SUFFIXES = (".zstd", ".zst")
MAX_MESSAGE_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 20

_log = logging.getLogger(__name__)


def is_compressed(path: Path, suffixes: tuple[str, ...]) -> bool:
    """True for `x.mcap.zstd`, when `.mcap` is one of `suffixes`."""
    return path.suffix.lower() in ZSTD_SUFFIXES and Path(path.stem).suffix.lower() in suffixes


def unpack_message(packed: bytes) -> bytes:
    """Unpack a message. Raises SourceError if it is damaged, truncated, or above 1 GiB unpacked."""
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
    """Unpack `x.mcap.zstd` to `folder`/x.mcap; a truncated file is unpacked as far as it goes, with a warning.

    Raises SourceError if nothing unpacks.
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
