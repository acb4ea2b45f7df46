# SPDX-License-Identifier: Apache-2.0
"""The package's data files are found in a clone, and in `share/` of a wheel or colcon installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2_ros import share_folder
from sam2_ros.errors import UserError
from sam2_ros.share_folder import shared_folder


def test_a_clone_has_them_beside_the_package() -> None:
    root = Path(share_folder.__file__).resolve().parents[1]
    assert shared_folder("models", "models.yaml") == root / "models"
    assert shared_folder("msgs", "msg/*.msg", in_clone="sam2_ros_msgs") == root / "sam2_ros_msgs"


def test_an_installation_has_them_in_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = tmp_path / "lib" / "python3.12" / "site-packages" / "sam2_ros" / "share_folder.py"
    monkeypatch.setattr(share_folder, "__file__", str(code))
    # The Python package that ROS generates has the same name as the folder of a clone, but no definitions.
    (code.parent.parent / "sam2_ros_msgs" / "msg").mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"sam2_ros_msgs/msg/\*\.msg is in no folder above .*: reinstall"
    ) as raised:
        shared_folder("msgs", "msg/*.msg", in_clone="sam2_ros_msgs")
    assert raised.value.status == 1
    definition = tmp_path / "share" / "sam2_ros" / "msgs" / "msg" / "Prompt.msg"
    definition.parent.mkdir(parents=True)
    definition.write_text("string id")
    assert shared_folder("msgs", "msg/*.msg", in_clone="sam2_ros_msgs") == definition.parent.parent
