"""The shipped weights see: nano follows a rendered thing, and real subjects it was never trained on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam2_ros.engine import ObjectState, Prompt, Tracker
from sam2_ros.eval.demo import NANO_IMAGE_SIZE
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.media.render import demo_clip
from sam2_ros.weights import find_checkpoint, load_model


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu")


@pytest.fixture(scope="module")
def demo_nano():
    """At the size of the demo."""
    return load_model("nano", device="cpu", image_size=NANO_IMAGE_SIZE)


def box_of(mask):
    ys, xs = np.nonzero(mask)
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def follow(model, frames, truth, box=None):
    """IoU per frame after the first, prompted with a box on the first, the true one when left out."""
    tracker = Tracker(model)
    ious = []
    for index, (frame, mask) in enumerate(zip(frames, truth, strict=True)):
        prompts = [Prompt("it", box=box or box_of(mask))] if index == 0 else []
        ious.append(mask_iou(tracker.step(frame, prompts).objects[0].mask, mask))
    return np.array(ious[1:])


def test_it_is_small(nano):
    assert nano.parameter_count <= 7_500_000
    assert find_checkpoint("nano").stat().st_size <= 15_500_000


def test_it_follows_a_rendered_thing(demo_nano):
    pytest.importorskip("skimage", reason="the demo clip uses pictures that come with scikit-image")
    clip = demo_clip()
    assert follow(demo_nano, clip.frames, clip.masks[:, 0]).mean() > 0.85


def test_it_finds_a_thing_again_that_was_hidden(demo_nano):
    pytest.importorskip("skimage", reason="the demo clip uses pictures that come with scikit-image")
    clip = demo_clip()
    ious = follow(demo_nano, clip.frames, clip.masks[:, 1])
    hidden = np.flatnonzero(~clip.masks[1:, 1].any(axis=(1, 2)))
    assert ious[: hidden[0] - 10].mean() > 0.6
    assert ious[hidden[-1] + 15 :].mean() > 0.5


def test_it_says_so_when_a_thing_is_hidden(demo_nano):
    pytest.importorskip("skimage", reason="the demo clip uses pictures that come with scikit-image")
    clip = demo_clip()
    truth = clip.masks[:, 1]
    tracker, said_visible = Tracker(demo_nano), 0
    for index, (frame, mask) in enumerate(zip(clip.frames, truth, strict=True)):
        prompts = [Prompt("robot", box=box_of(mask))] if index == 0 else []
        obj = tracker.step(frame, prompts, stamp_s=index / 10).objects[0]
        said_visible += obj.state == ObjectState.TRACKING and not mask.any()
    hidden = int((~truth.any(axis=(1, 2))).sum())
    assert hidden >= 20
    assert said_visible <= 0.1 * hidden


RIDER = (277.0, 73.0, 415.0, 245.0)  # the true box of kite-surf holds the lines of the kite, and much sea


@pytest.mark.parametrize(
    ("sequence", "box", "least"),
    [("davis16_car-shadow", None, 0.6), ("davis16_libby", None, 0.55), ("davis16_kite-surf", RIDER, 0.5)],
)
def test_it_follows_a_real_subject(nano, shared_data, sequence, box, least):
    folder = shared_data / "vos" / sequence
    images = [cv2.imread(str(path))[..., ::-1].copy() for path in sorted((folder / "frames").iterdir())]
    truth = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0 for path in sorted((folder / "masks").iterdir())]
    ious = follow(nano, images, truth, box)
    assert ious.mean() > least
    assert ious[-10:].mean() > 0.25  # still on the subject at the end
