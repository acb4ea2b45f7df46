# SPDX-License-Identifier: Apache-2.0
"""Loads checkpoints into models, and saves models: the only place that reads and writes weights.

Does not choose checkpoints (see catalogue.py), downloads none, and does not know how a model computes.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sam2_ros.atomic_write import atomic_write
from sam2_ros.engine.kernels.cpu import has_cpu_kernels
from sam2_ros.engine.kernels.gpu_choice import choose_kernels
from sam2_ros.engine.kernels.prepare import prepare
from sam2_ros.engine.model.attention_shapes import large_attentions
from sam2_ros.engine.model.sam2 import PRECISIONS, Sam2Model
from sam2_ros.engine.model.state_dict import check_finite, load_strictly, recognise
from sam2_ros.engine.model.transformers_layout import from_transformers, is_transformers_layout
from sam2_ros.errors import CheckpointError

from .catalogue import download_dir, find_checkpoint

MAX_IMAGE_SIZE = 8192


def load_model(
    name_or_path: str | Path, device: str = "auto", precision: str = "auto", image_size: int = 0
) -> Sam2Model:
    """Load a checkpoint into a model for a `Tracker` or an `ImageSegmenter`. Nothing is downloaded.

    Size and version of the model are recognised from the keys of the checkpoint. On a GPU the attention kernels are
    chosen by timing them, see `engine.kernels.gpu_choice`.

    Args:
        name_or_path: a name of models.yaml, such as "nano" or "tiny"; an official ``.pt``; a ``.safetensors`` in the
            official key layout or in the layout of transformers' `Sam2VideoModel`; a folder with one of them; or the id
            of a Hugging Face model that was downloaded before.
        device: "auto" (the first GPU, else the CPU), "cpu", or "cuda:0", "cuda:1", ...
        precision: "fp32", "bf16", "fp16", or "auto" (bf16 on a GPU or CPU that is fast in it, else fp32).
        image_size: side of the square input in pixels, a multiple of 32, at most 8192; 0 = the size at which the model
            was trained. A smaller size is faster and loses small objects.

    Raises:
        CheckpointError: the checkpoint is not found, or is not a SAM 2 checkpoint; the device or precision is unknown
            or not available; or the image size is out of range.
    """
    target = _device(device)
    dtype = _precision(precision, target)
    if image_size < 0 or image_size % 32:
        nearest = max(32, round(image_size / 32) * 32)
        raise CheckpointError(f"image size {image_size}: expected 0 or a multiple of 32, such as {nearest}")
    if image_size > MAX_IMAGE_SIZE:
        raise CheckpointError(
            f"image size {image_size}: expected at most {MAX_IMAGE_SIZE}; the models were trained at 512 and 1024"
        )
    path = find_checkpoint(name_or_path)
    state = read_state(path)
    try:
        if is_transformers_layout(state):
            state = from_transformers(state)
        config = recognise(state)
        check_finite(state)
        model = Sam2Model(config.at_image_size(image_size or config.image_size))
        load_strictly(model, state)
    except ValueError as error:  # not SAM 2, or a key that transformers does not have
        raise CheckpointError(f"{path}: {error}") from None
    del state  # as large as the model
    model = model.to(target).for_inference(dtype)
    if target.type == "cuda":
        choose_kernels(large_attentions(model.config), model.device, dtype)
    return prepare(model)


def device_and_precision(device: str = "auto", precision: str = "auto") -> tuple[str, str]:
    """The device and precision that `load_model` would use, such as ("cuda:0", "bf16"). Raises CheckpointError."""
    target = _device(device)
    dtype = _precision(precision, target)
    return str(target), next(name for name, known in PRECISIONS.items() if known == dtype)


def compile_cache_dir() -> Path:
    """Where kernels of compiled models are stored: beside the checkpoints, one folder per version of PyTorch."""
    return download_dir() / f"inductor-torch-{torch.__version__}"


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint, as float32. Never runs code from the file.

    Raises:
        CheckpointError: the file cannot be read, or is not a state dict of tensors.
    """
    state: Any
    try:
        _check_archive(path)
        if path.suffix == ".safetensors":
            with safe_open(str(path), framework="pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the error says what is wrong
                state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("model", state) if isinstance(state, dict) else None
    except Exception as error:  # the unpickler raises many kinds for garbage, even IndexError
        first_line = (str(error).splitlines() or [""])[0]
        reason = f"{type(error).__name__}: {first_line.split('. ')[0]}"
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({reason}); expected a SAM 2 .pt or .safetensors"
        ) from None
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items())
    ):
        raise CheckpointError(f"{path} holds no state dict of tensors; expected a SAM 2 .pt or .safetensors")
    for key, value in state.items():
        if problem := _tensor_problem(value):
            raise CheckpointError(f"{path}: tensor '{key}' {problem}; expected a SAM 2 .pt or .safetensors")
    return {key: value.float() for key, value in state.items()}


def _check_archive(path: Path) -> None:
    """Raise ValueError for a zip archive with compressed entries: it may unpack to any size; torch.save has none."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("a compressed archive, which PyTorch does not write")


def _tensor_problem(tensor: torch.Tensor) -> str:
    """Why a tensor cannot be a weight of a model; "" if it can."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return f"is {'quantized' if tensor.is_quantized else f'{tensor.layout} on {tensor.device}'}"
    if not tensor.is_floating_point() and tensor.ndim:  # counters of a training are scalars
        return f"holds {tensor.dtype} and no floats"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"claims a shape of {list(tensor.shape)} and has {tensor.untyped_storage().nbytes():,} bytes"
    return ""


def save_model(model: Sam2Model, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a model as float16 safetensors, atomically.

    Args:
        model: the model; a prepared one is saved with the weights of its checkpoint.
        path: the file; its folder is created.
        notes: stored in the header, beside name and version of the model.
    """
    header = {
        "config": json.dumps({"name": model.config.name, "version": model.config.version}),
        **(notes or {}),
    }
    tensors = {key: value.detach().half().contiguous().cpu() for key, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        save_file(tensors, str(partial), metadata=header)
        partial.chmod(0o644)  # safetensors writes 0600; a shared installation is read by all users


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise CheckpointError(f"device '{name}': expected auto, cpu or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise CheckpointError(f"device '{name}': expected auto, cpu or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CheckpointError(
            f"device '{name}': this PyTorch ({torch.__version__}) sees no GPU; use cpu or auto"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise CheckpointError(
            f"device '{name}': there are {torch.cuda.device_count()} GPUs, counted from cuda:0"
        )
    return device


def _is_fast_in_bfloat16(device: torch.device) -> bool:
    """True for a GPU that supports it, a CPU with matrix units (AMX), or one for which there are C++ kernels."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)  # private, and not in every torch
    return device.type == "cpu" and (bool(has_amx and has_amx()) or has_cpu_kernels(torch.bfloat16))


def _precision(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if _is_fast_in_bfloat16(device) else torch.float32
    if name not in PRECISIONS:
        raise CheckpointError(f"precision '{name}': expected auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]
