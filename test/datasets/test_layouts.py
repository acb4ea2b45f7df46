# SPDX-License-Identifier: Apache-2.0
"""Small datasets in every layout are written and read back; faults are one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from vos_layouts import HEIGHT, WIDTH, grey_frames, labels_of, write_frames, write_masks, write_sequence

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.media.annotations import coco_rle, uncompressed_rle
from sam2_ros.media.frame_source import SourceError

ONE = labels_of((1, 5, 5))
TWO = labels_of((1, 5, 5), (2, 30, 20))


def davis(root: Path, names: tuple[str, ...], labels: np.ndarray = TWO, resolution: str = "480p") -> Path:
    for name in names:
        write_frames(root / "JPEGImages" / resolution / name, grey_frames(3))
        write_masks(root / "Annotations" / resolution / name, dict.fromkeys(range(3), labels))
    return root


def write_list(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_own_layout_gives_frames_masks_and_rate(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "cup", grey_frames(12), {0: ONE, 4: TWO})
    (folder / "meta.json").write_text('{"fps": 7.5}')
    for path in (tmp_path, folder):  # a set, and a single sequence of it
        (cup,) = open_dataset(path)
        assert (cup.name, cup.fps, len(cup), cup.overlapping) == ("cup", 7.5, 12, False)
        assert cup.truth.indices == (0, 4)
        assert cup.first_frames == {"1": 0, "2": 4}
    image = cup.image(11)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert abs(int(image.mean()) - 110) <= 1
    truth = cup.annotated(4, image)
    assert truth is not None
    np.testing.assert_array_equal(truth.mask("2"), TWO == 2)
    assert not truth.mask("3").any()
    assert cup.annotated(5, image) is None


def test_255_beside_objects_is_void_and_alone_is_the_object(tmp_path: Path) -> None:
    void = ONE.copy()
    void[30:] = 255
    (several,) = open_dataset(write_sequence(tmp_path / "a", grey_frames(3), {0: void}))
    truth = several.truth.at(0)
    assert list(truth.masks) == ["1"]
    np.testing.assert_array_equal(truth.void_hw, void == 255)
    (one,) = open_dataset(write_sequence(tmp_path / "b", grey_frames(3), {0: ONE * 0, 1: ONE * 255}))
    assert one.first_frames == {"1": 1}
    assert one.truth.at(1).void_hw is None


@pytest.mark.parametrize("mode", ["bit", "grey as colour"])
def test_masks_of_other_image_modes_are_read(tmp_path: Path, mode: str) -> None:
    from PIL import Image

    folder = write_sequence(tmp_path / "a", grey_frames(3), {0: ONE})
    picture = Image.fromarray((ONE * 255).astype(np.uint8))
    picture.convert("1" if mode == "bit" else "RGB").save(folder / "masks" / "00000.png")
    (sequence,) = open_dataset(folder)
    np.testing.assert_array_equal(sequence.truth.at(0).mask("1"), ONE == 1)


def test_davis_splits(tmp_path: Path) -> None:
    root = davis(tmp_path, ("dog", "goat", "horse"))
    write_list(root / "ImageSets" / "2017" / "val.txt", "goat\nhorse\n")
    write_list(root / "ImageSets" / "2016" / "val.txt", "dog\n")
    assert [s.name for s in open_dataset(root)] == ["dog", "goat", "horse"]
    assert [s.name for s in open_dataset(root, "2017/val")] == ["goat", "horse"]
    assert [s.name for s in open_dataset(root, names=["horse"])] == ["horse"]
    assert open_dataset(root, "2017/val")[0].first_frames == {"1": 0, "2": 0}
    (dog,) = open_dataset(root, "2016/val")  # DAVIS 2016 has one object per sequence
    np.testing.assert_array_equal(dog.truth.at(0).mask("1"), TWO > 0)
    assert dog.first_frames == {"1": 0}
    with pytest.raises(SourceError, match=r"more than once: expected one of 2016/val, 2017/val"):
        open_dataset(root, "val")
    with pytest.raises(SourceError, match=r"'nope' .* is not there: expected one of 2016/val, 2017/val"):
        open_dataset(root, "nope")


def test_davis_2016_lists_pairs_of_files(tmp_path: Path) -> None:
    root = davis(tmp_path, ("dog", "goat"), ONE * 255)
    pairs = [f"/JPEGImages/480p/dog/{i:05d}.jpg /Annotations/480p/dog/{i:05d}.png" for i in range(3)]
    write_list(root / "ImageSets" / "480p" / "val.txt", "\n".join(pairs))
    (dog,) = open_dataset(root, "val")
    assert (dog.name, dog.first_frames) == ("dog", {"1": 0})


def test_the_resolution_with_annotations_is_taken(tmp_path: Path) -> None:
    write_frames(tmp_path / "JPEGImages" / "480p" / "dog", grey_frames(3))
    davis(tmp_path, ("dog",), resolution="Full-Resolution")
    (dog,) = open_dataset(tmp_path)
    assert dog.frames.files[0].parent.parent.name == "Full-Resolution"


def test_mose_and_lvos_have_a_folder_for_each_split(tmp_path: Path) -> None:
    write_frames(tmp_path / "train" / "JPEGImages" / "0a1b", grey_frames(3))
    write_masks(tmp_path / "train" / "Annotations" / "0a1b", {0: TWO, 1: TWO, 2: ONE})
    (sequence,) = open_dataset(tmp_path, "train")
    assert (sequence.name, sequence.truth.indices) == ("0a1b", (0, 1, 2))
    with pytest.raises(SourceError, match=r"choose one of train with --split"):
        open_dataset(tmp_path)
    with pytest.raises(SourceError, match=r"in split 'test', its folders are train"):
        open_dataset(tmp_path, "test")


def test_youtube_vos_objects_start_at_their_first_listed_frame(tmp_path: Path) -> None:
    root = tmp_path / "valid"
    write_frames(root / "JPEGImages" / "00f8", grey_frames(11))
    early = labels_of(
        (1, 5, 5), (2, 30, 20), (3, 45, 5)
    )  # 2 is visible before its first listed frame, 3 is not listed
    write_masks(root / "Annotations" / "00f8", {0: early, 5: early, 10: TWO})
    objects = {
        "1": {"category": "cup", "frames": ["00000", "00005", "00010"]},
        "2": {"category": "hand", "frames": ["00005", "00010"]},
    }
    (root / "meta.json").write_text(json.dumps({"videos": {"00f8": {"objects": objects}}}))
    (sequence,) = open_dataset(tmp_path, "valid")
    assert sequence.truth.indices == (0, 5, 10)
    assert sequence.first_frames == {"1": 0, "2": 5}
    assert list(sequence.truth.at(0).masks) == ["1"]


def test_sav_validation_has_a_folder_for_each_object(tmp_path: Path) -> None:
    write_frames(tmp_path / "JPEGImages_24fps" / "sav_7", grey_frames(9))
    for name, x in (("000", 5), ("001", 8)):  # they overlap
        write_masks(tmp_path / "Annotations_6fps" / "sav_7" / name, {0: labels_of((1, x, 5)), 4: ONE})
    (tmp_path / "sav_val.txt").write_text("sav_7\n")
    (sequence,) = open_dataset(tmp_path, "sav_val")
    assert sequence.overlapping
    assert sequence.truth.indices == (0, 4)
    masks = sequence.truth.at(0).masks
    assert {name: mask.sum() for name, mask in masks.items()} == {"000": 100, "001": 100}
    assert (masks["000"] & masks["001"]).sum() == 70


@pytest.mark.parametrize("encode", [coco_rle, uncompressed_rle])
def test_sav_masklets_are_on_every_fourth_frame(tmp_path: Path, encode) -> None:  # type: ignore[no-untyped-def]
    write_frames(tmp_path / "sav_000001", grey_frames(9))
    frames = [[ONE == 1, TWO == 2], [ONE == 1, ONE == 9], [ONE == 9, TWO == 2]]
    record = {
        "video_id": "sav_000001",
        "masklet_id": [0, 7],
        "masklet": [[encode(m) for m in f] for f in frames],
    }
    file = tmp_path / "sav_000001_manual.json"
    file.write_text(json.dumps(record))
    for path in (tmp_path, file):
        (sequence,) = open_dataset(path)
        assert (sequence.name, sequence.overlapping) == ("sav_000001", True)
        assert sequence.truth.indices == (0, 4, 8)
        assert sequence.first_frames == {"0": 0, "7": 0}
        assert list(sequence.truth.at(4).masks) == ["0"]
        np.testing.assert_array_equal(sequence.truth.at(8).mask("7"), TWO == 2)
    (tmp_path / "sav_000001" / "00008.jpg").unlink()
    with pytest.raises(SourceError, match=r"annotates frame 8 but .* has 8 images"):
        open_dataset(file)


def test_faults_of_a_dataset_are_reported(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist; expected a folder with frames/"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no sequence; expected"):
        open_dataset(tmp_path / "empty")
    root = davis(tmp_path / "davis", ("dog",))
    with pytest.raises(SourceError, match=f"did you mean '{root}'"):
        open_dataset(root / "JPEGImages" / "480p" / "dog")
    with pytest.raises(SourceError, match=r"'cat' is not in .*: expected one of dog"):
        open_dataset(root, names=["cat"])
    write_frames(tmp_path / "bare" / "JPEGImages" / "dog", grey_frames(3))
    with pytest.raises(SourceError, match="has no Annotations beside it"):
        open_dataset(tmp_path / "bare")
    (tmp_path / "x_manual.json").write_text("[1]")
    with pytest.raises(SourceError, match=r"x_manual.json' is not an SA-V annotation: expected masklet"):
        open_dataset(tmp_path / "x_manual.json")


def test_faults_of_a_sequence_are_reported(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "a", grey_frames(3), {0: ONE, 1: labels_of((1, 5, 5), size=(20, 30))})
    (sequence,) = open_dataset(folder)
    with pytest.raises(SourceError, match=r"00001.png' is 30 x 20 px, .* expected, 60 x 40: replace one"):
        sequence.annotated(1, sequence.image(1))
    write_masks(tmp_path / "stray", {7: ONE})
    (tmp_path / "stray" / "00007.png").replace(folder / "masks" / "00007.png")
    with pytest.raises(SourceError, match=r"mask '00007.png' belongs to no frame"):
        open_dataset(folder)
    (folder / "masks" / "00007.png").unlink()
    colour = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colour[5:9, 5:9] = (0, 0, 200)
    cv2.imwrite(str(folder / "masks" / "00000.png"), colour)
    with pytest.raises(SourceError, match=r"is a colour image: expected a palette or grey PNG"):
        open_dataset(folder)[0].truth.at(0)
    (folder / "masks" / "00000.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"00000.png' does not decode"):
        open_dataset(folder)[0].truth.at(0)


def test_a_mask_rotated_against_its_frame_is_refused_with_a_hint_on_exif(tmp_path: Path) -> None:
    (sequence,) = open_dataset(write_sequence(tmp_path / "a", grey_frames(3), {0: ONE.T.copy()}))
    with pytest.raises(SourceError, match=r"is 40 x 60 px, .* 60 x 40: .*EXIF orientation is not applied"):
        sequence.annotated(0, sequence.image(0))


def test_masks_that_are_jpegs_are_refused(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "a", grey_frames(3), {0: ONE})
    (folder / "masks" / "00000.png").unlink()
    cv2.imwrite(str(folder / "masks" / "00000.jpg"), ONE * 255)
    with pytest.raises(SourceError, match=r"00000.jpg' is a JPEG, .* expected a palette or grey PNG"):
        open_dataset(folder)[0].truth.at(0)


@pytest.mark.parametrize("second", ["{:05d}_depth.png", "{:05d}.png"])
def test_a_second_series_among_the_frames_of_a_sequence_is_refused(tmp_path: Path, second: str) -> None:
    folder = write_sequence(tmp_path / "a", grey_frames(3), {0: ONE})
    for file in (folder / "frames").iterdir():
        if file.suffix != ".jpg":
            cv2.imwrite(str(file.with_suffix(".jpg")), cv2.imread(str(file)))
            file.unlink()
    for index in range(3):
        cv2.imwrite(str(folder / "frames" / second.format(index)), ONE)
    with pytest.raises(
        SourceError, match=r"sequence 'a': .*frames' has .*: move the files that are not frames"
    ):
        open_dataset(folder)


def test_sequences_that_do_not_open_can_be_skipped(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        write_sequence(tmp_path / name, grey_frames(3), {0: ONE})
    (tmp_path / "a" / "masks" / "00000.png").unlink()
    (tmp_path / "b" / "masks").rename(tmp_path / "b" / "old")
    for file in (tmp_path / "d" / "frames").iterdir():
        file.unlink()
    broken: dict[str, str] = {}
    assert [one.name for one in open_dataset(tmp_path, broken=broken)] == ["c"]
    assert list(broken) == ["a", "b", "d"]
    assert "masks' holds no mask, PNG files named as the frames expected" in broken["a"]
    assert f"has no masks: '{tmp_path / 'b' / 'masks'}' expected" in broken["b"]
    assert "frames' holds no image" in broken["d"]
    with pytest.raises(SourceError, match="holds no mask"):
        open_dataset(tmp_path)
    assert [one.name for one in open_dataset(tmp_path, names=["c"])] == ["c"]


def test_its_identity_changes_with_its_files(tmp_path: Path) -> None:
    folder = write_sequence(tmp_path / "a", grey_frames(3), {0: ONE, 1: ONE})
    before = open_dataset(folder)[0].identity()
    assert open_dataset(folder)[0].identity() == before
    moved = folder.rename(tmp_path / "moved").rename(folder)
    assert open_dataset(moved)[0].identity() == before
    write_masks(tmp_path / "new", {1: labels_of((1, 6, 6))})
    (tmp_path / "new" / "00001.png").replace(folder / "masks" / "00001.png")
    assert open_dataset(folder)[0].identity() != before
    (sequence,) = open_dataset(folder)
    (folder / "frames" / "00002.jpg").unlink()
    with pytest.raises(SourceError, match="a file is gone"):
        sequence.identity()


def test_real_sequences_match_their_meta_json(shared_data: Path) -> None:
    sequences = {sequence.name: sequence for sequence in open_dataset(shared_data / "vos")}
    assert len(sequences) == 8
    fish = sequences["davis17_gold-fish_512"]
    assert (len(fish), sorted(fish.first_frames)) == (78, ["1", "2", "3", "4", "5"])
    assert fish.image(0).shape == (512, 512, 3)
    for name, sequence in sequences.items():
        note = json.loads((shared_data / "vos" / name / "meta.json").read_text())
        assert (len(sequence), sequence.fps) == (note["frames"], note["fps"])
        assert len(sequence.first_frames) == note["objects"]
