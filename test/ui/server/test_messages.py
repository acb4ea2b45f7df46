# SPDX-License-Identifier: Apache-2.0
"""Binary messages, read back byte by byte."""

from __future__ import annotations

import struct

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
pytest.importorskip("websockets", reason="needs websockets (extra ui)")
pytest.importorskip("uvicorn", reason="needs uvicorn (extra ui)")
from ui_servers import read_masks

from sam2_ros.ui.server.messages import FRAME, PREVIEW, jpeg_message, lanes_message, masks_message
from sam2_ros.ui.session import Lane, ObjectMask
from sam2_ros.ui.store.run_lengths import to_runs


def test_a_frame_is_its_numbers_and_the_jpeg():
    data = jpeg_message(FRAME, 3, 70_000, b"\xff\xd8jpeg")
    assert data[:4] == b"\x01\0\0\0"
    assert struct.unpack_from("<II", data, 4) == (3, 70_000)
    assert data[12:] == b"\xff\xd8jpeg"


def test_masks_come_back_as_they_were():
    rng = np.random.default_rng(0)
    wanted = {1: rng.random((7, 9)) > 0.5, 5: np.zeros((7, 9), bool), 6: np.ones((7, 9), bool)}
    masks = [ObjectMask(n, to_runs(mask), 7, 9, -2.5, 0.75, 2) for n, mask in wanted.items()]
    data = masks_message(4, 11, masks)
    assert struct.unpack_from("<IIII", data) == (2, 4, 11, 3)
    assert struct.unpack_from("<IIff", data, 16) == (1, 2, -2.5, 0.75)
    found = read_masks(data, (7, 9))
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[n], wanted[n]) for n in wanted)
    assert masks_message(4, 11, masks[:1], PREVIEW)[:4] == b"\x04\0\0\0"


def test_lanes_are_bytes_a_frame_padded_to_four():
    lane = Lane(
        np.array([255, 1, 2], np.uint8),
        np.array([0.0, 4.0, -100.0], np.float32),
        np.array([0.0, 1.0, 0.5], np.float32),
        np.zeros(3, bool),
    )
    data = lanes_message(9, {2: lane, 3: lane})
    assert struct.unpack_from("<III", data) == (5, 9, 2)
    for number, at in ((2, 12), (3, 12 + 8 + 12)):
        assert struct.unpack_from("<II", data, at) == (number, 3)
        assert list(data[at + 8 : at + 20]) == [255, 1, 2, 128, 191, 1, 0, 255, 127, 0, 0, 0]
    assert len(data) == 12 + 2 * 20
