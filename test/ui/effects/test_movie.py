# SPDX-License-Identifier: Apache-2.0
"""Movies: every frame at its own time, the sound of the source unchanged, and nothing left after a failure.

Clips are written with PyAV and read back with it.
"""

from __future__ import annotations

import builtins
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sam2_ros.errors import UserError
from sam2_ros.media.frames import open_source
from sam2_ros.ui.cancelled import Cancelled
from sam2_ros.ui.effects.movie import TimedImage, import_av, write_movie

av = pytest.importorskip("av", reason="movies are written with PyAV (extra [ui])")


def picture(index: int, hw: tuple[int, int] = (64, 96)) -> np.ndarray:
    """A bar that moves over a ground, [H, W, 3] uint8."""
    image = np.full((*hw, 3), (40, 90, 160), np.uint8)
    image[:, 4 * index : 4 * index + 8] = (230, 200, 60)
    return image


def timed(stamps_s: list[float], hw: tuple[int, int] = (64, 96)) -> list[TimedImage]:
    return [TimedImage(picture(index, hw), stamp_s) for index, stamp_s in enumerate(stamps_s)]


def clip_with_tone(path: Path, frames: int, codec: str, seconds: float, start_s: float = 0.0) -> Path:
    """A clip of 25 frames per second with a tone of 440 Hz; its images begin at `start_s`."""
    with av.open(str(path), "w") as container:
        images = container.add_stream("mpeg4", rate=25)
        images.width, images.height, images.pix_fmt = 96, 64, "yuv420p"
        tone = container.add_stream(codec, rate=44100)
        tone.codec_context.layout = "mono"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index + round(start_s * 25), Fraction(1, 25)
            container.mux(images.encode(frame))
        container.mux(images.encode(None))
        samples = (8000 * np.sin(2 * np.pi * 440 * np.arange(round(44100 * seconds)) / 44100)).astype(
            np.int16
        )
        sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 44100, 0, Fraction(1, 44100)
        resampler = av.AudioResampler(format=tone.codec_context.format, layout="mono", rate=44100)
        for part in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(tone.encode(part))
        container.mux(tone.encode(None))
    return path


def video_times_s(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def sound_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def sound_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)]).astype(float)


def test_every_frame_is_at_its_own_time_in_a_codec_that_browsers_play(tmp_path):
    stamps_s = [0, 0.04, 0.08, 1.0, 1.04, 1.5, 1.54]
    info = write_movie(tmp_path / "out.mp4", timed([7 + stamp for stamp in stamps_s]), 25)
    assert video_times_s(tmp_path / "out.mp4") == pytest.approx(stamps_s, abs=1e-4)
    assert (info.frames, info.has_sound, info.length_s) == (7, False, pytest.approx(1.58))
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert container.duration / 1e6 == pytest.approx(1.58, abs=0.02)  # the last frame is shown, too
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser can start before it has all
    with open_source(tmp_path / "out.mp4") as source:
        assert [frame.stamp_s for frame in source] == pytest.approx(stamps_s, abs=1e-3)


def test_the_colours_of_the_images_are_kept(tmp_path):
    write_movie(tmp_path / "out.mp4", timed([index / 25 for index in range(5)]), 25)
    with open_source(tmp_path / "out.mp4") as source:
        for index, frame in enumerate(source):
            assert np.abs(frame.image.astype(int) - picture(index)).mean() < 8
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)  # BT.709, limited range, as written
        read = frame.reformat(format="rgb24", src_colorspace="itu709").to_ndarray()
    assert np.abs(read[:, 40:].astype(int) - (40, 90, 160)).mean() < 4


@pytest.mark.parametrize("hw", [(63, 95), (1, 1), (64, 95), (2, 2)])
def test_odd_sizes_are_extended_by_one(tmp_path, hw):
    info = write_movie(tmp_path / "out.mp4", timed([0, 0.1, 0.2], hw), 10)
    assert (info.height_px, info.width_px) == tuple(side + side % 2 for side in hw)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 3
    assert (frames[0].height, frames[0].width) == (info.height_px, info.width_px)


def test_a_frame_of_another_size_is_scaled(tmp_path):
    images = [TimedImage(picture(0), 0.0), TimedImage(picture(1, (128, 192)), 0.1)]
    assert write_movie(tmp_path / "out.mp4", images, 10).frames == 2
    assert len(video_times_s(tmp_path / "out.mp4")) == 2


def test_stamps_that_go_back_or_stand_still_follow_at_the_usual_distance(tmp_path):
    write_movie(tmp_path / "out.mp4", timed([5, 5.1, 5.1, 2.0, 2.1, 2.3]), 10)
    assert video_times_s(tmp_path / "out.mp4") == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.6], abs=1e-3)


def test_the_sound_is_copied_packet_by_packet_and_as_long(tmp_path):
    clip = clip_with_tone(tmp_path / "clip.mp4", 30, "aac", 1.2)
    info = write_movie(tmp_path / "out.mp4", timed([index / 25 for index in range(30)]), 25, clip)
    assert (info.has_sound, info.notes) == (True, ())
    assert sound_packets(tmp_path / "out.mp4") == sound_packets(clip)
    before, after = sound_of(clip), sound_of(tmp_path / "out.mp4")
    assert len(after) == pytest.approx(len(before), abs=1024)
    assert np.abs(after).max() > 0.1
    assert len(video_times_s(tmp_path / "out.mp4")) == 30


