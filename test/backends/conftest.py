# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the backend tests: nano exported once for two objects, and a rendered clip. Knows no test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sam2_ros.backends.onnx.export import ExportConfig, run_export
from sam2_ros.engine import Sam2Model
from sam2_ros.synthetic.clip import Clip, ClipConfig
from sam2_ros.synthetic.render import render_clip
from sam2_ros.weights.load import load_model


def export_nano(config: ExportConfig, image_size: int = 0) -> dict[str, Any]:
    """As `sam2-ros export nano`."""
    return run_export(config, lambda: load_model("nano", "cpu", "fp32", image_size))


@pytest.fixture(scope="session")
def onnx_packages() -> None:
    pytest.importorskip("onnx", reason="the export needs it: pip install sam2_ros[onnx]")
    pytest.importorskip("onnxruntime", reason="backend onnx needs it: pip install sam2_ros[onnx]")


@pytest.fixture(scope="session")
def nano() -> Sam2Model:
    return load_model("nano", device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def nano_export(onnx_packages: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nano for two objects, with room for two prompted frames and five clicks."""
    folder = tmp_path_factory.mktemp("export") / "nano"
    export_nano(ExportConfig(folder, objects=2, conditioning_frames=2, points=5))
    return folder


@pytest.fixture(scope="session")
def clip() -> Clip:
    return render_clip(seed=0, config=ClipConfig(height_px=240, width_px=320, frames=12, objects=2))
