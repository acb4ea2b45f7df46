"""`bench --against`: the same answers as the reference where it is installed, and a clear line where it is not."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from sam2_ros.engine import config_for
from sam2_ros.eval.bench.reference import (
    Followed,
    ReferenceMissingError,
    logit_error,
    mask_agreement,
    open_reference,
)
from sam2_ros.eval.bench.run import BenchConfig, BenchConfigError, run_bench
from sam2_ros.eval.memory_options import MemoryOptions
from sam2_ros.weights import random_model


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
        open_reference("official", random_model(config_for("tiny")))
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_without_transformers_one_line_says_what_to_install() -> None:
    with pytest.raises(ReferenceMissingError, match=r"needs the package transformers.*pip install") as raised:
        open_reference("transformers", random_model(config_for("tiny")))
    assert "\n" not in str(raised.value)


def test_transformers_does_not_run_nano() -> None:
    pytest.importorskip("transformers", reason="needs the package transformers")
    with pytest.raises(ReferenceMissingError, match="cannot run nano, one of tiny, small, base_plus, large"):
        open_reference("transformers", random_model(config_for("nano")))


def test_another_reference_is_refused() -> None:
    with pytest.raises(
        BenchConfigError,
        match="--against caffe given, one of official, official-compiled, transformers expected",
    ):
        BenchConfig(against="caffe")


@pytest.mark.parametrize(
    "bank", [{"conditioning": (4,)}, {"conditioning": (1, 4)}, {"memory": MemoryOptions(memory_every=2)}]
)
def test_a_reference_is_not_compared_with_another_bank(bank) -> None:
    with pytest.raises(BenchConfigError, match=r"another bank than the reference's, which has 1 \+ 6"):
        BenchConfig(against="transformers", **bank)


@pytest.mark.parametrize(
    ("reference", "module", "package"),
    [
        ("official", "sam2", "Meta's package sam2, in an environment of its own"),
        pytest.param(
            "official-compiled",
            "sam2",
            "Meta's package sam2, in an environment of its own",
            marks=pytest.mark.slow,
        ),
        ("transformers", "transformers.models.sam2_video", "the package transformers"),
    ],
)
def test_the_reference_says_the_same(reference: str, module: str, package: str) -> None:
    pytest.importorskip(module, reason=f"needs {package}")
    config = BenchConfig("tiny", (1, 2), frames=2, image_size=128, precision="fp32", against=reference)
    report = run_bench(config)
    assert (report["weights"], report["against"]) == ("random", reference)
    for count, timed in report["objects"].items():
        assert report["agreement"][count] > 0.999
        assert timed[reference]["logit_error"] < 1e-3
        assert report["ratio"][count] > 0
