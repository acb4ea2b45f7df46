# SPDX-License-Identifier: Apache-2.0
"""`bench --against`: the same masks as the reference if it is installed, and a clear error if not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from random_models import random_model

from sam2_ros.bench.against.open_reference import open_reference
from sam2_ros.bench.against.reference import TrackerOutput, logit_error, mask_agreement
from sam2_ros.bench.run import BenchConfig, run_bench
from sam2_ros.engine import config_for
from sam2_ros.errors import UserError
from sam2_ros.eval.memory_options import MemoryOptions
from sam2_ros.weights.open_model import ModelOptions

pytestmark = pytest.mark.long


def one_frame(*logits: float) -> TrackerOutput:
    """One object of 2 x 2 logits on one frame."""
    return TrackerOutput([1.0], [np.array(logits, np.float32).reshape(1, 2, 2)])


def test_agreement_is_the_iou_of_masks_and_the_size_of_the_difference() -> None:
    theirs, ours = one_frame(2, 2, -2, -2), one_frame(2, -2, -2, -2)
    assert mask_agreement(theirs, theirs) == 1.0
    assert mask_agreement(theirs, ours) == 0.5
    assert logit_error(theirs, theirs) == 0.0
    assert logit_error(theirs, ours) == pytest.approx(
        1.0
    )  # rms of (0, 4, 0, 0) is 2, as that of the reference


def refused(model: str, reference: str) -> str:
    """The error of `bench` for a reference that cannot run, raised before anything is timed."""
    timed: list[int] = []
    with pytest.raises(UserError) as raised:
        run_bench(
            BenchConfig(ModelOptions(model, image_size=128), (1,), frames=2, against=reference),
            lambda done, total: timed.append(done),
        )
    assert not timed
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.skipif(importlib.util.find_spec("sam2") is not None, reason="Meta's package sam2 is installed")
@pytest.mark.parametrize("reference", ["official", "official-compiled"])
def test_without_the_reference_one_line_says_what_to_install(reference: str) -> None:
    said = refused("tiny", reference)
    assert said.startswith(f"--against {reference} needs the package sam2, which this Python cannot import")
    assert "docs/explanation/performance.md" in said


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_without_transformers_one_line_says_what_to_install() -> None:
    said = refused("tiny", "transformers")
    assert "needs the package transformers" in said
    assert "pip install" in said


def test_a_package_that_is_there_and_cannot_be_imported_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `sam2` with a torchvision for another build of torch."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sam2").mkdir()
    for module in ("sam2", "sam2.build_sam"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "sam2/__init__.py").write_text(
        "raise ImportError('operator torchvision::nms does not exist')"
    )
    with pytest.raises(UserError, match=r"torchvision::nms.*docs/explanation/performance\.md"):
        open_reference("official", random_model(config_for("tiny")))


def test_transformers_does_not_run_nano() -> None:
    pytest.importorskip("transformers", reason="needs the package transformers")
    assert "cannot run nano, one of tiny, small, base_plus, large" in refused("nano", "transformers")


def test_another_reference_is_refused() -> None:
    with pytest.raises(
        UserError,
        match="--against caffe given, one of official, official-compiled, transformers expected",
    ):
        BenchConfig(against="caffe")


@pytest.mark.parametrize(
    "bank", [{"conditioning": (4,)}, {"conditioning": (1, 4)}, {"memory": MemoryOptions(memory_every=2)}]
)
def test_a_reference_is_not_compared_with_another_bank(bank) -> None:
    with pytest.raises(UserError, match=r"another memory bank than the reference's 1 \+ 6"):
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
def test_masks_agree_with_the_reference(reference: str, module: str, package: str) -> None:
    pytest.importorskip(module, reason=f"needs {package}")
    config = BenchConfig(
        ModelOptions("tiny", precision="fp32", image_size=128), (1, 2), frames=2, against=reference
    )
    report = run_bench(config)
    assert (report["weights"], report["against"]) == ("random", reference)
    for count, timed in report["objects"].items():
        assert report["agreement"][count] > 0.999
        assert timed[reference]["logit_error"] < 1e-3
        assert report["ratio"][count] > 0
