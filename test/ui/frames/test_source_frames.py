# SPDX-License-Identifier: Apache-2.0
"""Frames of a source for the page: decoded once, found at once, exact for the tracker, resumed after a restart."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from damaged_videos import damage

from sam2_ros.errors import UserError
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.overlay import write_png
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.ui.frames import SourceFrames, SourceSpec, describe, exact_frames

HW = (48, 64)


def picture(index: int) -> np.ndarray:
    """A frame of its own for each index, [48, 64, 3] RGB."""
    image = np.random.default_rng(index).integers(0, 60, (*HW, 3), dtype=np.uint8)
    cv2.circle(image, (5 + index % 50, 24), 9, (220, 40 + index % 200, 30), -1)
    return image


def video(path: Path, frames: int, fourcc: str = "mp4v") -> SourceSpec:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), 25.0, (HW[1], HW[0]))
    for index in range(frames):
        writer.write(cv2.cvtColor(picture(index), cv2.COLOR_RGB2BGR))
    writer.release()
    return SourceSpec(path)


def source_of(kind: str, folder: Path, frames: int) -> SourceSpec:
    if kind == "video":
        return video(folder / "clip.mp4", frames)
    path = folder / kind
    if kind == "bag":
        with BagWriter(path) as bag:
            for index in range(frames):
                bag.write_image("/camera/image", 10**18 + index * 40_000_000, "camera", picture(index))
        return SourceSpec(path)
    path.mkdir()
    for index in range(frames):
        write_png(path / f"{index:04d}.png", picture(index))
    return SourceSpec(path)


def opened(spec: SourceSpec, folder: Path, **options: object) -> SourceFrames:
    known = describe(spec)
    return SourceFrames(spec, folder, (known.height, known.width), known.frames, **options)


def all_decoded(frames: SourceFrames, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not frames.done:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["video", "folder", "bag"])
def test_exact_frames_are_those_of_the_source_in_any_order(kind, tmp_path):
    spec = source_of(kind, tmp_path, 90)
    with spec.open() as source:
        truth = [frame.image for frame in source]
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)
    assert frames.count == 90
    for index in [0, 1, 2, 70, 71, 40, 39, 38, 5, *range(89, 60, -1), 0]:
        assert np.array_equal(frames.exact.read(index), truth[index]), index
        shown = frames.image(index).astype(int)
        assert 0 < np.abs(shown - truth[index]).mean() < 12  # the JPEG is near, and not exact
    assert frames.exact.seeks
    frames.close()


def test_a_video_in_which_seeking_fails_is_read_from_its_start(tmp_path, monkeypatch):
    spec = video(tmp_path / "clip.mp4", 40)
    with spec.open() as source:
        truth = [frame.image for frame in source]
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)

    class Misled:
        """Seeks to three frames before the one that was asked for, as some files make OpenCV do."""

        def __init__(self, path: str) -> None:
            self._capture = cv2.VideoCapture(path)
            self.read, self.release = self._capture.read, self._capture.release

        def set(self, prop: int, value: float) -> bool:
            return self._capture.set(prop, max(0, value - 3))

    monkeypatch.setattr(exact_frames, "open_video", Misled)
    for index in (20, 21, 9, 8):
        assert np.array_equal(frames.exact.read(index), truth[index])
    assert not frames.exact.seeks
    frames.close()


def test_decoding_resumes_after_a_restart_with_equal_frames(tmp_path):
    spec = source_of("folder", tmp_path, 60)
    frames = opened(spec, tmp_path / "pack")
    frames.jpeg(10)
    frames.close()
    before = pack_of(tmp_path / "pack")
    assert 11 <= before.count <= 60
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)
    again = opened(spec, tmp_path / "anew")
    all_decoded(again)
    assert frames.count == again.count == 60
    assert [frames.jpeg(i) for i in range(60)] == [again.jpeg(i) for i in range(60)]
    frames.close()
    again.close()


def pack_of(folder: Path):
    from sam2_ros.ui.frames.pack import FramePack

    pack = FramePack(folder)
    pack.close()
    return pack


def test_a_source_that_is_decoded_is_not_decoded_again(tmp_path):
    spec = video(tmp_path / "clip.mp4", 20)
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)
    frames.close()
    ended = []
    frames = opened(spec, tmp_path / "pack", on_end=lambda: ended.append(1))
    assert frames.done
    assert frames.count == 20
    assert frames.jpeg(19)
    frames.close()
    assert not ended


def test_a_torn_end_of_the_pack_is_decoded_again(tmp_path):
    spec = source_of("folder", tmp_path, 12)
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)
    whole = [frames.jpeg(i) for i in range(12)]
    frames.close()
    jpegs = tmp_path / "pack" / "00000.jpegs"
    with jpegs.open("r+b") as file:
        file.truncate(jpegs.stat().st_size - 100)
    with (tmp_path / "pack" / "index").open("ab") as file:
        file.write(b"half a record")
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)
    assert [frames.jpeg(i) for i in range(12)] == whole
    frames.close()


def test_frames_of_a_changed_source_are_decoded_anew(tmp_path):
    spec = video(tmp_path / "clip.mp4", 10)
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)
    frames.close()
    video(tmp_path / "clip.mp4", 14)
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)
    assert frames.changed
    assert frames.count == 14
    frames.close()


def test_a_damaged_frame_shows_the_one_before_it_and_keeps_the_numbers(tmp_path):
    spec = video(tmp_path / "clip.avi", 16, "MJPG")
    damage(spec.path, [5])
    with spec.open() as source:
        truth = {frame.index: frame.image for frame in source}
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)
    assert [i for i in range(frames.count) if frames.is_missing(i)] == [5]
    assert frames.jpeg(5) == frames.jpeg(4)
    assert frames.missing_before(6) == 1
    assert np.array_equal(frames.exact.read(6), truth[6])
    assert np.array_equal(frames.exact.read(4), truth[4])
    frames.close()


def test_a_frame_past_the_end_is_refused_in_one_line(tmp_path):
    frames = opened(source_of("folder", tmp_path, 3), tmp_path / "pack")
    all_decoded(frames)
    with pytest.raises(UserError, match="frame 3 given, a frame from 0 to 2 expected"):
        frames.jpeg(3)
    frames.close()


def test_a_thumbnail_has_the_height_that_was_asked_for(tmp_path):
    frames = opened(source_of("folder", tmp_path, 3), tmp_path / "pack")
    image = cv2.imdecode(np.frombuffer(frames.thumbnail(2, 24), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (24, 32, 3)
    frames.close()


def test_the_demo_clip_is_rendered_frame_by_frame_into_a_folder_that_track_reads(tmp_path):
    spec = SourceSpec(tmp_path / "demo", demo_frames=5)
    frames = opened(spec, tmp_path / "pack")
    all_decoded(frames)
    truth = demo_clip(5).frames
    assert np.array_equal(frames.exact.read(3), truth[3])
    frames.close()
    with SourceSpec(tmp_path / "demo").open() as source:
        assert np.array_equal([frame.image for frame in source], truth)


@pytest.mark.long
def test_a_clip_of_ten_thousand_frames_opens_at_once(tmp_path):
    spec = video(tmp_path / "long.mp4", 10_000)
    start = time.monotonic()
    frames = opened(spec, tmp_path / "pack")
    frames.jpeg(0)
    assert frames.count == 10_000
    assert frames.decoded < 10_000
    assert time.monotonic() - start < 3
    frames.close()
