# SPDX-License-Identifier: Apache-2.0
"""The export of masks: read back by the readers of `eval`, and the rules that all exports follow.

Nothing is tracked.
"""

from __future__ import annotations

import json
import zipfile

import cv2
import numpy as np
import pytest
from exported_clips import FRAMES, frames, image_at, masks_at, request
from PIL import Image

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.errors import UserError
from sam2_ros.ui.cancelled import Cancelled
from sam2_ros.ui.export.exported import ExportedFrame, ExportedMask, ExportedObject, labels_of, unique_names
from sam2_ros.ui.export.masks import export_masks


def test_eval_reads_the_masks_beside_the_frames(tmp_path):
    export = export_masks(request(tmp_path, tmp_path / "clip.mp4"), frames())
    (export.folder / "frames").mkdir()
    for index in range(FRAMES):
        image = cv2.cvtColor(image_at(index), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(export.folder / "frames" / f"{index:05d}.png"), image)
    (sequence,) = open_dataset(export.folder)
    assert (len(sequence), sequence.fps) == (FRAMES, 25.0)
    for index in range(FRAMES):
        truth = sequence.annotated(index, sequence.image(index))
        expected = (
            masks_at(index) if index < 7 else {2: np.zeros((64, 96), bool), 5: np.zeros((64, 96), bool)}
        )
        np.testing.assert_array_equal(truth.mask("2"), expected[5])  # the ball is in front: it is smaller
        np.testing.assert_array_equal(truth.mask("1"), expected[2] & ~expected[5])


def test_the_images_have_a_palette_and_a_list_of_names(tmp_path):
    export = export_masks(request(tmp_path, tmp_path / "clip.mp4"), frames())
    image = Image.open(export.folder / "masks/00000.png")
    assert image.mode == "P"
    assert json.loads((export.folder / "labels.json").read_text()) == {
        "1": {"name": "cup", "class": "tableware", "object": 2, "colour": "#d02030"},
        "2": {"name": "../ball", "class": "", "object": 5, "colour": "#2030d0"},
    }
    records = json.loads((export.folder / "objects.json").read_text())
    assert [record["frame"] for record in records] == list(range(FRAMES))
    assert records[0]["objects"][0]["area"] == masks_at(0)[2].sum()
    assert records[6]["objects"][1]["area"] == 0
    assert records[7]["objects"] == []


def test_the_zip_holds_the_same_files_and_no_hidden_ones(tmp_path):
    export = export_masks(request(tmp_path, tmp_path / "clip.mp4"), frames())
    assert export.file == export.folder / "my_clip-1-masks.zip"
    with zipfile.ZipFile(export.file) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        inside = archive.read("my_clip-1-masks/masks/00003.png")
    assert inside == (export.folder / "masks/00003.png").read_bytes()
    written = [path for path in export.folder.rglob("*") if path.is_file()]
    plain = {path.relative_to(export.folder).as_posix() for path in written if not path.name.startswith(".")}
    assert set(names) == {f"my_clip-1-masks/{name}" for name in plain - {export.file.name}}
    assert all(".." not in name and "/." not in name for name in names)


def test_frames_that_were_never_tracked_have_no_mask_file(tmp_path):
    export = export_masks(request(tmp_path, tmp_path / "clip.mp4"), frames()[2:4])
    assert sorted(path.name for path in (export.folder / "masks").iterdir()) == ["00002.png", "00003.png"]


def test_frames_of_a_folder_give_their_names(tmp_path):
    named = [
        ExportedFrame(one.index, one.stamp_ns, one.masks, name=f"left_{one.index}.jpg") for one in frames()
    ]
    export = export_masks(request(tmp_path, tmp_path / "clip"), named)
    assert (export.folder / "masks/left_3.png").is_file()


def test_every_export_has_a_new_folder_and_replaces_nothing(tmp_path):
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "my_clip-2").write_text("a file of the user")
    first = export_masks(request(tmp_path, tmp_path / "clip.mp4"), frames())
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    second = export_masks(request(tmp_path, tmp_path / "clip.mp4"), frames())
    assert (first.folder.name, second.folder.name) == ("my_clip-1", "my_clip-3")
    assert {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()} == before
    assert (tmp_path / "exports" / "my_clip-2").read_text() == "a file of the user"


@pytest.mark.parametrize("name", ["../../up", "", "nul", "/etc/passwd", "a\0b", "\ud800", "x" * 999])
def test_a_hostile_name_of_the_source_stays_in_the_exports(tmp_path, name):
    export = export_masks(request(tmp_path, tmp_path / "clip.mp4", name=name), frames())
    assert export.folder.parent == tmp_path / "exports"
    assert export.file is not None
    assert export.file.is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"exports"}


def test_progress_counts_the_frames_and_cancelling_leaves_nothing(tmp_path):
    seen: list[tuple[int, int]] = []
    follow = {"on_progress": lambda *step: seen.append(step), "is_cancelled": lambda: len(seen) == 11}
    export_masks(request(tmp_path, tmp_path / "clip.mp4", on_progress=follow["on_progress"]), frames())
    assert seen == [(done, FRAMES) for done in range(1, FRAMES + 1)]
    with pytest.raises(Cancelled):
        export_masks(request(tmp_path, tmp_path / "clip.mp4", **follow), frames())
    assert [path.name for path in (tmp_path / "exports").iterdir()] == ["my_clip-1"]


def test_a_failure_leaves_nothing_and_passes_on(tmp_path):
    def broken():
        yield frames()[0]
        raise RuntimeError("store")

    with pytest.raises(RuntimeError, match="store"):
        export_masks(request(tmp_path, tmp_path / "clip.mp4"), broken())
    assert list((tmp_path / "exports").iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk):
    rng = np.random.default_rng(0)
    noise = [
        ExportedFrame(index, index, [ExportedMask(2, rng.integers(0, 2, (64, 96)) > 0)])
        for index in range(400)
    ]
    with pytest.raises(UserError, match="free space") as refused:
        export_masks(request(small_disk, small_disk / "clip.mp4"), noise)
    assert "\n" not in str(refused.value)
    assert list((small_disk / "exports").iterdir()) == []


def test_masks_of_another_size_or_of_an_unknown_object_are_refused(tmp_path):
    small = ExportedFrame(0, 0, [ExportedMask(2, np.zeros((4, 4), bool))])
    with pytest.raises(UserError, match="the size of the frames"):
        export_masks(request(tmp_path, tmp_path / "clip.mp4"), [small])
    unknown = ExportedFrame(0, 0, [ExportedMask(7, np.zeros((64, 96), bool))])
    with pytest.raises(UserError, match="object 7"):
        export_masks(request(tmp_path, tmp_path / "clip.mp4"), [unknown])


def test_names_are_made_unique_and_labels_have_no_holes():
    objects = [
        ExportedObject(9, "cup"),
        ExportedObject(3, "cup"),
        ExportedObject(4, " \0"),
        ExportedObject(5, "\ud800"),
    ]
    assert unique_names(objects) == {3: "cup", 4: "object 4", 5: "?", 9: "cup 2"}
    assert labels_of(objects) == {3: 1, 4: 2, 5: 3, 9: 4}
