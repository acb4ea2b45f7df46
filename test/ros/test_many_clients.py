# SPDX-License-Identifier: Apache-2.0
"""A thousand random requests from four parallel clients while the camera runs, and the invariants of all replies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.media.ros_image import as_uint8

from .conftest import BOX, HEIGHT_PX, WIDTH_PX, scene, stamp_ns
from .random_client import FAULTS

CLIENTS, CALLS = 4, 250
MAX_OBJECTS = 5
CAMERA_PERIOD_S = 0.08
TIMEOUT_S = 240.0  # a quarter of it is usual on two cores


class Run:
    """All images, requests, replies and results."""

    def __init__(self, sent: list[int], records: list[dict[str, Any]], robot: Any) -> None:
        self.sent = sent
        self.records = records
        self.robot = robot
        self.log = robot.log()
        self.messages = list(robot.received[f"/{robot.name}/objects"])
        self.label_images = list(robot.received[f"/{robot.name}/label_image"])
        self.adds = [record for record in records if record["kind"] == "add"]

    def shown_objects(self) -> Iterator[tuple[int, str, int]]:
        """(image, id, label) of every object in every message, in order; `image` is the index of the message."""
        for number, message in enumerate(self.messages):
            for obj in message.objects:
                yield number, obj.id, obj.label


def kinds(run: Run) -> Counter:
    return Counter(record["kind"] for record in run.records)


@pytest.fixture(scope="module")
def robot(make_robot):
    robot = make_robot(max_objects=MAX_OBJECTS, prompt_history=2.0)
    robot.listen_to_outputs()
    for messages in robot.received.values():
        messages.clear()
    return robot


@pytest.fixture(scope="module")
def run(robot, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("clients")
    environment = {**os.environ, "ROS_DOMAIN_ID": str(robot.domain_id), "OMP_NUM_THREADS": "1"}
    script = str(Path(__file__).with_name("random_client.py"))
    answers = [folder / f"client_{seed}.json" for seed in range(CLIENTS)]
    clients = [
        subprocess.Popen(
            [sys.executable, script, str(seed), str(CALLS), robot.name, str(answer)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, answer in enumerate(answers)
    ]
    try:
        sent = stream_while(robot, clients)
        for client in clients:
            assert client.wait(10) == 0, f"{client.stderr.read()}\n{robot.log()}"
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    records = [record for answer in answers for record in json.loads(answer.read_text())]
    robot.wait_for("the newest image", lambda: robot.objects_at(sent[-1]))
    return Run(sent, records, robot)


def stream_while(robot: Any, clients: list[subprocess.Popen]) -> list[int]:
    """Publish images stamped with the time of day until all clients have finished. Returns the stamps."""
    sent: list[int] = []
    begun_s = time.monotonic()
    while any(client.poll() is None for client in clients):
        assert time.monotonic() - begun_s < TIMEOUT_S, f"clients do not end\n{robot.log()}"
        sent.append(robot.send_image(scene(len(sent) % 30), stamp_ns=time.time_ns()))
        due_s = begun_s + len(sent) * CAMERA_PERIOD_S
        time.sleep(max(0.0, due_s - time.monotonic()))
    return sent


def test_every_call_was_answered_and_no_image_failed(run):
    assert len(run.records) == CLIENTS * CALLS
    assert set(kinds(run)) == {"add", "remove", "remove all", "reset"}
    assert "Traceback" not in run.log
    assert "image failed" not in run.log
    assert "no room for" not in run.log  # as promised by the reply
    summary = run.robot.diagnostics()
    assert (summary["frames_failed"], summary["frames_skipped"]) == ("0", "0")
    assert summary["state"] == "active"


def test_every_answer_to_add_has_an_id_per_prompt_or_the_reason_why_not(run):
    seen = Counter()
    for record in run.adds:
        assert len(record["ids"]) == len(record["prompts"])
        assert record["success"] == all(record["ids"])
        assert bool(record["message"]) == (not record["success"])
        for number, (asked, given) in enumerate(zip(record["prompts"], record["ids"], strict=True), start=1):
            name = asked["id"] or f"#{number}"
            if given:
                assert asked["fault"] == "", record
                assert given == (asked["id"] or given)
                seen["accepted"] += 1
                continue
            reason = record["message"].partition(f"prompt '{name}': ")[2]
            # A valid prompt can be rejected because there is no room, or because the camera had a gap at its stamp.
            full = f"as many as max_objects = {MAX_OBJECTS}"
            expected = [FAULTS[asked["fault"]]] if asked["fault"] else [full, "no image with its stamp"]
            assert any(words in reason for words in expected), record
            seen[asked["fault"] or "no room"] += 1
    assert seen["accepted"] > 100
    assert {"no room", *FAULTS} <= set(seen)


def test_names_that_the_node_gives_are_never_given_twice(run):
    given = [
        object_id
        for record in run.adds
        for asked, object_id in zip(record["prompts"], record["ids"], strict=True)
        if object_id and not asked["id"]
    ]
    assert len(given) > 15
    assert len(set(given)) == len(given)


def test_every_answer_to_remove_names_what_is_left_and_what_was_not_known(run):
    for record in run.records:
        if record["kind"] in ("remove", "remove all"):
            assert not set(record["asked"]) & set(record["ids"])
            assert len(set(record["ids"])) == len(record["ids"]) <= MAX_OBJECTS
            assert record["success"] == (record["message"] == "")
            assert ("ghost" in record["message"]) == ("ghost" in record["asked"])
        if record["kind"] == "remove all":
            assert record["success"]
            assert record["ids"] == []
        if record["kind"] == "reset":
            assert record["success"]
            assert "objects forgotten" in record["message"]


def test_stamps_rise_and_each_is_of_an_image_that_was_sent(run):
    for messages in (run.messages, run.label_images):
        stamps = [stamp_ns(message) for message in messages]
        assert all(earlier < later for earlier, later in pairwise(stamps))
        assert set(stamps) <= set(run.sent)
        assert len(stamps) > 30


def test_no_message_has_two_objects_of_one_id_or_label_or_more_than_there_may_be(run):
    for message in run.messages:
        assert len(message.objects) <= MAX_OBJECTS
        assert len({obj.id for obj in message.objects}) == len(message.objects)
        assert len({obj.label for obj in message.objects}) == len(message.objects)
        assert all(obj.label > 0 for obj in message.objects)
    assert max(len(message.objects) for message in run.messages) == MAX_OBJECTS


def test_a_label_belongs_to_one_id_for_ever_and_rises_with_every_new_life(run):
    owner: dict[int, str] = {}
    latest: dict[str, int] = {}
    lives = Counter()
    for _, object_id, label in run.shown_objects():
        assert owner.setdefault(label, object_id) == object_id
        assert label >= latest.get(object_id, 0)  # a removed object never comes back
        lives[object_id] += label != latest.get(object_id)
        latest[object_id] = label
    assert len(owner) > 30
    assert lives["cup"] > 3  # created and removed again and again


def test_an_object_gets_a_new_label_only_after_it_was_removed(run):
    """Between the two images there must have been a request that explains the change."""
    removals = [record for record in run.records if record["kind"] != "add"]
    before: dict[str, tuple[int, int]] = {}
    for number, object_id, label in run.shown_objects():
        known = before.get(object_id)
        before[object_id] = (number, label)
        if known is None or known[1] == label:
            continue
        # The earlier image was in progress from its stamp on; the later result was published before it was received.
        begun_ns, ended_ns = stamp_ns(run.messages[known[0]]), stamp_ns(run.messages[number]) + 4_000_000_000
        assert any(
            record["replied_ns"] >= begun_ns and record["asked_ns"] <= ended_ns
            for record in removals
            if object_id in record.get("asked", []) or not record.get("asked")
        ), (object_id, known, label)


def test_a_removed_object_is_in_no_image_taken_after_the_reply(run):
    """By its label, because a new object may have the same id."""
    checked = 0
    for record in run.records:
        if record["kind"] == "add":
            continue
        gone = {
            obj.label
            for message in run.messages
            # Received before the request, so the client knew of it; three seconds are longer than any latency.
            if record["asked_ns"] - 6_000_000_000 < stamp_ns(message) < record["asked_ns"] - 3_000_000_000
            for obj in message.objects
            if obj.id in record.get("asked", []) or not record.get("asked")
        }
        for message in run.messages:
            if stamp_ns(message) > record["replied_ns"]:
                assert not gone & {obj.label for obj in message.objects}
        checked += len(gone)
    assert checked > 20


def test_class_ids_stay_with_their_object(run):
    seen = set()
    for message in run.messages:
        for obj in message.objects:
            # Prompts without an id have the class_id "class of ".
            assert obj.class_id in ("", "class of ", f"class of {obj.id}")
            seen.add(obj.class_id)
    assert len(seen) > 3


def test_label_images_agree_with_the_masks_of_the_same_image(run):
    by_stamp = {stamp_ns(message): message for message in run.messages}
    compared = 0
    for image in run.label_images:
        message = by_stamp.get(stamp_ns(image))
        if message is None:
            continue
        label_hw = as_uint8(image.data).view("<u2").reshape(HEIGHT_PX, WIDTH_PX)
        objects = read_objects(message)
        assert set(np.unique(label_hw)) - {0} <= {obj.label for obj in objects}
        claimed = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
        for obj in objects:
            assert not np.any((label_hw == obj.label) & ~obj.mask)
            claimed |= obj.mask
        assert np.array_equal(label_hw > 0, claimed)
        compared += any(obj.mask.any() for obj in objects)
    assert compared > 30


def test_afterwards_all_can_be_removed_and_a_fresh_object_works(run):
    robot = run.robot
    assert list(robot.remove().ids) == []
    assert robot.process(stamp_ns=time.time_ns()).objects == []
    highest = max(label for _, _, label in run.shown_objects())
    reply = robot.add(robot.prompt("fresh", box=BOX))
    assert list(reply.ids) == ["fresh"]
    (fresh,) = robot.process(stamp_ns=time.time_ns()).objects
    assert fresh.id == "fresh"
    assert fresh.label > highest
    assert fresh.area > 0