@pytest.mark.parametrize("codec", ["libmp3lame", "flac"])
def test_the_sound_of_other_codecs_that_an_mp4_holds_is_copied(tmp_path, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    clip = clip_with_tone(tmp_path / "clip.mkv", 10, codec, 0.4)
    info = write_movie(tmp_path / "out.mp4", timed([index / 25 for index in range(10)]), 25, clip)
    assert (info.has_sound, info.notes) == (True, ())
    assert sound_packets(tmp_path / "out.mp4") == sound_packets(clip)


def test_sound_that_an_mp4_cannot_hold_is_encoded_anew_and_announced(tmp_path):
    clip = clip_with_tone(tmp_path / "clip.avi", 25, "pcm_s16le", 1.0)
    info = write_movie(tmp_path / "out.mp4", timed([index / 25 for index in range(25)]), 25, clip)
    assert info.has_sound
    assert "encoded as AAC" in info.notes[0]
    sound = sound_of(tmp_path / "out.mp4")
    assert len(sound) == pytest.approx(44100, abs=3000)
    loudest_hz = np.abs(np.fft.rfft(sound[4000:40000])).argmax() * 44100 / 36000
    assert loudest_hz == pytest.approx(440, abs=3)


def test_sound_stays_with_its_images_when_these_begin_later(tmp_path):
    """The images begin 0.4 s after the sound: in the movie, whose first image is at 0, the sound is 0.4 s earlier."""
    clip = clip_with_tone(tmp_path / "clip.mkv", 20, "aac", 1.2, start_s=0.4)
    write_movie(tmp_path / "out.mp4", timed([index / 25 for index in range(20)]), 25, clip)
    with av.open(str(tmp_path / "out.mp4")) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        last = max((packet.pts + packet.duration) * packet.time_base for packet in packets)
    assert float(last) == pytest.approx(0.8, abs=0.06)
    assert video_times_s(tmp_path / "out.mp4")[0] == 0


def test_a_source_without_readable_sound_gives_a_movie_without(tmp_path):
    write_movie(tmp_path / "silent.mp4", timed([0, 0.1]), 10)
    silent = write_movie(tmp_path / "a.mp4", timed([0, 0.1]), 10, tmp_path / "silent.mp4")
    assert (silent.has_sound, silent.notes) == (False, ())
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    broken = write_movie(tmp_path / "b.mp4", timed([0, 0.1]), 10, tmp_path / "broken.mp4")
    assert not broken.has_sound
    assert "left out" in broken.notes[0]


@pytest.mark.parametrize("codec", ["mp2", "adpcm_ima_wav"])
def test_damaged_sound_does_not_stop_the_movie(tmp_path, codec):
    clip = clip_with_tone(tmp_path / "clip.avi", 25, codec, 1.0)
    data = bytearray(clip.read_bytes())
    for at in range(len(data) // 3, len(data) - 200, 97):
        data[at : at + 40] = b"\xff" * 40
    clip.write_bytes(data)
    write_movie(tmp_path / "out.mp4", timed([index / 25 for index in range(25)]), 25, clip)
    assert len(video_times_s(tmp_path / "out.mp4")) == 25


def test_progress_counts_the_frames_and_cancelling_leaves_nothing(tmp_path):
    seen: list[int] = []
    write_movie(tmp_path / "out.mp4", timed([0, 0.1, 0.2]), 10, on_frame=seen.append)
    assert seen == [1, 2, 3]
    (tmp_path / "out.mp4").unlink()
    with pytest.raises(Cancelled):
        write_movie(
            tmp_path / "out.mp4",
            timed([0, 0.1, 0.2]),
            10,
            on_frame=seen.append,
            is_cancelled=lambda: len(seen) == 5,
        )
    assert seen == [1, 2, 3, 1, 2]
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_mid_movie_keeps_the_earlier_file(tmp_path):
    def images():
        yield from timed([0, 0.1])
        raise RuntimeError("decoder")

    write_movie(tmp_path / "out.mp4", timed([0, 0.1]), 10)
    before = (tmp_path / "out.mp4").read_bytes()
    with pytest.raises(RuntimeError, match="decoder"):
        write_movie(tmp_path / "out.mp4", images(), 10)
    assert (tmp_path / "out.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_movie_without_frames_is_refused(tmp_path):
    with pytest.raises(UserError, match="without frames"):
        write_movie(tmp_path / "out.mp4", [], 10)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_movie(tmp_path / "none" / "out.mp4", timed([0]), 10)


def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk):
    rng = np.random.default_rng(0)
    images = [
        TimedImage(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8), index / 10) for index in range(8)
    ]
    with pytest.raises(UserError, match="cannot be written") as refused:
        write_movie(small_disk / "out.mp4", images, 10)
    assert "\n" not in str(refused.value)
    assert list(small_disk.iterdir()) == []


def test_without_pyav_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_av(name, *args, **more):
        if name == "av":
            raise ImportError("No module named 'av'")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(UserError, match="pip install av"):
        import_av()
