# SPDX-License-Identifier: Apache-2.0
"""One of several clients: seeded random calls to the node's services; writes its requests and the replies.

    python random_client.py SEED CALLS NODE OUT.json

Knows topics, services and messages only; it does not judge the answers.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from sam2_ros_msgs.msg import Prompt, PromptPoint
from sam2_ros_msgs.srv import AddObjects, RemoveObjects
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

HEIGHT_PX, WIDTH_PX = 120, 160  # of the camera's images
NAMES = (
    "cup",
    "box",
    "disc",
    "left",
    "right",
    "object_5",
)  # shared by all clients; the last as the node names its own
REPLY_TIMEOUT_S = 30.0
# fault of a prompt -> text in the reply
FAULTS = {
    "three": "box of 3 numbers",
    "nan": "is not finite",
    "flat": "has no area",
    "outside": "is outside the image",
    "nothing": "no points, no box and no mask",
    "small mask": "mask of 2 x 2 pixels",
    "elsewhere": "made in frame 'map'",
    "too old": "older than the newest",
}


class RandomClient:
    """Makes one call after the other; `records` has one entry per call."""

    def __init__(self, node: Node, seed: int, peer: str) -> None:
        self._node = node
        self._random = random.Random(seed)
        self._own: list[str] = []  # ids the node gave to nameless prompts of this client
        self._add = node.create_client(AddObjects, f"/{peer}/add_objects")
        self._remove = node.create_client(RemoveObjects, f"/{peer}/remove_objects")
        self._reset = node.create_client(Trigger, f"/{peer}/reset")
        self.records: list[dict[str, Any]] = []

    def wait(self) -> None:
        for client in (self._add, self._remove, self._reset):
            if not client.wait_for_service(120.0):
                sys.exit(f"service {client.srv_name} is not there")

    def call(self) -> None:
        kind = self._random.choices(("add", "remove", "remove all", "reset"), (70, 26, 3, 1))[0]
        if kind == "add":
            self._add_some()
        elif kind == "reset":
            self._ask(kind, self._reset, Trigger.Request(), {})
        else:
            ids = [] if kind == "remove all" else self._ids_to_remove()
            self._ask(kind, self._remove, RemoveObjects.Request(ids=ids), {"asked": ids})

    def _add_some(self) -> None:
        made = [self._prompt() for _ in range(self._random.choices((1, 2, 4), (80, 15, 5))[0])]
        request = AddObjects.Request(prompts=[prompt for prompt, _ in made])
        asked = [{"id": prompt.id, "fault": fault} for prompt, fault in made]
        reply = self._ask("add", self._add, request, {"prompts": asked})
        given = zip(made, reply.ids, strict=False)
        self._own += [object_id for (prompt, _), object_id in given if object_id and not prompt.id]

    def _ask(self, kind: str, client: Any, request: Any, said: dict[str, Any]) -> Any:
        asked_ns = time.time_ns()
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=REPLY_TIMEOUT_S)
        if not future.done():
            sys.exit(f"no reply to {kind} within {REPLY_TIMEOUT_S:.0f} s after {len(self.records)} calls")
        reply = future.result()
        self.records.append(
            {
                "kind": kind,
                "asked_ns": asked_ns,
                "replied_ns": time.time_ns(),
                **said,
                "success": reply.success,
                "message": reply.message,
                "ids": list(getattr(reply, "ids", [])),
            }
        )
        return reply

    def _ids_to_remove(self) -> list[str]:
        known = [*NAMES, *self._own[-6:]]
        ids = self._random.sample(known, self._random.choice((1, 1, 1, 2, 3)))
        return [*ids, "ghost"] if self._random.random() < 0.1 else ids

    def _prompt(self) -> tuple[Prompt, str]:
        """A prompt and its fault ("" = none)."""
        choose = self._random
        name = choose.choice(("", "", *NAMES, *NAMES, *self._own[-2:]))
        prompt = Prompt(id=name, class_id=f"class of {name}" if choose.random() < 0.3 else "")
        prompt.replace = choose.random() < 0.1
        if choose.random() < 0.08:
            fault = choose.choice(list(FAULTS))
            self._spoil(prompt, fault)
            return prompt, fault
        shape = choose.choice(("box", "box", "points", "points", "both", "mask"))
        if shape in ("box", "both"):
            x, y = choose.uniform(0, 100), choose.uniform(0, 70)
            prompt.box = [x, y, x + choose.uniform(10, 60), y + choose.uniform(10, 50)]
        if shape in ("points", "both"):
            prompt.points = [
                PromptPoint(x=choose.uniform(0, 159), y=choose.uniform(0, 119), positive=number == 0)
                for number in range(choose.choice((1, 1, 2, 3)))
            ]
        if shape == "mask":
            mask_hw = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
            x, y = choose.randrange(100), choose.randrange(70)
            mask_hw[y : y + 40, x : x + 40] = 255
            prompt.mask = Image(height=HEIGHT_PX, width=WIDTH_PX, step=WIDTH_PX, encoding="mono8")
            prompt.mask.data = mask_hw.tobytes()
        self._stamp(prompt, choose.choice((None, None, None, -0.3, -1.0, 0.1, 5.0)))
        return prompt, ""

    def _spoil(self, prompt: Prompt, fault: str) -> None:
        prompt.box = [10.0, 10.0, 50.0, 50.0]
        if fault == "three":
            prompt.box = [1.0, 2.0, 3.0]
        elif fault == "nan":
            prompt.box = [float("nan"), 2.0, 30.0, 40.0]
        elif fault == "flat":
            prompt.box = [5.0, 5.0, 5.0, 9.0]
        elif fault == "outside":
            prompt.points = [PromptPoint(x=500.0, y=10.0, positive=True)]
        elif fault == "nothing":
            prompt.box = []
        elif fault == "small mask":
            prompt.mask = Image(height=2, width=2, step=2, encoding="mono8", data=[255] * 4)
        elif fault == "elsewhere":
            prompt.header.frame_id = "map"
        elif fault == "too old":
            self._stamp(prompt, -60.0)

    def _stamp(self, prompt: Prompt, offset_s: float | None) -> None:
        """A stamp `offset_s` from now, on the clock of the camera's stamps; None leaves it at zero."""
        if offset_s is not None:
            stamp_ns = time.time_ns() + round(offset_s * 1e9)
            prompt.header.stamp.sec, prompt.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)

    def pause(self) -> None:
        """Bursts of calls, with pauses long enough that images show their effects."""
        if self._random.random() < 0.5:
            time.sleep(self._random.uniform(0, 0.25))


def main(seed: int, calls: int, peer: str, out: Path) -> None:
    rclpy.init()
    node = rclpy.create_node(f"random_client_{seed}")
    client = RandomClient(node, seed, peer)
    client.wait()
    try:
        for _ in range(calls):
            client.call()
            client.pause()
    finally:
        out.write_text(json.dumps(client.records))
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
