# SPDX-License-Identifier: Apache-2.0
"""One thread for PyTorch: on shared cores threads wait for each other, and runs can be repeated exactly.

Knows nothing of what is tested.
"""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
