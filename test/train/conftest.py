# SPDX-License-Identifier: Apache-2.0
"""One thread for PyTorch in all tests: threads on shared cores wait for each other, and runs must be repeatable."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
