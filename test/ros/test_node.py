# SPDX-License-Identifier: Apache-2.0
"""One live node: images and prompts in, objects and label image out, each with the header of its image."""

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.media.ros_image import as_uint8

from .conftest import BOX, DISC, HEIGHT_PX, WIDTH_PX, ids, labels, scene, stamp_ns


@pytest.fixture(scope="module")
def node(make_robot):
    robot = make_robot(max_objects=4, camera_timeout=3.0)
    robot.listen_to_outputs()
    return robot


@pytest.fixture
def robot(node):
    """The module's node without objects, with all outputs on."""
    node.enable(True)
    node.reset()
    node.process()
    for messages in node.received.values():
        messages.clear()
    return node


def process_until(robot, condition, images=50):
    """Send images until a TrackedObjectArray fulfils `condition`: a prompt on a topic may arrive a few images later."""
    for _ in range(images):
        message = robot.process()
        if condition(message):
            return message
    pytest.fail(f"not within {images} images\n{robot.log()}")


def test_outputs_carry_the_header_and_size_of_their_image(robot):
    robot.add(robot.prompt("box", box=BOX))
    message = robot.process(scene(), frame_id="camera")
    assert message.header.frame_id == message.position_frame_id == "camera"
    assert (message.image_height, message.image_width) == (HEIGHT_PX, WIDTH_PX)
    stamp = stamp_ns(message)
    label_image = robot.wait_for("the label image", lambda: robot.label_image_at(stamp))
    assert label_image.header == message.header
    assert message.objects[0].mask.header == message.header
    assert (label_image.encoding, label_image.step) == ("mono16", 2 * WIDTH_PX)
    assert len(label_image.data) == 2 * WIDTH_PX * HEIGHT_PX


def test_an_image_without_objects_gives_an_empty_message(robot):
    assert robot.process().objects == []


def test_message_mask_box_area_and_label_image_agree(robot):
    robot.add(robot.prompt("box", box=BOX), robot.prompt("disc", points=[(*DISC, True)], class_id="toy"))
    message = robot.process()
    label_image = robot.wait_for("the label image", lambda: robot.label_image_at(stamp_ns(message)))
    label_hw = as_uint8(label_image.data).view("<u2").reshape(HEIGHT_PX, WIDTH_PX)
    assert [obj.class_id for obj in message.objects] == ["", "toy"]
    for obj, read in zip(message.objects, read_objects(message), strict=True):
        assert obj.area == np.count_nonzero(read.mask)
        assert obj.mask.encoding == "mono8"
        assert not np.any((label_hw == obj.label) & ~read.mask)
    claimed = np.any([read.mask for read in read_objects(message)], axis=0)
    assert np.array_equal(label_hw > 0, claimed)


def test_a_prompt_on_the_topic_starts_and_refines_an_object(robot):
    robot.send_prompts(robot.prompt("cup", box=BOX, class_id="cup"))
    first = process_until(robot, lambda message: "cup" in ids(message))
    robot.send_prompts(robot.prompt("cup", points=[(50, 50, True), (110, 80, False)]))
    second = robot.process()
    assert labels(second) == labels(first)
    assert second.objects[0].class_id == "cup"


def test_the_node_names_objects_in_request_order_and_replies_before_any_image(robot):
    reply = robot.add(
        robot.prompt(box=BOX),
        robot.prompt("mine", points=[(*DISC, True)]),
        robot.prompt(points=[(*DISC, True)]),
    )
    assert reply.success, reply.message
    assert len(set(reply.ids)) == 3
    assert reply.ids[1] == "mine"
    assert ids(robot.process()) == list(reply.ids)


def test_label_and_id_stay_paired_whatever_is_added_and_removed(robot):
    robot.add(*(robot.prompt(name, box=BOX) for name in "abc"))
    known = labels(robot.process())
    assert len(set(known.values())) == 3
    reply = robot.remove("b")
    assert reply.success
    assert list(reply.ids) == ["a", "c"]
    assert labels(robot.process()) == {"a": known["a"], "c": known["c"]}
    robot.add(robot.prompt("d", box=BOX), robot.prompt("b", box=BOX))
    now = labels(robot.process())
    assert {"a": known["a"], "c": known["c"]}.items() <= now.items()
    assert set(now) == {"a", "b", "c", "d"}
    assert not {now["b"], now["d"]} & set(known.values())  # a label is never given twice
    assert now["b"] == max(now.values())
    robot.remove("b")  # the newest, too
    robot.add(robot.prompt("b", box=BOX))
    again = labels(robot.process())
    assert again["b"] > max(now.values())
    now = again
    robot.reset()
    assert robot.process().objects == []
    robot.add(robot.prompt("a", box=BOX))
    assert robot.process().objects[0].label > max(now.values())


