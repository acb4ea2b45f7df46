# SPDX-License-Identifier: Apache-2.0
"""Loads checkpoints into models, and saves models: the one place that reads and writes weights.

Which checkpoints there are is the business of catalogue.py. Never downloads; does not know how a model computes.
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
    """A model ready for a `Tracker`; size and version are recognised from the keys.

    On a GPU its attention kernels are chosen by timing them there, see `engine.kernels.gpu_choice`.

    Args:
        name_or_path: a name of models.yaml, an official ``.pt``, a ``.safetensors`` (in the official key layout or
            that of transformers' Sam2VideoModel), a folder with one of them, or a Hugging Face id that is cached.
        device: "auto" (the first GPU, else the CPU), "cpu", "cuda:0", ...
        precision: "fp32", "bf16", "fp16", or "auto" (bf16 on a GPU or CPU that is fast in it, else fp32).
        image_size: side of the square input in pixels, a multiple of 32; 0 is the model's own, at which it was
            trained. Smaller is faster and loses small objects.

    Raises CheckpointError: see `find_checkpoint`; a file that is not a SAM 2 checkpoint; an unknown device or
    precision; an image size that does not divide.
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
    """What `load_model` would use, by names it takes: ("cuda:0", "bf16"). Raises CheckpointError."""
    target = _device(device)
    dtype = _precision(precision, target)
    return str(target), next(name for name, known in PRECISIONS.items() if known == dtype)


def compile_cache_dir() -> Path:
    """Where a compiled model's kernels are kept: beside the checkpoints, one folder for each version of PyTorch."""
    return download_dir() / f"inductor-torch-{torch.__version__}"


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, as float32. Never runs code from the file.

    Raises CheckpointError: unreadable, or without tensors.
    """
    state: Any
    try:
        _check_archive(path)
        if path.suffix == ".safetensors":
            with safe_open(str(path), framework="pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is wrong is said once, by the error
                state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("model", state) if isinstance(state, dict) else None
    except Exception as error:  # the unpickler stumbles over garbage in many ways, IndexError too
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
    """Raises ValueError for a zip archive with compressed entries: torch.save has none, a bomb unpacks to anything."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("a compressed archive, which PyTorch does not write")


def _tensor_problem(tensor: torch.Tensor) -> str:
    """Why a tensor is none of a model's weights; "" when it can be."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return f"is {'quantized' if tensor.is_quantized else f'{tensor.layout} on {tensor.device}'}"
    if not tensor.is_floating_point() and tensor.ndim:  # counters of training have no dimension
        return f"holds {tensor.dtype} and no floats"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"claims a shape of {list(tensor.shape)} and has {tensor.untyped_storage().nbytes():,} bytes"
    return ""


def save_model(model: Sam2Model, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a model as float16 safetensors, with its configuration and `notes` in the header; atomic."""
    header = {
        "config": json.dumps({"name": model.config.name, "version": model.config.version}),
        **(notes or {}),
    }
    tensors = {key: value.detach().half().contiguous().cpu() for key, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        save_file(tensors, str(partial), metadata=header)
        partial.chmod(0o644)  # safetensors keeps it to the owner; a shared installation is read by everybody


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
    """A GPU that has it, a CPU with matrix units (AMX), or one that our own kernels use; others are slower in it."""
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
