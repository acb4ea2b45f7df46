# SPDX-License-Identifier: Apache-2.0
"""Valid training configurations, and the one-line errors of wrong ones."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from own_clips import beads, write_beads, write_clip
from PIL import Image

from sam2_ros.cli.main import run
from sam2_ros.errors import UserError
from sam2_ros.train.checkpoint import load_checkpoint, save_checkpoint
from sam2_ros.train.nano.recipe import NanoConfig
from sam2_ros.train.read_config import fill, read_config
from sam2_ros.train.run import RecipeConfig
from sam2_ros.train.train_config import SIZES, FinetuneConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_beads(tmp_path_factory.mktemp("data"), 2, 3, 64)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"learning_rte": 1e-5}, "unknown key 'learning_rte'; did you mean learning_rate?"),
        ({"augment": {"flipp": 0.5}}, "unknown key 'augment: flipp'; did you mean flip?"),
        ({"augment": 3}, "augment: 3 given, lines of `key: value` below it expected"),
        ({"augment": {"clip_jitter": [0.1]}}, "augment: clip_jitter"),
        ({"steps": "many"}, "steps: 'many' given, a whole number expected"),
        ({"steps": 0}, "steps: 0 given, 1 or more expected"),
        ({"steps": True}, "steps: True given"),
        ({"learning_rate": "fast"}, "learning_rate: 'fast' given, a number expected"),
        ({"freeze_encoder": "yes please"}, "true or false expected"),
        ({"precision": "int8"}, "precision: 'int8' given, one of auto, fp32, bf16, fp16 expected"),
        ({"image_size": 100}, "image_size: 100 given"),
        ({"mask_share": 0.8, "click_share": 0.4}, "mask_share + click_share"),
        ({"cache_features": True}, "set freeze_encoder: true"),
        ({"cache_features": True, "freeze_encoder": True, "teacher": {"model": "tiny"}}, "teacher: "),
        ({"freeze_encoder": True, "teacher": {"model": "tiny"}}, "feature_weight: 0"),
        ({"data": "nowhere"}, "dataset 'nowhere' does not exist; expected a folder with frames/ and masks/"),
        ({"validation_sequences": 2}, "data has 2 sequence(s), and 2 are to be held out"),
        ({"model": "gigantic"}, "gigantic"),
        ({"model": "gigantic", "random_weights": True}, "gigantic"),
        ({"device": "cuda:99"}, "device: 'cuda:99' given"),
        ({"device": "abacus"}, "device: 'abacus' given, auto, cpu, cuda or cuda:N expected"),
        ({"teacher": {"model": "missing.pt"}}, "missing.pt"),
        ({"recipe": "soup"}, "recipe: 'soup' given, one of nano expected"),
        ({"recipe": "nano", "data": ["x"]}, "unknown key 'data'"),
    ],
)
def test_a_wrong_configuration_is_one_line_that_names_it(values, expected, data, tmp_path, capsys):
    path = tmp_path / "c.yaml"
    given = {"out": str(tmp_path / "out"), **({} if "recipe" in values else {"data": str(data)}), **values}
    path.write_text(yaml.safe_dump(given))
    assert run(["train", str(path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert expected in lines[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "lines of `key: value` expected"),
        ("- a", "lines of"),
        ("a: [", "is not YAML"),
        ("steps: 5", "data, out"),
    ],
)
def test_a_file_that_is_no_configuration(text, expected, tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert run(["train", str(path)]) == 2
    assert expected in capsys.readouterr().err
    assert run(["train", str(tmp_path / "none.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_numbers_as_people_write_them(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("data: [a, b]\nout: x\nlearning_rate: 5e-6\nclip_gradient: 1\naugment: {flip: 0}\n")
    config = fill(FinetuneConfig, read_config(path))
    assert config.data == ("a", "b")
    assert (config.learning_rate, config.clip_gradient, config.augment.flip) == (5e-6, 1.0, 0.0)


def test_the_shipped_configurations_are_good():
    shipped = sorted(path.name for path in (ROOT / "config" / "train").glob("*.yaml"))
    assert shipped == ["finetune.yaml", "nano.yaml", "nano_short.yaml"]
    fill(FinetuneConfig, read_config(ROOT / "config" / "train" / "finetune.yaml"))
    own = {field.name for field in fields(RecipeConfig)}
    for name in ("nano.yaml", "nano_short.yaml"):
        values = read_config(ROOT / "config" / "train" / name)
        assert (
            fill(RecipeConfig, {key: value for key, value in values.items() if key in own}).recipe == "nano"
        )
        fill(NanoConfig, {key: value for key, value in values.items() if key not in own})


def test_every_setting_and_every_size_is_in_the_guide():
    text = (ROOT / "docs" / "how-to" / "train.md").read_text()
    from sam2_ros.train.train_config import AugmentConfig, TeacherConfig

    for kind in (FinetuneConfig, AugmentConfig, TeacherConfig):
        assert [f.name for f in fields(kind) if f"`{f.name}" not in text] == []
    for name, rates in SIZES.items():
        assert (
            f"| {name} | {rates.learning_rate:g} | {rates.encoder_rate:g} | {rates.layer_decay:g} |" in text
        )


def wrong_size(folder):
    frames, labels = beads(0, 3, 64)
    write_clip(folder / "s", frames, labels[:, :32])


def in_colour(folder):
    write_clip(folder / "s", *beads(0, 3, 64))
    Image.new("RGB", (64, 64), "red").save(folder / "s" / "masks" / "00000.png")


def without_masks(folder):
    write_clip(folder / "s", *beads(0, 3, 64))
    for path in (folder / "s" / "masks").glob("*.png"):
        path.rename(path.with_name("a" + path.name))


def without_objects(folder):
    frames, labels = beads(0, 3, 64)
    write_clip(folder / "s", frames, labels * 0)


def truncated(folder):
    write_clip(folder / "s", *beads(0, 3, 64))
    path = folder / "s" / "masks" / "00001.png"
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: None, "data' holds no sequence; expected a folder with frames/ and masks/"),
        (
            wrong_size,
            "00000.png' is 64 x 32 px, the size of its frame expected, 64 x 64: replace one of them",
        ),
        (in_colour, "00000.png' is a colour image: expected a palette or grey PNG"),
        (without_masks, "belongs to no frame, the name of one expected, such as '00000.png'"),
        (without_objects, "no mask has an object"),
        (truncated, "00001.png' does not decode"),
    ],
)
def test_data_that_cannot_be_used_is_one_line_that_names_the_file(spoil, expected, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    spoil(tmp_path / "data")
    config = {
        "data": str(tmp_path / "data"), "out": str(tmp_path / "out"), "validation_sequences": 0, "steps": 1,
        "random_weights": True, "image_size": 64, "frames": 3, "device": "cpu", "objects": 1,
    }  # fmt: skip
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(config))
    assert run(["train", str(path)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sam2-ros:")]
    assert len(lines) == 1
    assert expected in lines[0]


def test_a_configuration_in_python_is_checked_too():
    with pytest.raises(UserError, match="reverse"):
        FinetuneConfig(data=("a",), out="b", reverse=2.0)


def test_a_checkpoint_of_the_other_trainer_is_refused_in_one_line(tmp_path):
    config, path = FinetuneConfig(data=("a",), out="b"), tmp_path / "checkpoint.pt"
    save_checkpoint(path, config, 3, {"model": torch.nn.Linear(1, 1), "bridge": None})
    state = {"model": torch.nn.Linear(1, 1), "bridge": None}
    assert load_checkpoint(path, config, ("model",), state) == (3, {}, [])
    with pytest.raises(UserError, match=r"another kind of run \(no averaged\); choose another `out`"):
        load_checkpoint(path, config, ("model",), {**state, "averaged": torch.nn.Linear(1, 1)})
