# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can fix have one base class, with the exit status of the command."""

from __future__ import annotations

import pickle

import pytest

from sam2_ros.engine import PromptError
from sam2_ros.errors import UserError, one_line
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.weights import CheckpointError


@pytest.mark.parametrize("kind", [PromptError, SourceError, ImageError, CheckpointError])
def test_an_input_that_cannot_be_used_ends_a_command_with_status_2(kind: type[UserError]) -> None:
    error = kind("cup.png is missing")
    assert isinstance(error, UserError)
    assert isinstance(error, ValueError)
    assert (str(error), error.status) == ("cup.png is missing", 2)


def test_the_status_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(UserError("the node ended", status=1)))
    assert (str(error), error.status) == ("the node ended", 1)


def test_an_error_as_one_line_names_its_type_only_if_no_user_can_fix_it() -> None:
    assert one_line(UserError("model 'x':\n  expected nano")) == "model 'x': expected nano"
    assert (
        one_line(RuntimeError("CUDA error:\n  illegal address"))
        == "RuntimeError: CUDA error: illegal address"
    )
