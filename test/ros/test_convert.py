# SPDX-License-Identifier: Apache-2.0
"""Prompt messages converted to engine prompts, with the real message classes: stamps, boxes, masks; object states."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("sam2_ros_msgs.msg", reason="needs sam2_ros_msgs, built and sourced")

from builtin_interfaces.msg import Time
from sam2_ros_msgs.msg import Prompt, PromptPoint, TrackedObject
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from sam2_ros.engine import ObjectState, PromptError
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.node.convert import ImageDecoder, prompt_request

ARRAY_HEADER = Header(stamp=Time(sec=5, nanosec=7), frame_id="camera")


def test_points_and_box_become_the_engines_arrays():
    message = Prompt(id="cup", class_id="mug", box=[1.0, 2.0, 3.0, 4.0], replace=True)
    message.points = [PromptPoint(x=1.5, y=2.5, positive=True), PromptPoint(x=9.0, y=8.0, positive=False)]
    request = prompt_request(message, "#1")
    prompt = request.prompt
    assert request.named
    assert (prompt.id, prompt.class_id, prompt.box, prompt.replace) == (
        "cup",
        "mug",
        (1.0, 2.0, 3.0, 4.0),
        True,
    )
    assert prompt.points.tolist() == [[1.5, 2.5], [9.0, 8.0]]
    assert prompt.labels.tolist() == [1, 0]
    assert prompt.mask is None


def test_missing_fields_are_none_and_a_nameless_prompt_is_named_by_its_position():
    request = prompt_request(Prompt(), "#3")
    assert not request.named
    prompt = request.prompt
    assert (prompt.id, prompt.points, prompt.box, prompt.mask) == ("#3", None, None, None)


def test_the_arrays_stamp_serves_prompts_without_their_own():
    assert prompt_request(Prompt(), "#1", ARRAY_HEADER).stamp_ns == 5_000_000_007
    own = Prompt(header=Header(stamp=Time(sec=6), frame_id="wrist"))
    request = prompt_request(own, "#1", ARRAY_HEADER)
    assert (request.stamp_ns, request.frame_id) == (6_000_000_000, "wrist")
    assert prompt_request(Prompt(), "#1").stamp_ns == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"encoding": "rgb8"}, "'cup': mask with encoding 'rgb8'; expected mono8"),
        ({"height": 9}, "'cup': mask of 4 x 9 pixels"),
        ({"step": 3}, "'cup': mask of 4 x 2 pixels with step 3"),
    ],
)
def test_a_mask_that_cannot_be_read_is_refused_by_name(fields, said):
    mask = Image(height=2, width=4, step=4, encoding="mono8", data=[255] * 8)
    for name, value in fields.items():
        setattr(mask, name, value)
    with pytest.raises(PromptError, match=said):
        prompt_request(Prompt(id="cup", mask=mask), "#1")


def test_a_mask_is_true_where_it_is_not_zero():
    mask = Image(height=2, width=3, step=4, encoding="mono8", data=[0, 1, 255, 9, 7, 0, 0, 9])
    request = prompt_request(Prompt(id="cup", mask=mask), "#1")
    assert np.array_equal(request.prompt.mask, [[False, True, True], [True, False, False]])


def test_states_of_the_message_are_those_of_the_engine():
    assert {state.name: state.value for state in ObjectState} == {
        name: getattr(TrackedObject, name) for name in ("PENDING", "TRACKING", "OCCLUDED", "LOST")
    }


def unknown_image() -> Image:
    return Image(height=4, width=6, encoding="rainbow", step=18, data=bytes(72))


def test_an_encoding_that_only_cv_bridge_may_read_goes_through_it():
    pytest.importorskip("cv_bridge", reason="needs cv_bridge, which has no wheel")
    with pytest.raises(ImageError, match=r"'rainbow' is not supported.*cv_bridge cannot read it"):
        ImageDecoder(ImageReader()).to_rgb(unknown_image())


def test_without_cv_bridge_nobody_is_told_to_install_what_would_not_help():
    try:
        import cv_bridge  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("needs a machine without cv_bridge")
    with pytest.raises(ImageError, match=r"'rainbow' is not supported.*convert it upstream") as raised:
        ImageDecoder(ImageReader()).to_rgb(unknown_image())
    assert "cv_bridge" not in str(raised.value)
    assert "cv-bridge" not in str(raised.value)


def test_16_bit_colours_need_no_cv_bridge():
    pixels = np.zeros((4, 6, 3), "<u2")
    pixels[:, :3] = (10 * 257, 20 * 257, 200 * 257)
    message = Image(height=4, width=6, encoding="bgr16", step=36, data=pixels.tobytes())
    assert ImageDecoder(ImageReader()).to_rgb(message)[0, :4].tolist() == [[200, 20, 10]] * 3 + [[0, 0, 0]]
