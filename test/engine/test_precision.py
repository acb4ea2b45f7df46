"""Reduced precision is the model's own affair: it ends with the work, and no other thread sees it."""

import threading

import numpy as np
import torch

from sam2_ros.engine import Prompt, Tracker, config_for
from sam2_ros.weights import random_model


def autocast_is_on() -> bool:
    return torch.is_autocast_enabled("cpu")


def test_precision_ends_with_its_block_and_stays_in_its_thread():
    model = random_model(config_for("nano"))
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
