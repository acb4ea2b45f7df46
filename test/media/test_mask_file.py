# SPDX-License-Identifier: Apache-2.0
"""Mask files of drawing programs, annotation tools and datasets are read as one object, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2_ros.errors import UserError
from sam2_ros.media.mask_file import read_mask

HW = (120, 160)
DISC = cv2.circle(np.zeros(HW, np.uint8), (60, 60), 30, 1, -1)
RING = cv2.dilate(DISC, np.ones((13, 13), np.uint8)) - DISC
OTHER = np.zeros(HW, np.uint8)
OTHER[10:40, 110:150] = 1
NOISE = np.random.default_rng(0).integers(0, 255, (*HW, 3), dtype=np.uint8)
SMOOTH = cv2.resize(NOISE[:12, :16], HW[::-1], interpolation=cv2.INTER_CUBIC)
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, *np.random.default_rng(1).integers(1, 255, 759).tolist()]


def palette_image(indices: np.ndarray, palette: list[int] = PALETTE) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette(palette)
    return image


def saved(folder: Path, image: Image.Image | np.ndarray, name: str = "m.png", **options: object) -> Path:
    path = folder / name
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def iou(found: np.ndarray, expected: np.ndarray) -> float:
    return float((found & expected).sum() / (found | expected).sum())


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (DISC, "a.png"),
        (DISC * 255, "a.png"),
        (DISC * 255, "a.bmp"),
        (DISC * 255, "a.tif"),
        (Image.fromarray(DISC > 0), "one_bit.png"),
        (DISC.astype(np.uint16), "a.png"),
        (DISC.astype(np.uint16) * 40000, "a.png"),
        (DISC.astype(np.float32), "a.tif"),
        (DISC[:, :, None] * np.array([200, 0, 0], np.uint8), "red.png"),
        (palette_image(DISC), "indexed.png"),
        (palette_image(DISC * 7), "indexed.png"),
        (palette_image(1 - DISC, [255, 0, 0, 0, 0, 0]), "black_is_index_1.png"),
        (np.dstack([NOISE, np.full(HW, 255, np.uint8)]) * DISC[:, :, None], "cut_out.png"),
    ],
)
def test_one_object_is_read_exactly(tmp_path: Path, image: Image.Image | np.ndarray, name: str) -> None:
    np.testing.assert_array_equal(read_mask(saved(tmp_path, image, name)).mask_hw, DISC > 0)


@pytest.mark.parametrize(
    ("quality", "colour"),
    [*((quality, (255, 255, 255)) for quality in (95, 75, 40, 20)), (95, (200, 0, 0)), (75, (200, 0, 0))],
)
def test_the_noise_of_a_jpeg_is_not_the_object(tmp_path: Path, quality: int, colour: tuple[int, ...]) -> None:
    image = DISC[:, :, None] * np.array(colour, np.uint8)
    assert len(np.unique(cv2.imdecode(cv2.imencode(".jpg", image)[1], 0))) > 2
    found = read_mask(saved(tmp_path, image, "m.jpg", quality=quality)).mask_hw
    assert iou(found, DISC > 0) > (0.99 if colour[1] else 0.97)


@pytest.mark.parametrize("sigma", [0.7, 2.0, 5.0])
def test_soft_edges_are_cut_at_half(tmp_path: Path, sigma: float) -> None:
    soft = cv2.GaussianBlur(DISC * 255, (0, 0), sigma)
    for name, image in (("grey.png", soft), ("cut_out.png", np.dstack([NOISE, soft])), ("m.gif", soft)):
        assert iou(read_mask(saved(tmp_path, image, name)).mask_hw, soft > 127) > 0.98


@pytest.mark.parametrize(
    "image",
    [
        np.where(RING > 0, 255, DISC),
        np.where(RING > 0, 255, DISC * 15),
        np.where(cv2.dilate(DISC, np.ones((3, 3))) > DISC, 255, DISC),
        palette_image(np.where(RING > 0, 255, DISC * 15)),
        np.where(RING > 0, np.uint16(65535), DISC),
    ],
)
def test_undecided_pixels_are_left_out_with_a_note(tmp_path: Path, image: Image.Image | np.ndarray) -> None:
    read = read_mask(saved(tmp_path, image))
    np.testing.assert_array_equal(read.mask_hw, DISC > 0)
    assert len(read.notes) == 1
    assert "is left out" in read.notes[0]


def test_the_use_of_transparency_gives_a_note(tmp_path: Path) -> None:
    read = read_mask(saved(tmp_path, np.dstack([np.full((*HW, 3), 255, np.uint8), DISC * 255])))
    np.testing.assert_array_equal(read.mask_hw, DISC > 0)
    assert "cut-out" in read.notes[0]
    opaque = np.dstack([np.repeat(DISC[:, :, None] * 255, 3, 2), np.full(HW, 255, np.uint8)])
    read = read_mask(saved(tmp_path, opaque))
    np.testing.assert_array_equal(read.mask_hw, DISC > 0)
    assert read.notes == ()


def test_a_mask_that_may_be_inverted_gives_a_note(tmp_path: Path) -> None:
    read = read_mask(saved(tmp_path, (1 - DISC) * 255))
    np.testing.assert_array_equal(read.mask_hw, DISC == 0)
    assert read.notes[0].endswith("is it inverted?")


@pytest.mark.parametrize(
    ("image", "said", "value", "chosen"),
    [
        (DISC + 2 * OTHER, r"several values .*: 1, 2; .* m\.png#1", "2", OTHER),
        (
            np.where(RING > 0, 255, DISC + 2 * OTHER),
            "several values .*: 1, 2, 255",
            "255",
            RING * (1 - OTHER),
        ),
        (np.where(RING > 0, 128, DISC * 255), "several values .*: 128, 255", "255", DISC),
        (palette_image(DISC + 2 * OTHER), "several values .*: 1, 2", "2", OTHER),
        ((DISC + 2 * OTHER).astype(np.uint16), "several values .*: 1, 2", "1", DISC),
        (
            np.dstack([DISC * 200, OTHER * 200, DISC * 0]),
            r"several colours .*: 00c800, c80000; .* m\.png#00c800",
            "c80000",
            DISC,
        ),
        (DISC * 190 + 10, r"no background: .* 10, 200; .* m\.png#200", "200", DISC),
        (
            DISC * 0 + 255,
            r"covers the whole image: every pixel has the value 255; .* m\.png#255",
            "255",
            DISC >= 0,
        ),
    ],
)
def test_several_values_are_refused_until_one_is_chosen(
    tmp_path: Path, image: Image.Image | np.ndarray, said: str, value: str, chosen: np.ndarray
) -> None:
    path = saved(tmp_path, image)
    with pytest.raises(UserError, match=said):
        read_mask(path)
    np.testing.assert_array_equal(read_mask(path, value).mask_hw, chosen > 0)


@pytest.mark.parametrize("quality", [90, 50])
def test_several_objects_in_a_jpeg_are_not_read_as_soft_edges(tmp_path: Path, quality: int) -> None:
    with pytest.raises(UserError, match=r"several values|photograph"):
        read_mask(saved(tmp_path, DISC * 255 + OTHER * 100, "m.jpg", quality=quality))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (SMOOTH, "photograph|no background"),
        (SMOOTH * DISC[:, :, None], "photograph"),
        (cv2.cvtColor(SMOOTH, cv2.COLOR_RGB2GRAY), "photograph|no background"),
        (np.dstack([NOISE, DISC * 0]), "transparent everywhere"),
        (DISC * 0, "no pixel of the object"),
    ],
)
def test_images_that_are_not_masks_are_refused(tmp_path: Path, image: np.ndarray, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_mask(saved(tmp_path, image))


def test_a_missing_value_is_refused_with_a_list_of_values(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pixel of the value 9; it has 0, 1, 2"):
        read_mask(saved(tmp_path, DISC + 2 * OTHER), "9")


def test_a_mask_with_exif_orientation_is_rotated(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, OTHER * 255, "m.png", exif=exif)
    np.testing.assert_array_equal(read_mask(path).mask_hw, np.rot90(OTHER, -1) > 0)


def test_files_that_are_not_images_are_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "text.png").write_text("hello")
    whole = saved(tmp_path, NOISE).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("pipe.png", "loop.png", "text.png", "cut.png", "gone.png", "", "x" * 5000, "a\0b"):
        with pytest.raises(UserError) as raised:
            read_mask(tmp_path / name)
        assert "\n" not in str(raised.value)
