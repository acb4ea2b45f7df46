# SPDX-License-Identifier: Apache-2.0
"""Copies arrays from the host to the device without waiting for the device.

Does not know what the arrays mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def upload(array: np.ndarray | Sequence[int] | Sequence[bool], device: torch.device) -> torch.Tensor:
    """Copy an array to a device as a tensor.

    A copy to a GPU goes through pinned memory. From other memory it would wait for everything launched before, and the
    GPU would then be idle until the host has launched more.
    """
    tensor = torch.from_numpy(np.asarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