def test_remove_tells_unknown_ids_and_no_ids_means_all(robot):
    robot.add(robot.prompt("a", box=BOX), robot.prompt("b", box=BOX))
    robot.process()
    reply = robot.remove("ghost")
    assert not reply.success
    assert "ghost" in reply.message
    assert list(reply.ids) == ["a", "b"]
    assert robot.remove().success
    assert robot.process().objects == []


def test_a_removed_object_never_appears_again_even_from_an_image_in_progress(robot):
    for _ in range(3):
        robot.add(robot.prompt("a", box=BOX))
        robot.process()
        robot.send_image(scene())  # in progress, or about to be, when the removal is requested
        robot.remove("a")
        confirmed = len(robot.received["/sam2/objects"])
        robot.process()
        # One message may have been sent before the reply.
        assert all("a" not in ids(m) for m in robot.received["/sam2/objects"][confirmed + 1 :])


def test_bad_prompts_are_refused_by_name_and_the_others_are_accepted(robot):
    small_mask = Image(height=2, width=2, step=2, encoding="mono8", data=[255] * 4)
    reply = robot.add(
        robot.prompt("three", box=(1, 2, 3)),
        robot.prompt("good", box=BOX),
        robot.prompt("nan", box=(float("nan"), 2, 30, 40)),
        robot.prompt("nothing"),
        robot.prompt("outside", points=[(500, 10, True)]),
        robot.prompt("mask", mask=small_mask),
        robot.prompt("map", box=BOX, header=Header(frame_id="map")),
    )
    assert not reply.success
    assert list(reply.ids) == ["", "good", "", "", "", "", ""]
    for name in ("three", "nan", "nothing", "outside", "mask", "map"):
        assert f"'{name}'" in reply.message
    assert ids(robot.process()) == ["good"]


def test_a_bad_prompt_on_the_topic_is_logged_and_the_others_are_accepted(robot):
    robot.send_prompts(robot.prompt("flat", box=(5, 5, 5, 9)), robot.prompt("fine", box=BOX))
    message = process_until(robot, lambda message: "fine" in ids(message))
    assert ids(message) == ["fine"]
    robot.wait_for("the log line", lambda: "rejected: prompt 'flat'" in robot.log())


def test_one_object_too_many_is_refused_with_the_reason(robot):
    reply = robot.add(*(robot.prompt(name, box=BOX) for name in "abcde"))
    assert list(reply.ids) == ["a", "b", "c", "d", ""]
    assert "max_objects = 4" in reply.message
    assert ids(robot.process()) == ["a", "b", "c", "d"]
    assert robot.add(robot.prompt("a", points=[(50, 50, True)])).success


def test_a_mask_prompt_with_padded_rows_is_read_row_by_row(robot):
    mask_hw = np.zeros((HEIGHT_PX, WIDTH_PX + 16), np.uint8)
    mask_hw[30:70, 30:70] = 255
    padded = Image(height=HEIGHT_PX, width=WIDTH_PX, step=WIDTH_PX + 16, encoding="mono8")
    padded.data = mask_hw.tobytes()
    plain = Image(height=HEIGHT_PX, width=WIDTH_PX, step=WIDTH_PX, encoding="mono8")
    plain.data = mask_hw[:, :WIDTH_PX].tobytes()
    assert robot.add(robot.prompt("padded", mask=padded), robot.prompt("plain", mask=plain)).success
    first, second = read_objects(robot.process())
    assert np.array_equal(first.mask, second.mask)
    assert first.presence == pytest.approx(second.presence, abs=1e-3)


def test_the_image_a_prompt_was_made_for_is_not_dropped_however_many_come_after_it(robot):
    newest = stamp_ns(robot.process())
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = divmod(newest + 200_000_000, 1_000_000_000)
    assert robot.add(robot.prompt("box", box=BOX, header=header)).success
    # The awaited image comes while the node is busy, and a burst follows. DDS also has a queue of one, and must not
    # drop the image before the node has received it.
    for pause_s in (0.01, 0.3, 0.0, 0.0, 0.0):
        sent = robot.send_image(scene())
        time.sleep(pause_s)
    robot.wait_for("the newest image", lambda: robot.objects_at(sent))
    first = next(m for m in robot.received["/sam2/objects"] if m.objects and m.objects[0].area)
    assert stamp_ns(first) == newest + 200_000_000


