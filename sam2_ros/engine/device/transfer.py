# SPDX-License-Identifier: Apache-2.0
"""Copies arrays from the host to the device without waiting for the device.

Does not know what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def upload(array: np.ndarray | Sequence[int] | Sequence[bool], device: torch.device) -> torch.Tensor:
    """The array as a tensor on a device.

    To a GPU it goes through pinned memory: a copy from any other waits until all that was launched before is done,
    and the GPU is then idle until the host has caught up.
    """
    tensor = torch.from_numpy(np.asarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
