# SPDX-License-Identifier: Apache-2.0
"""The statuses on /diagnostics: the fault, its level, and what to do."""

import math

import pytest

from sam2_ros.engine import FrameResult, Prompt
from sam2_ros.node.diagnostics import (
    ERROR,
    OK,
    WARN,
    CameraStatus,
    Rate,
    Statistics,
    camera_line,
    tracking_line,
)
from sam2_ros.node.object_registry import ObjectEntry
from sam2_ros.node.prompt_outcome import DETECTOR, TOPIC
from sam2_ros.node.prompt_queue import QueuedPrompt


def camera(silent_s: float, publishers: int = 1, wanted: bool = True, any_image: bool = True) -> CameraStatus:
    return CameraStatus("/camera/image_raw", wanted, silent_s, publishers, any_image)


@pytest.mark.parametrize(
    ("view", "level", "said"),
    [
        (camera(0.1), OK, "images arrive"),
        (camera(0.1, any_image=False), OK, "waiting for the first image"),
        (camera(math.inf, wanted=False), OK, "no images wanted"),
        (camera(3.0, publishers=0), ERROR, "the topic has no publisher; check the camera and the remapping"),
        (camera(3.0, publishers=1), ERROR, "fastdds.xml"),
    ],
)
def test_a_silent_camera_is_distinguished_from_a_missing_one(view, level, said):
    line = camera_line(view, timeout_s=2.0)
    assert line.level == level
    assert said in line.message


def test_losses_are_a_warning_and_a_node_that_stopped_itself_is_an_error():
    statistics = Statistics()
    assert tracking_line("active", "", statistics, {}).level == OK
    for kind in ("skipped", "not_published", "skipped"):
        statistics.lost(kind)
    line = tracking_line("active", "", statistics, {})
    assert line.level == WARN
    assert line.message == "since the start: 2 images could not be read, 1 messages could not be published"
    line = tracking_line("inactive", "3 images in a row failed", statistics, {})
    assert (line.level, line.message) == (ERROR, "3 images in a row failed")
    assert tracking_line("inactive", "", statistics, {}).message == "node is inactive"


def test_percentiles_are_over_the_last_images():
    statistics = Statistics()
    for milliseconds in range(1, 1001):
        statistics.processed(FrameResult(0, 0.0, 1, 1, timings_ms={"encode": float(milliseconds)}))
    p50, p95, p99 = statistics.percentiles_ms()["encode"]
    assert 845 < p50 < 856  # of 701..1000
    assert 980 < p95 < 990
    assert 995 < p99 <= 1000
    values = statistics.values(received=1003, dropped=3, states={})
    assert values["frames_in"] == "1003"
    assert values["frames_processed"] == "1000"
    assert values["frames_dropped"] == "3"
    assert values["encode_ms_p50"] == f"{p50:.2f}"


def test_results_that_come_late_are_a_warning():
    statistics = Statistics()
    for latency_ms in (200.0, 300.0, 400.0):
        statistics.timed("latency", latency_ms)
    assert tracking_line("active", "", statistics, {}).level == OK
    for _ in range(10):
        statistics.timed("latency", 1500.0)
    line = tracking_line("active", "", statistics, {})
    assert line.level == WARN
    assert "more than 1500 ms after its image" in line.message


def test_a_rate_is_of_the_last_seconds_and_falls_when_nothing_comes():
    rate = Rate()
    assert rate.hz(0.0) == 0.0
    for tick in range(100):
        rate.tick(tick * 0.1)
    assert rate.hz(9.9) == pytest.approx(10.0)
    assert 4 < rate.hz(12.5) < 10.0
    assert rate.hz(20.0) == 0.0


def queued(object_id: str, by_detector: bool = False) -> QueuedPrompt:
    return QueuedPrompt(Prompt(object_id), ObjectEntry(object_id), 0, 0.0, DETECTOR if by_detector else TOPIC)


def test_prompts_of_users_and_of_a_detector_are_counted_apart():
    statistics = Statistics()
    statistics.prompts_accepted = 2
    statistics.prompted("applied", [queued("object_1", by_detector=True), queued("mine")])
    statistics.prompted("late", [queued("cup", by_detector=True)])
    statistics.prompted("applied", [queued("cup", by_detector=True)])
    statistics.prompted("rejected", [queued("other")])
    statistics.prompted(
        "applied", [queued("cup")]
    )  # a user's prompt for an object that a detection had prompted again
    statistics.prompted(
        "rejected", [queued("gone")]
    )  # a user's prompt with the id of an object that a detection had created
    assert statistics.detector_prompts == {"applied": 2, "late": 1}
    values = statistics.values(0, 0, {}, pending=4)
    counts = {
        each: values[f"prompts_{each}"] for each in ("accepted", "applied", "late", "rejected", "pending")
    }
    assert counts == {"accepted": "2", "applied": "2", "late": "0", "rejected": "2", "pending": "4"}
