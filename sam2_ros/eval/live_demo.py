# SPDX-License-Identifier: Apache-2.0
"""The demo for the eyes: the node tracks the rendered clip, which is played back and forth until the end.

Does not score or write anything, and does not know how it is looked at.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sam2_ros.engine import Prompt
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.errors import UserError
from sam2_ros.live.camera_loop import CameraLoop
from sam2_ros.live.player import LivePlayerConfig
from sam2_ros.synthetic.render import demo_clip

from .demo import FRAME_ID, IMAGE_TOPIC, OBJECT_IDS, RATE_HZ, DemoConfig


@contextmanager
def live_demo(
    config: DemoConfig, log_path: Path, on_end: Callable[[UserError], None]
) -> Iterator[CameraLoop]:
    """In the block the node runs, and tracks the cup and the robot of the clip. Raises UserError for a wrong model.

    Args:
        config: the demo; `out` and `overwrite` do not matter.
        log_path: file for the node's output.
        on_end: called from another thread if the node ends or does not start.
    """
    assert config.node_command is not None
    options = config.opened.resolved()
    clip = demo_clip() if config.frames is None else demo_clip(config.frames)
    prompts = [Prompt(id, box=tight_box(mask)) for id, mask in zip(OBJECT_IDS, clip.masks[0], strict=True)]
    player = LivePlayerConfig(
        node_command=config.node_command,
        parameters={**dataclasses.asdict(config.opened), "policies": json.dumps(config.policies)},
        profiles_file=config.profiles_file,
        start_timeout_s=options.patience_s,
    )
    with CameraLoop(player, clip.frames, prompts, IMAGE_TOPIC, FRAME_ID, RATE_HZ, log_path, on_end) as camera:
        yield camera
