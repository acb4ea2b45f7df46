# SPDX-License-Identifier: Apache-2.0
"""Quaternions as rotations, and invalid transforms of tf."""

from types import SimpleNamespace

import numpy as np
import pytest

from sam2_ros.node.spatial.location import NoPositionError
from sam2_ros.node.spatial.transform import transform_of


def message(quaternion, translation=(0.0, 0.0, 0.0)):
    return SimpleNamespace(
        rotation=SimpleNamespace(**dict(zip("xyzw", quaternion, strict=True))),
        translation=SimpleNamespace(**dict(zip("xyz", translation, strict=True))),
    )


def test_an_optical_frame_in_a_body_frame():
    # the usual rotation of REP 103: optical z is forward, x right, y down
    transform = transform_of(message((-0.5, 0.5, -0.5, 0.5), (1.0, 2.0, 3.0)))
    np.testing.assert_allclose(transform.apply(np.array([0.0, 0.0, 1.0])), (2, 2, 3), atol=1e-12)
    np.testing.assert_allclose(
        transform.apply(np.array([[1.0, 0, 0], [0, 1, 0]])), [[1, 1, 3], [1, 2, 2]], atol=1e-12
    )


def test_a_turn_about_one_axis_and_a_quaternion_that_is_not_quite_one():
    half = np.pi / 6
    transform = transform_of(message((0, 0, 1.01 * np.sin(half), 1.01 * np.cos(half))))
    turned = transform.apply(np.array([1.0, 0, 0]))
    np.testing.assert_allclose(turned, (np.cos(2 * half), np.sin(2 * half), 0), atol=1e-12)


@pytest.mark.parametrize(
    ("quaternion", "translation"),
    [((0, 0, 0, 0), (0, 0, 0)), ((np.nan, 0, 0, 1), (0, 0, 0)), ((0, 0, 0, 1), (0, np.inf, 0))],
)
def test_an_invalid_transform_is_refused(quaternion, translation):
    with pytest.raises(NoPositionError, match="unit quaternion and finite"):
        transform_of(message(quaternion, translation))
