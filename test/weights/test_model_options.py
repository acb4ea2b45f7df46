# SPDX-License-Identifier: Apache-2.0
"""Options of a model are the same for every command and the node, and can be checked without opening the model."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sam2_ros.cli.main import app
from sam2_ros.errors import UserError
from sam2_ros.eval.fingerprint import model_fingerprint
from sam2_ros.node.parameters.params import PARAMETERS
from sam2_ros.weights.catalogue import find_checkpoint
from sam2_ros.weights.open_model import ModelOptions

COMMANDS = ("track", "segment", "eval", "replay", "demo", "bench", "soak")


def test_the_node_has_a_parameter_for_each_with_the_same_default() -> None:
    for field in fields(ModelOptions):
        assert PARAMETERS[field.name].default == field.default


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_option_for_each(command: str) -> None:
    shown = CliRunner(env={"COLUMNS": "300"}).invoke(app, [command, "--help"]).output
    lines = {line.split()[1]: line for line in shown.splitlines() if line.startswith("│ ") and "--" in line}
    lines |= {line.split()[2]: line for line in shown.splitlines() if line.startswith("│ *")}
    for field in fields(ModelOptions):
        assert f"[default: {field.default}]" in lines["--" + field.name.replace("_", "-")]


def test_auto_is_resolved_and_a_path_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = ModelOptions(device="cpu").resolved()
    assert (resolved.model, resolved.device) == ("nano", "cpu")
    assert resolved.precision in ("fp32", "bf16")
    assert resolved.resolved() == resolved
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.pt").touch()
    assert ModelOptions("own.pt").in_any_folder().model == str(tmp_path / "own.pt")
    assert ModelOptions("nano").in_any_folder() == ModelOptions("nano")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "gigantic"}, "model 'gigantic': no such file"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"precision": "int4"}, "precision 'int4'"),
        ({"device": "cpu", "compile": "graphs"}, "compile = 'graphs' on device 'cpu'"),
        ({"backend": "onnx"}, "backend onnx expects a folder"),
    ],
)
def test_options_that_cannot_be_opened_are_refused_without_opening(given: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        ModelOptions(**given).resolved()  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_all_that_changes_the_numbers_is_in_the_fingerprint(tmp_path: Path) -> None:
    options = ModelOptions(device="cpu", precision="fp32")
    plain = model_fingerprint(options)
    own = tmp_path / "own.safetensors"
    own.write_bytes(find_checkpoint("nano").read_bytes() + b" ")
    for changed in (
        ModelOptions(str(own), "cpu", "fp32"),
        ModelOptions("nano", "cpu", "bf16"),
        ModelOptions("nano", "cpu", "fp32", image_size=256),
        ModelOptions("nano", "cpu", "fp32", compile="max"),
    ):
        assert model_fingerprint(changed) != plain
    assert model_fingerprint(ModelOptions(str(find_checkpoint("nano")), "cpu", "fp32")) == plain
