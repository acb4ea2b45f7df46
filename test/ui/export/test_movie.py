# SPDX-License-Identifier: Apache-2.0
"""The export of a movie: effects on every frame, in a new folder.

What a movie file is, and its sound, is tested with the writer.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exported_clips import FRAMES, frames, image_at, masks_at, request, write_video

from sam2_ros.errors import UserError
from sam2_ros.media.frames import open_source
from sam2_ros.ui.cancelled import Cancelled
from sam2_ros.ui.effects.settings import EffectSettings
from sam2_ros.ui.export.movie import export_movie

pytest.importorskip("av", reason="movies are written with PyAV (extra [ui])")


def test_every_frame_has_the_effects_and_its_own_time(tmp_path):
    clip = write_video(tmp_path / "clip.avi")
    settings = EffectSettings.from_settings(
        {"background": {"effect": "erase", "colours": ["#00ff00", "#000000"]}, "opacity": 0, "hidden": [5]}
    )
    seen: list[tuple[int, int]] = []
    wanted = request(tmp_path, clip, on_progress=lambda *step: seen.append(step))
    export = export_movie(wanted, frames(with_images=True, first_ns=1_700_000_000_000_000_000), settings)
    assert export.file == tmp_path / "exports/my_clip-1/my_clip-1.mp4"
    assert export.notes == ()
    assert seen == [(done, FRAMES) for done in range(1, FRAMES + 1)]
    with open_source(export.file) as source:
        drawn = list(source)
    assert [round(frame.stamp_s, 3) for frame in drawn] == [index * 0.04 for index in range(FRAMES)]
    for index, frame in enumerate(drawn[:7]):
        cup = masks_at(index)[2] & ~masks_at(index)[5]
        away = ~masks_at(index)[2]
        assert np.abs(frame.image[away].astype(int) - (0, 255, 0)).mean() < 25
        assert np.abs(frame.image[cup].astype(int) - image_at(index)[cup]).mean() < 40
    assert np.abs(drawn[7].image.astype(int) - (0, 255, 0)).mean() < 25


def test_an_emoji_that_no_font_has_is_announced(tmp_path):
    settings = EffectSettings.from_settings({"object": {"effect": "replace", "emoji": "\U000f1234"}})
    export = export_movie(request(tmp_path, write_video(tmp_path / "clip.avi")), frames(True), settings)
    assert "plain shape" in export.notes[0]


def test_frames_on_which_a_hidden_object_has_no_mask_are_announced(tmp_path):
    given = frames(with_images=True)
    for index in (3, 4):  # the ball is lost there, and gone from frame 6 on
        given[index] = replace(given[index], masks=given[index].masks[:1])
    wanted = request(tmp_path, tmp_path / "clip.avi")
    blurred = export_movie(wanted, given, EffectSettings.from_settings({"object": {"effect": "blur"}}))
    assert [note for note in blurred.notes if "no mask" in note] == [
        "'../ball' has no mask on 2 frames between those on which it is hidden, the first is frame 3: it may be seen "
        "there, check them"
    ]
    for settings in ({}, {"object": {"effect": "blur"}, "hidden": [5]}):
        export = export_movie(wanted, given, EffectSettings.from_settings(settings))
        assert not [note for note in export.notes if "no mask" in note]


def test_a_frame_without_an_image_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="frame 0 has no image"):
        export_movie(request(tmp_path, tmp_path / "clip.avi"), frames(), EffectSettings())
    assert list((tmp_path / "exports").iterdir()) == []


def test_cancelling_leaves_nothing(tmp_path):
    seen: list[int] = []
    wanted = request(
        tmp_path,
        tmp_path / "clip.avi",
        on_progress=lambda done, total: seen.append(done),
        is_cancelled=lambda: len(seen) == 3,
    )
    with pytest.raises(Cancelled):
        export_movie(wanted, frames(with_images=True), EffectSettings())
    assert seen == [1, 2, 3]
    assert list((tmp_path / "exports").iterdir()) == []