def test_a_corrupt_image_is_skipped_and_counted_and_the_objects_live_on(robot):
    robot.add(robot.prompt("box", box=BOX))
    before = labels(robot.process())
    skipped = int(robot.diagnostics()["frames_skipped"])
    robot.send_image(scene(), "rgb8", data=b"short")
    robot.wait_for("the log line", lambda: "image skipped" in robot.log())
    robot.send_image(scene(), "yuv999")
    assert labels(robot.process()) == before
    summary = robot.diagnostics()
    # The second may have been replaced by the good image in the mailbox.
    assert int(summary["frames_skipped"]) in (skipped + 1, skipped + 2)
    assert summary["tracking"]["level"] == 1
    assert "could not be read" in summary["tracking"]["message"]


def test_tracking_continues_after_a_change_of_size_and_encoding(robot):
    robot.add(robot.prompt("box", box=BOX))
    before = labels(robot.process())
    large = np.repeat(np.repeat(scene(), 2, axis=0), 2, axis=1)
    message = robot.process(np.ascontiguousarray(large[..., ::-1]), "bgr8")
    assert labels(message) == before
    assert (message.image_height, message.image_width) == (2 * HEIGHT_PX, 2 * WIDTH_PX)


@pytest.mark.parametrize("kind", ["time", "frame_id"])
def test_a_jump_of_the_stream_keeps_every_object_under_its_id_and_label(robot, kind):
    robot.add(robot.prompt("box", box=BOX), robot.prompt("disc", points=[(*DISC, True)]))
    before = labels(robot.process())
    if kind == "time":
        message = robot.process(stamp_ns=robot.next_stamp_ns() - 60_000_000_000)
        said = "time jumped back by 59.90 s"
    else:
        message = robot.process(frame_id="wrist")
        said = "frame_id changed from 'camera' to 'wrist'"
    assert labels(message) == before
    robot.wait_for("the log line", lambda: said in robot.log())
    if kind == "time":
        robot.next_stamp_ns(120_000_000_000)  # later tests continue with later stamps


def test_newest_wins_no_image_twice_order_kept_and_losses_counted(robot):
    before = robot.diagnostics()
    robot.add(robot.prompt("box", box=BOX))
    sent = []
    begun_s = time.monotonic()
    for shift in range(60):
        sent.append(robot.send_image(scene(shift % 30)))
        # 100 images per second: more than the node can track, not more than it can take in.
        time.sleep(max(0.0, begun_s + 0.01 * (shift + 1) - time.monotonic()))
    robot.wait_for("the newest image", lambda: robot.objects_at(sent[-1]))
    stamps = [stamp_ns(m) for m in robot.received["/sam2/objects"]]
    assert stamps == sorted(set(stamps))
    assert set(stamps) <= set(sent)
    assert len(stamps) < len(sent)

    def counted():
        after = robot.diagnostics()
        count = {name: int(after[name]) - int(before[name]) for name in after if name.startswith("frames_")}
        return count["frames_processed"] == len(stamps) and count  # the last one is counted after it was sent

    count = robot.wait_for("the count of the last image", counted)
    assert count["frames_dropped"] > 0
    assert count["frames_in"] == count["frames_processed"] + count["frames_dropped"]


def test_an_output_without_subscribers_is_not_made_but_tracking_continues(robot):
    robot.add(robot.prompt("box", box=BOX))
    robot.process()
    robot.deafen("/sam2/objects")
    robot.deafen("/sam2/label_image")

    def published_and_processed():
        summary = robot.diagnostics()
        return int(summary["messages_published"]), int(summary["frames_processed"])

    # Messages may still be sent until the node has noticed that its subscribers are gone.
    def silent_round():
        before = published_and_processed()
        robot.send_image(scene())
        after = published_and_processed()
        return after[0] == before[0] and after[1] == before[1] + 1

    robot.wait_for("a tracked image without a message", silent_round)
    robot.listen_to_outputs()
    assert ids(robot.process()) == ["box"]


def test_debug_image_is_made_when_asked_for(robot):
    debug_images = robot.listen(Image, "/sam2/debug_image")
    robot.process()
    assert debug_images == []
    assert robot.set_parameter("use_debug", True).successful
    robot.add(robot.prompt("box", box=BOX))
    for _ in range(50):
        message = robot.process()
        if debug_images:
            break
    debug_image = robot.wait_for("the debug image", lambda: debug_images and debug_images[-1])
    assert debug_image.encoding == "rgb8"
    assert (debug_image.height, debug_image.width) == (message.image_height, message.image_width)
    assert robot.set_parameter("use_debug", False).successful
    robot.deafen("/sam2/debug_image")


