# SPDX-License-Identifier: Apache-2.0
"""Files that are not weights: each is refused in one line, before it uses memory or runs code."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from random_models import random_model

from sam2_ros.engine.config import config_for
from sam2_ros.errors import CheckpointError
from sam2_ros.weights.catalogue import find_checkpoint
from sam2_ros.weights.load import load_model, read_state

FIRST = "image_encoder.trunk.stem.weight"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return random_model(config_for("nano")).state_dict()


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def with_first(state: dict[str, torch.Tensor], tensor: torch.Tensor) -> dict[str, object]:
    return {"model": {**state, FIRST: tensor}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: torch.zeros(1).expand(1 << 17, *t.shape[1:]),
            r"claims a shape of \[131072, 3, 3, 3\] and has 4 bytes",
        ),
        (lambda t: torch.zeros(1, dtype=torch.float16).expand(1 << 31, *t.shape[1:]), "claims a shape"),
        (lambda t: t.to(torch.int64), "holds torch.int64 and no floats"),
        (lambda t: t.to(torch.complex64), "holds torch.complex64 and no floats"),
        (lambda t: t.to_sparse(), "is torch.sparse_coo"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "is quantized"),
        (lambda t: t.to("meta"), "is torch.strided on meta"),
    ],
)
def test_a_tensor_that_is_no_weight_is_named(tmp_path: Path, state, change, said: str) -> None:
    torch.save(with_first(state, change(state[FIRST])), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=f"'{FIRST}' {said}|not a readable checkpoint") as raised:
        load_model(tmp_path / "a.pt", device="cpu")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_said(tmp_path: Path, state, number: float) -> None:
    broken = state[FIRST].clone()
    broken[3, 1, 2, 2] = number
    torch.save(with_first(state, broken), tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=f"1 of {len(state)} tensors hold numbers that are not finite .*{FIRST}"
    ):
        load_model(tmp_path / "a.pt", device="cpu")


def test_keys_that_are_no_names_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {1: torch.zeros(1)}}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="holds no state dict of tensors"):
        read_state(tmp_path / "a.pt")


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"model": Runs(tmp_path / "ran")}))
    torch.save({"model": {"a": Runs(tmp_path / "ran")}}, tmp_path / "b.pt")
    for name in ("a.pt", "b.pt"):
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            read_state(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/version", "3")
        with archive.open("a/data.pkl", "w", force_zip64=True) as entry:
            for _ in range(256):
                entry.write(bytes(1 << 20))
    assert (tmp_path / "a.pt").stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match="a compressed archive, which PyTorch does not write"):
        read_state(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 200_000,
        json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}).encode(),
        json.dumps({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}).encode(),
        json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}).encode(),
        json.dumps({"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}).encode(),
        b"{}",
        b"null",
        b"",
    ],
)
@pytest.mark.parametrize("length", [None, 2**63, 90_000_000])
def test_a_false_header_is_refused(tmp_path: Path, header: bytes, length: int | None) -> None:
    size = struct.pack("<Q", len(header) if length is None else length)
    (tmp_path / "a.safetensors").write_bytes(size + header + b"1234")
    with pytest.raises(CheckpointError) as raised:
        read_state(tmp_path / "a.safetensors")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", [8224, 100_000 // 32 * 32])
def test_an_image_size_that_no_memory_holds_is_refused(size: int) -> None:
    with pytest.raises(CheckpointError, match=f"image size {size}: expected at most 8192"):
        load_model("nano", image_size=size)


@pytest.mark.parametrize("name", ["meta", "xla", "cuda:99999999", "[/]", "gpu", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="device"):
        load_model("nano", device=name)


@pytest.mark.parametrize("name", ["a\0b", "c\udcff", "/dev/null/x"])
def test_a_name_that_no_file_has_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        find_checkpoint(name)
