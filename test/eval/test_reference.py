"""`bench --against`: the same answers as the reference where it is installed, and a clear line where it is not."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from sam2_ros.engine import config_for
from sam2_ros.eval.bench import BenchConfig, logit_error, mask_agreement, run_bench
from sam2_ros.eval.reference import Followed, ReferenceMissingError, run_official
from sam2_ros.weights import random_model

FRAME = np.zeros((32, 48, 3), np.uint8)


def followed(*logits: float) -> Followed:
    """One object of 2 x 2 logits on one frame."""
    return Followed([1.0], [np.array(logits, np.float32).reshape(1, 2, 2)])


def test_agreement_is_the_iou_of_masks_and_the_size_of_the_difference() -> None:
    theirs, ours = followed(2, 2, -2, -2), followed(2, -2, -2, -2)
    assert mask_agreement(theirs, theirs) == 1.0
    assert mask_agreement(theirs, ours) == 0.5
    assert logit_error(theirs, theirs) == 0.0
    assert logit_error(theirs, ours) == pytest.approx(
        1.0
    )  # rms of (0, 4, 0, 0) is 2, as that of the reference


@pytest.mark.skipif(importlib.util.find_spec("sam2") is not None, reason="Meta's package sam2 is installed")
def test_without_the_reference_one_line_says_what_to_install() -> None:
    with pytest.raises(
        ReferenceMissingError, match=r"needs Meta's package sam2.*docs/performance\.md"
    ) as raised:
        run_official(random_model(config_for("tiny")), [FRAME], [(0, 0, 9, 9)])
    assert "\n" not in str(raised.value)


def test_another_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="--against caffe given, one of official expected"):
        BenchConfig(against="caffe")


def test_the_official_tracker_says_the_same() -> None:
    pytest.importorskip("sam2", reason="needs Meta's package sam2, in an environment of its own")
    config = BenchConfig("tiny", (1, 2), frames=2, image_size=128, precision="fp32", against="official")
    report = run_bench(config)
    assert report["weights"] == "random"
    for count, timed in report["objects"].items():
        assert report["agreement"][count] > 0.999
        assert timed["official"]["logit_error"] < 1e-3
        assert report["ratio"][count] > 0
