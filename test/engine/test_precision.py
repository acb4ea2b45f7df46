# SPDX-License-Identifier: Apache-2.0
"""Reduced precision is local to the model: it ends with its block, and other threads are not affected."""

import threading

import numpy as np
import torch
from random_models import random_model

from sam2_ros.engine import Prompt, Tracker, TrackerConfig, config_for


def autocast_is_on() -> bool:
    return torch.is_autocast_enabled("cpu")


def test_precision_ends_with_its_block_and_stays_in_its_thread():
    model = random_model(config_for("nano").at_image_size(128))
    model.compute_dtype = torch.bfloat16
    elsewhere: list[bool] = []
    with model.precision():
        assert autocast_is_on()
        thread = threading.Thread(target=lambda: elsewhere.append(autocast_is_on()))
        thread.start()
        thread.join()
    assert elsewhere == [False]
    assert not autocast_is_on()
    Tracker(model).step(np.zeros((48, 64, 3), np.uint8), [Prompt("cup", box=(8.0, 8.0, 30.0, 30.0))])
    assert not autocast_is_on()
    assert not torch.is_inference_mode_enabled()


def test_weights_converted_once_answer_as_weights_converted_at_every_call():
    state = random_model(config_for("nano")).state_dict()
    models = []
    for convert in (False, True):
        model = random_model(config_for("nano").at_image_size(128))
        model.load_state_dict(state)
        if convert:
            model.for_inference(torch.bfloat16)
        model.compute_dtype = torch.bfloat16
        models.append(model)
    kept, converted = models
    assert converted.image_encoder["trunk"].attention[0].attn.qkv.weight.dtype == torch.bfloat16
    assert converted.image_encoder["trunk"].attention[0].norm1.weight.dtype == torch.float32
    frames = np.random.default_rng(0).integers(0, 255, (4, 96, 128, 3), dtype=np.uint8)
    answers = []
    for model in (kept, converted):
        tracker = Tracker(model, TrackerConfig(memory_policy="official"))
        prompts = [Prompt("cup", box=(20.0, 20.0, 80.0, 70.0))]
        results = [tracker.step(frame, () if index else prompts) for index, frame in enumerate(frames)]
        answers.append(np.stack([result.objects[0].logits for result in results]))
    # Converted layers add the bias before rounding, in one operator: slightly more exact.
    error = np.sqrt(np.mean((answers[0] - answers[1]) ** 2) / np.mean(answers[0] ** 2))
    assert error < 0.03
    assert np.ptp(answers[0]) > 0
