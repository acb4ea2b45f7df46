# SPDX-License-Identifier: Apache-2.0
"""The model of the tests of policies."""

from __future__ import annotations

import pytest
import torch

from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.weights.load import load_model


@pytest.fixture(scope="session")
def model() -> Sam2Model:
    torch.set_num_threads(1)
    return load_model("nano", "cpu", "fp32", 256)
