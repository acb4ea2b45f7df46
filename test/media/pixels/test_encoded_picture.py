# SPDX-License-Identifier: Apache-2.0
"""Image files: truncated data are detected, bytes after the end are ignored, photographs are rotated by their EXIF."""

from __future__ import annotations

import io
import time

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from sam2_ros.media.pixels.encoded_picture import encoded_size
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.picture_end import picture_end
from sam2_ros.media.ros_image import compressed_to_rgb

END = b"\xff\xd9"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """[120, 160, 3] RGB with some texture."""
    rng = np.random.default_rng(7)
    smooth = cv2.resize(
        rng.integers(0, 256, (12, 16, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(smooth.astype(int) + rng.integers(-20, 20, smooth.shape), 0, 255).astype(np.uint8)


def jpeg(image_rgb: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image_rgb).save(file, "JPEG", quality=92, **options)
    return file.getvalue()


KINDS: dict[str, dict[str, object]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "restart markers": {"restart_marker_blocks": 3},
    "thumbnail": {"exif": b"Exif\x00\x00" + b"x" * 20 + b"\xff\xd8\xff\xda" + b"y" * 300 + END},
}


def noise(seed: int, size: int = 20_000) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def is_read(data: bytes) -> bool:
    try:
        compressed_to_rgb(data)
    except ImageError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_is_read_whatever_follows_it(photo, kind):
    whole = jpeg(photo, **KINDS[kind])
    expected = compressed_to_rgb(whole)
    assert np.abs(expected.astype(int) - photo).mean() < 12
    for tail in (
        bytes(500),
        b"\xff" * 500,
        jpeg(photo[:40]),
        b"ftypmp42" + noise(1),
        *map(noise, range(2, 12)),
    ):
        np.testing.assert_array_equal(compressed_to_rgb(whole + tail), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_cut_off_jpeg_is_refused_whatever_follows_it(photo, kind, share):
    whole = jpeg(photo, **KINDS[kind])
    cut = whole[: int(len(whole) * share)]
    tails = [b"", bytes(500), jpeg(photo), *(noise(seed) for seed in range(20))]
    if kind != "progressive":  # all scans of a progressive JPEG reach the last row
        tails += [END, END + bytes(500), bytes(20) + END]
    assert [is_read(cut + tail) for tail in tails] == [False] * len(tails)


def test_an_end_marker_in_trailing_bytes_does_not_make_an_image_complete(photo):
    whole = jpeg(photo)
    cut = whole[: len(whole) // 2].rstrip(b"\xff")
    tail = bytes(range(1, 200)) + END + noise(3)
    with pytest.raises(ImageError, match=r"ends early .its last rows are missing"):
        compressed_to_rgb(cut + tail)


@pytest.mark.parametrize("kind", ["baseline", "4:4:4", "restart markers"])
def test_a_camera_that_never_sends_the_end_marker_is_read(photo, kind):
    whole = jpeg(photo, **KINDS[kind])
    assert whole.endswith(END)
    np.testing.assert_array_equal(compressed_to_rgb(whole[:-2]), compressed_to_rgb(whole))
    assert is_read(whole[:-2] + bytes(300))
    assert not is_read(whole[:-400])


def test_an_image_with_black_last_rows_needs_no_end_marker_either(photo):
    black = photo.copy()
    black[60:] = 0
    whole = jpeg(black)
    assert is_read(whole[:-2])


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_chunks_are_counted(photo, suffix):
    whole = cv2.imencode(suffix, photo)[1].tobytes()
    assert is_read(whole + noise(1))
    for share in (0.3, 0.9, 0.99):
        assert not is_read(whole[: int(len(whole) * share)])
    assert not is_read(whole[: len(whole) // 2] + b"IEND" + bytes(8))


def test_finding_the_end_is_fast_compared_with_decoding(photo):
    big = np.frombuffer(jpeg(np.tile(photo, (9, 12, 1))), np.uint8)

    def best_s(work) -> float:
        times_s = []
        for _ in range(5):
            began_s = time.perf_counter()
            work()
            times_s.append(time.perf_counter() - began_s)
        return min(times_s)

    assert picture_end(big).size == big.size
    assert best_s(lambda: picture_end(big)) < 0.3 * best_s(lambda: cv2.imdecode(big, cv2.IMREAD_COLOR))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_photograph_is_rotated_as_in_viewers(photo, format, orientation):
    opencv = tuple(int(part) for part in cv2.__version__.split(".")[:2])
    if format in ("TIFF", "WEBP") and opencv < (4, 14):
        pytest.skip(f"OpenCV {cv2.__version__} reads TIFF and WebP as they are stored; 4.14 rotates them")
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"tiffinfo": {0x112: orientation}} if format == "TIFF" else {"exif": exif}
    Image.fromarray(photo).save(file, format, **options, **({"lossless": True} if format == "WEBP" else {}))
    shown = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB")).astype(int)
    read = compressed_to_rgb(file.getvalue(), upright=True)
    assert read.shape == shown.shape
    assert np.abs(read - shown).mean() < 2
    if format != "TIFF":
        assert compressed_to_rgb(file.getvalue()).shape == photo.shape  # a camera's message stays as stored


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_size_of_an_image_is_read_from_its_header_alone(suffix):
    encoded = cv2.imencode(suffix, np.zeros((37, 53, 3), np.uint8))[1].tobytes()
    assert encoded_size(encoded) == (37, 53)
    assert encoded_size(encoded[:-20]) == (37, 53)
    for nothing in (b"", b"no image", encoded[:5]):
        with pytest.raises(ImageError, match="no readable header"):
            encoded_size(nothing)