def test_enable_stops_and_starts_the_work_and_keeps_the_objects(robot):
    robot.add(robot.prompt("box", box=BOX))
    before = labels(robot.process())
    assert robot.enable(False).success
    ignored = robot.send_image(scene())
    summary = robot.diagnostics()
    assert summary["enable"] == "false"
    assert summary["camera"]["level"] == 0
    assert robot.objects_at(ignored) is None
    assert robot.enable(True).success
    assert labels(robot.process()) == before
    assert robot.objects_at(ignored) is None


def test_a_silent_camera_is_an_error_until_it_is_back(robot):
    robot.process()
    summary = robot.wait_for(
        "the error", lambda: (summary := robot.diagnostics())["camera"]["level"] == 2 and summary
    )
    assert "no image on /camera/image_raw for" in summary["camera"]["message"]
    robot.wait_for("its end", lambda: robot.process() and robot.diagnostics()["camera"]["level"] == 0)


def test_after_a_reset_diagnostics_count_nothing_that_is_gone_although_no_image_comes(robot):
    newest = stamp_ns(robot.process())
    ahead = Header(frame_id="camera")
    ahead.stamp.sec, ahead.stamp.nanosec = divmod(newest + 60_000_000_000, 1_000_000_000)
    robot.add(robot.prompt("box", box=BOX), robot.prompt("disc", points=[(*DISC, True)]))
    robot.process()
    assert robot.add(robot.prompt("later", box=BOX, header=ahead)).success

    def counts():
        summary = robot.diagnostics()
        return [int(summary[f"objects_{each}"]) for each in ("pending", "tracking", "occluded", "lost")], int(
            summary["prompts_pending"]
        )

    states, pending = counts()
    assert (sum(states), pending) == (2, 1)
    robot.remove("disc")
    states, pending = counts()
    assert (sum(states), pending) == (1, 1)
    robot.reset()
    assert counts() == ([0, 0, 0, 0], 0)


def test_diagnostics_tell_times_states_model_and_device(robot):
    robot.add(robot.prompt("box", box=BOX))
    robot.process()
    robot.process()
    summary = robot.diagnostics()
    for stage in ("encode", "total", "latency"):
        p50, p95, p99 = (float(summary[f"{stage}_ms_p{share}"]) for share in (50, 95, 99))
        assert 0 < p50 <= p95 <= p99
    states = [int(summary[f"objects_{name}"]) for name in ("pending", "tracking", "occluded", "lost")]
    assert sum(states) == 1
    assert summary["state"] == "active"
    assert summary["device"]
    assert summary["model"]
    assert summary["precision"] in ("float32", "bfloat16", "float16")
    assert float(summary["resident_mb"]) > 50
    assert float(summary["memory_bank_mb"]) > 0
    assert float(summary["image_history_mb"]) >= 3 * HEIGHT_PX * WIDTH_PX / 1e6 - 0.05
    assert float(summary["rate_in_hz"]) > 0
    assert float(summary["rate_out_hz"]) > 0
    assert int(summary["prompts_applied"]) <= int(summary["prompts_accepted"])


def test_outputs_are_reliable_and_inputs_take_what_cameras_and_detectors_offer(robot):
    from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

    def qos_of(topic, endpoints):
        found = robot.wait_for(topic, lambda: [e for e in endpoints(topic) if e.node_name == "sam2"])
        return found[0].qos_profile

    for name in ("objects", "label_image", "debug_image"):
        qos = qos_of(f"/sam2/{name}", robot.node.get_publishers_info_by_topic)
        assert qos.reliability == ReliabilityPolicy.RELIABLE, name
        assert qos.durability == DurabilityPolicy.VOLATILE, name
    for name in ("prompts", "clicked_pixel", "clicked_point"):
        qos = qos_of(f"/sam2/{name}", robot.node.get_subscriptions_info_by_topic)
        assert qos.reliability == ReliabilityPolicy.RELIABLE, name
    # The tests' camera is reliable; the node's default is best_effort.
    qos = qos_of("/camera/image_raw", robot.node.get_subscriptions_info_by_topic)
    assert qos.reliability == ReliabilityPolicy.RELIABLE
