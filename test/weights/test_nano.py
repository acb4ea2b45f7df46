# SPDX-License-Identifier: Apache-2.0
"""The shipped weights work: nano tracks a rendered thing, and real subjects that it was not trained on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam2_ros.engine import ObjectState, Prompt, Tracker
from sam2_ros.eval.demo import NANO_IMAGE_SIZE
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.weights.catalogue import find_checkpoint
from sam2_ros.weights.load import load_model

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def nano():
    return load_model("nano", device="cpu")


def box_of(mask):
    ys, xs = np.nonzero(mask)
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)


def follow(model, frames, truth, box=None):
    """IoU on each frame after the first, which is prompted with a box; None = the true box."""
    tracker = Tracker(model)
    ious = []
    for index, (frame, mask) in enumerate(zip(frames, truth, strict=True)):
        prompts = [Prompt("it", box=box or box_of(mask))] if index == 0 else []
        ious.append(mask_iou(tracker.step(frame, prompts).objects[0].mask, mask))
    return np.array(ious[1:])


def test_it_is_small(nano):
    assert nano.parameter_count <= 7_500_000
    assert find_checkpoint("nano").stat().st_size <= 15_500_000


@pytest.fixture(scope="module")
def demo_run():
    """True masks of the demo clip, and nano's results for its two things, prompted with boxes on the first frame."""
    pytest.importorskip("skimage", reason="the demo clip uses pictures that come with scikit-image")
    tracker = Tracker(load_model("nano", device="cpu", image_size=NANO_IMAGE_SIZE))
    clip, results = demo_clip(), []
    for index, frame in enumerate(clip.frames):
        prompts = [] if index else [Prompt(str(n), box=box_of(clip.masks[0, n])) for n in range(2)]
        results.append(tracker.step(frame, prompts, stamp_s=index / 10))
    return clip.masks, results


def overlaps(demo_run, number):
    """IoU with the true mask of one of the demo's things, on each frame after the first."""
    masks, results = demo_run
    pairs = zip(results[1:], masks[1:, number], strict=True)
    return np.array([mask_iou(result.objects[number].mask, mask) for result, mask in pairs])


def test_it_follows_a_rendered_thing(demo_run):
    assert overlaps(demo_run, 0).mean() > 0.85


def test_it_finds_a_thing_again_that_was_hidden(demo_run):
    ious, truth = overlaps(demo_run, 1), demo_run[0][1:, 1]
    hidden = np.flatnonzero(~truth.any(axis=(1, 2)))
    assert ious[: hidden[0] - 10].mean() > 0.6
    assert ious[hidden[-1] + 15 :].mean() > 0.5


def test_a_hidden_thing_is_not_reported_as_tracked(demo_run):
    masks, results = demo_run
    hidden = ~masks[:, 1].any(axis=(1, 2))
    said_visible = [result.objects[1].state == ObjectState.TRACKING for result in results]
    assert hidden.sum() >= 20
    assert (hidden & said_visible).sum() <= 0.1 * hidden.sum()


RIDER = (277.0, 73.0, 415.0, 245.0)  # the true box of kite-surf also has the kite's lines and much sea


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
