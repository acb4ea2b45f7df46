# SPDX-License-Identifier: Apache-2.0
"""Whole training runs: they improve the model, resume after a kill, and several processes keep equal weights.

Runs the command, mostly in separate processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from own_clips import beads, write_beads

from sam2_ros.cli.main import run
from sam2_ros.engine import Prompt, Tracker
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.train.data.sequences import open_sequences
from sam2_ros.weights.load import load_model, read_state

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "random_weights": True, "image_size": 64, "frames": 3, "objects": 1, "correction_clicks": 1, "device": "cpu",
    "precision": "fp32", "threads": 1, "steps": 6, "warmup_steps": 2, "checkpoint_every": 2, "validate_every": 3,
    "log_every": 1, "picture_every": 3, "workers": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_beads(tmp_path_factory.mktemp("data"), 3, 4, 64)


def written(folder, data, **settings):
    path = folder / f"{settings.get('name', 'run')}.yaml"
    values = {"data": str(data), "out": str(folder / settings.pop("name", "run")), **SMALL, **settings}
    path.write_text(yaml.safe_dump(values))
    return path, Path(values["out"])


def command(config, *launcher):
    return [sys.executable, *(launcher or ("-m", "sam2_ros.cli", "train")), str(config)]


def environment():
    paths = [str(ROOT), str(ROOT / "test"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def box_iou_of(model, frames, labels):
    """Mean IoU over the frames after the first, which is prompted with the true box."""
    rows, columns = np.nonzero(labels[0])
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    tracker, ious = Tracker(model), []
    for t, (frame, values) in enumerate(zip(frames, labels, strict=True)):
        result = tracker.step(frame, [Prompt("it", box=box)] if t == 0 else [])
        ious.append(mask_iou(result.objects[0].mask, values > 0))
    return float(np.mean(ious[1:]))


def test_a_few_steps_on_own_clips_teach_nano_what_belongs_to_a_thing(tmp_path, capsys):
    """Rings of beads: nano includes the background inside. Rings on other backgrounds are held out."""
    data = write_beads(tmp_path / "data", 4, 8, 256)
    held_out = [beads(seed, 6, 256) for seed in (100, 103, 104)]
    settings = {
        "random_weights": False, "model": "nano", "image_size": 256, "frames": 3, "clips": 2, "steps": 10,
        "validate_every": 10, "validation_frames": 3, "picture_every": 10, "checkpoint_every": 10, "name": "beads",
        "learning_rate": 3e-4, "encoder_rate": 2e-4,
    }  # fmt: skip
    path, out = written(tmp_path, data, **settings)
    assert run(["train", str(path), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    before, after = (
        np.array([box_iou_of(load_model(weights, "cpu"), *clip) for clip in held_out])
        for weights in ("nano", summary["weights"])
    )
    print(f"held-out IoU of nano {before}, fine-tuned {after}")
    assert before.mean() < 0.75  # otherwise there was nothing to learn
    assert after.mean() > before.mean() + 0.2, (before, after)
    assert after.min() > 0.8
    assert summary["best"]["JF"] > summary["before"]["JF"]
    assert summary == json.loads((out / "summary.json").read_text())


def test_a_run_writes_the_documented_files(data, tmp_path, capsys):
    path, out = written(tmp_path, data)
    assert run(["train", str(path)]) == 0
    shown = capsys.readouterr()
    assert "from seeded random weights on 2 sequences, 1 held out; cpu, fp32" in shown.err
    assert {p.name for p in out.iterdir()} >= {
        "best.safetensors", "last.safetensors", "checkpoint.pt", "log.jsonl", "curves.png", "samples", "summary.json",
    }  # fmt: skip
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "JF" in line] == [0, 3, 6]
    assert all(np.isfinite(line["loss"]) for line in lines if "loss" in line)
    for name in ("curves.png", "samples/000003_training.png", "samples/000006_held_out.png"):
        picture = cv2.imread(str(out / name))
        assert picture.std() > 20, name
    state = read_state(out / "last.safetensors")
    saved = torch.load(out / "checkpoint.pt", weights_only=True)["model"]
    for key, value in saved.items():
        torch.testing.assert_close(state[key], value.half().float(), msg=key)
    assert load_model(out / "last.safetensors", "cpu").config.name == "nano"
    # The same command again has nothing left to do.
    assert run(["train", str(path)]) == 0
    assert "Resuming from step 6 of 6" in capsys.readouterr().err


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(data, tmp_path):
    whole, whole_out = written(tmp_path, data, name="whole", steps=12)
    killed, killed_out = written(tmp_path, data, name="killed", steps=12)
    subprocess.run(command(whole), env=environment(), check=True, capture_output=True)
    process = subprocess.Popen(
        command(killed), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (killed_out / "checkpoint.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    at = torch.load(killed_out / "checkpoint.pt", weights_only=True)["step"]
    assert 0 < at < 12
    again = subprocess.run(command(killed), env=environment(), check=True, capture_output=True, text=True)
    assert f"Resuming from step {at} of 12" in again.stderr
    ends = [torch.load(out / "checkpoint.pt", weights_only=True) for out in (whole_out, killed_out)]
    assert [end["step"] for end in ends] == [12, 12]
    for key, value in ends[0]["model"].items():
        assert torch.equal(value, ends[1]["model"][key]), key
    logs = [
        [
            (line["step"], line.get("loss"), line.get("JF"))
            for line in map(json.loads, (out / "log.jsonl").open())
        ]
        for out in (whole_out, killed_out)
    ]
    assert logs[0] == logs[1]


def test_a_run_of_another_model_is_not_resumed(data, tmp_path, capsys):
    path, _ = written(tmp_path, data, steps=1)
    assert run(["train", str(path)]) == 0
    path, _ = written(tmp_path, data, steps=1, image_size=96)
    assert run(["train", str(path)]) == 2
    assert "image_size: 64, not 96; choose another `out`" in capsys.readouterr().err
    path, out = written(tmp_path, data, steps=2, learning_rate=1e-5)
    assert run(["train", str(path)]) == 0
    assert "Resuming from step 1 of 2" in (said := " ".join(capsys.readouterr().err.split()))
    assert "Changed since: steps, learning_rate." in said
    (out / "checkpoint.pt").write_bytes(b"garbage")
    assert run(["train", str(path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_two_processes_learn_from_different_clips_and_stay_the_same(data, tmp_path):
    path, out = written(tmp_path, data, steps=2, validation_sequences=2, validate_every=2)
    launcher = (
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(20000 + os.getpid() % 20000),
    )
    subprocess.run(
        command(path, *launcher, str(Path(__file__).with_name("two_processes.py"))),
        env=environment(), check=True, capture_output=True, timeout=200,
    )  # fmt: skip
    ranks = [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    for key, value in ranks[0]["weights"].items():
        assert torch.equal(value, ranks[1]["weights"][key]), key
    assert [r["clips"] for r in ranks] == [[[0], [2]], [[1], [3]]]
    for left in ranks:
        one, both, none = left["averaged"]
        assert (one.tolist(), both.tolist(), none) == ([0.5, 0.5], [1.5, 1.5], None)
        assert (left["total"], left["gathered"]) == (3.0, [0, 1])
    alone, alone_out = written(
        tmp_path, data, name="alone", steps=2, validation_sequences=2, validate_every=2
    )
    assert run(["train", str(alone)]) == 0
    single = torch.load(alone_out / "checkpoint.pt", weights_only=True)["model"]
    assert any(not torch.equal(value, single[key]) for key, value in ranks[0]["weights"].items())
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 2]  # one process writes
    untrained = (alone_out / "log.jsonl").read_text().splitlines()[0]
    assert lines[0] == json.loads(untrained)  # the scores of all sequences, from both processes


def test_a_frozen_encoder_stays_and_the_rest_learns_from_cached_features(data, tmp_path, capsys):
    path, out = written(tmp_path, data, steps=2, freeze_encoder=True, cache_features=True)
    assert run(["train", str(path)]) == 0
    assert "16 images encoded" in capsys.readouterr().err
    trained = read_state(out / "last.safetensors")
    path, other_out = written(tmp_path, data, name="other", steps=1, learning_rate=1e-12, encoder_rate=1e-12)
    assert run(["train", str(path)]) == 0
    start = read_state(other_out / "last.safetensors")
    encoder = [key for key in start if key.startswith("image_encoder.")]
    assert all(torch.equal(trained[key], start[key]) for key in encoder)
    assert any(
        not torch.equal(trained[key], start[key]) for key in start if key.startswith("memory_attention.")
    )


def test_a_teacher_accumulation_and_bfloat16_run_together(data, tmp_path):
    from random_models import random_model

    from sam2_ros.engine import config_for
    from sam2_ros.weights.load import save_model

    save_model(random_model(config_for("nano"), seed=3), tmp_path / "teacher.safetensors")
    path, out = written(
        tmp_path, data, steps=2, teacher={"model": str(tmp_path / "teacher.safetensors")}, accumulate=2,
        precision="bf16", checkpoint_gradients=True,
    )  # fmt: skip
    assert run(["train", str(path)]) == 0
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    for line in lines:
        if "loss" in line:
            assert line["teacher_mask"] > 0
            assert line["teacher_features"] > 0
    assert torch.load(out / "checkpoint.pt", weights_only=True)["bridge"] is not None


def test_a_loss_that_is_not_finite_ends_the_run_in_one_line(data, tmp_path, capsys):
    path, _ = written(
        tmp_path, data, learning_rate=1e30, encoder_rate=1e30, warmup_steps=0, validation_sequences=0
    )
    assert run(["train", str(path)]) == 1
    assert "lower learning_rate" in capsys.readouterr().err.splitlines()[-1]


def test_float16_scales_its_losses_and_the_scale_is_kept(data, tmp_path):
    path, out = written(tmp_path, data, steps=3, precision="fp16", checkpoint_every=3)
    assert run(["train", str(path)]) == 0
    scaler = torch.load(out / "checkpoint.pt", weights_only=True)["scaler"]
    assert scaler["scale"] > 1
    state = read_state(out / "last.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in state.values())


def test_the_recipe_of_nano_is_a_configuration_too(tmp_path, capsys):
    pytest.importorskip("skimage", reason="training clips use the pictures that come with scikit-image")
    phase = {"steps": 1, "image_size": 64, "frames": 2, "clips": 1, "learning_rate": "1e-3"}
    values = {
        "recipe": "nano", "out": str(tmp_path / "out"), "precision": "fp32", "phases": [phase], "objects": 1,
        "validation_clips": 1, "validation_frames": 2, "checkpoint_every": 1, "threads": 1,
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    assert run(["train", str(path), "--json"]) == 0
    shown = capsys.readouterr()
    assert "1 steps on rendered clips" in shown.err
    weights = json.loads(shown.out.splitlines()[-1])["weights"]
    assert load_model(weights, "cpu").config.name == "nano"
    assert torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["step"] == 1


def test_masks_written_by_track_can_be_trained_on(data, tmp_path):
    """With frames in SEQ/frames, `track --out SEQ --save masks` makes SEQ a sequence with the objects' labels."""
    sequence = tmp_path / "mine" / "kitchen"
    sequence.mkdir(parents=True)
    (sequence / "frames").symlink_to(data / "clip_0" / "frames")
    arguments = [
        "--box",
        "ring@0:8,8,56,56",
        "--out",
        str(sequence),
        "--overwrite",
        "--save",
        "masks",
        "--device",
        "cpu",
    ]
    assert run(["track", str(sequence / "frames"), *arguments]) == 0
    (kitchen,) = open_sequences([tmp_path / "mine"])
    assert (kitchen.name, kitchen.truth.indices) == ("kitchen", (0, 1, 2, 3))
    truth = kitchen.annotated(0, kitchen.image(0))
    assert (truth.hw, list(truth.masks)) == ((64, 64), ["1"])


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_a_gpu_learns_with_everything_on(precision, data, tmp_path):
    from random_models import random_model

    from sam2_ros.engine import config_for
    from sam2_ros.weights.load import save_model

    save_model(random_model(config_for("nano"), seed=3), tmp_path / "teacher.safetensors")
    path, out = written(
        tmp_path, data, device="cuda", precision=precision, accumulate=2, checkpoint_gradients=True,
        teacher={"model": str(tmp_path / "teacher.safetensors")},
    )  # fmt: skip
    assert run(["train", str(path)]) == 0
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert all(line["gpu_gb"] > 0 and np.isfinite(line["loss"]) for line in lines if "loss" in line)
    kept, cached = written(
        tmp_path, data, name="kept", device="cuda", freeze_encoder=True, cache_features=True
    )
    assert run(["train", str(kept)]) == 0
    assert (cached / "summary.json").exists()
