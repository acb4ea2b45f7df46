# SPDX-License-Identifier: Apache-2.0
"""Measures how fast the browser page is answered: `python scripts/ui_latency.py` prints a table, then one JSON line.

Starts `sam2-ros ui` and speaks its socket as the page does; what the browser draws is not measured. Knows no model.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from websockets.sync.client import ClientConnection, connect

TOKEN = "a-token-for-measurements"
FRAME_KIND, MASKS_KIND = 1, 2


class Page:
    """One socket of a server on the loopback."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.seq = socket, 0

    @staticmethod
    @contextmanager
    def open(port: int) -> Iterator[Page]:
        host = f"127.0.0.1:{port}"
        connection = http.client.HTTPConnection("127.0.0.1", port)
        login = json.dumps({"token": TOKEN})
        connection.request("POST", "/login", login, {"Host": host, "Origin": f"http://{host}"})
        cookie = connection.getresponse().getheader("set-cookie", "").split(";")[0]
        connection.close()
        with connect(
            f"ws://{host}/socket",
            origin=f"http://{host}",  # type: ignore[arg-type]
            additional_headers={"Cookie": cookie},
            max_size=None,
            compression=None,
        ) as socket:
            yield Page(socket)

    def ask(self, do: str, kind: int = 0, **fields: Any) -> tuple[dict[str, Any], float]:
        """The result of a command, and the seconds until it, or until the binary message of this kind, was there."""
        self.seq += 1
        began = time.perf_counter()
        self.socket.send(json.dumps({"seq": self.seq, "do": do, **fields}))
        found = 0.0
        while True:
            message = self.socket.recv()
            if isinstance(message, bytes):
                if message[0] == kind and not found:
                    found = time.perf_counter() - began
                continue
            answer = json.loads(message)
            if answer.get("seq") == self.seq:
                if not answer["ok"]:
                    raise RuntimeError(f"{do}: {answer['error']}")
                return answer["result"], found or time.perf_counter() - began

    def wait_until_decoded(self) -> None:
        while (source := self.ask("state")[0]["source"])["decoded"] < source["frames"]:
            time.sleep(0.2)


class Memory(threading.Thread):
    """Samples the resident memory of a process.

    Attributes:
        peak: largest so far, bytes.
    """

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process, self.peak = psutil.Process(process), 0

    def run(self) -> None:
        while True:
            try:
                self.peak = max(self.peak, self._process.memory_info().rss)
            except psutil.NoSuchProcess:
                return
            time.sleep(0.05)


def percentiles_ms(seconds: list[float]) -> dict[str, float]:
    return {f"p{p}_ms": round(float(np.percentile(seconds, p)) * 1e3, 1) for p in (50, 95)}


def write_clip(path: Path, frames: int, width: int, height: int) -> None:
    """A disc that moves over noise."""
    noise = np.random.default_rng(0).integers(60, 160, (height, width + 256, 3), np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (width, height))
    for index in range(frames):
        image = noise[:, index % 256 : index % 256 + width].copy()
        cv2.circle(image, (index * 3 % width, height // 2), height // 8, (40, 90, 220), -1)
        writer.write(image)
    writer.release()


def measure_clicks(page: Page, clicks: int, frames: int, hw: tuple[int, int]) -> dict[str, Any]:
    """Clicks on frames that were not prompted before (the image is encoded), and a second click on each."""
    rng, first, second = random.Random(0), [], []
    for frame in rng.sample(range(frames), min(clicks, frames)):
        number = page.ask("add_object")[0]["object"]["object"]
        for times in (first, second):
            x, y = rng.uniform(0.2, 0.8) * hw[1], rng.uniform(0.2, 0.8) * hw[0]
            times.append(page.ask("click", MASKS_KIND, frame=frame, object=number, x=x, y=y, sign=1)[1])
        page.ask("delete_object", object=number)
    return {"first click on a frame": percentiles_ms(first), "next click on it": percentiles_ms(second)}


def measure_scrubbing(page: Page, scrubs: int, frames: int) -> dict[str, float]:
    """Frames in random order, each with its masks."""
    rng = random.Random(0)
    return percentiles_ms([page.ask("frame", index=rng.randrange(frames))[1] for _ in range(scrubs)])


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    long = folder / "long.mp4"
    write_clip(long, options.frames, options.width, options.height)
    command = [sys.executable, "-m", "sam2_ros.cli", "ui", str(long), "--project", str(folder / "project")]
    command += ["--port", "0", "--no-open", "--token", TOKEN, "--model", options.model]
    command += ["--image-size", str(options.image_size)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    memory = Memory(process.pid)
    memory.start()
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split(":")[2].split("/")[0])
        found: dict[str, Any] = {"start": {"s": round(time.perf_counter() - began, 2)}}
        with Page.open(port) as page:
            found |= measure_page(page, options)
        found["memory"] = {"peak_mb": round(memory.peak / 1e6)}
        return found
    finally:
        process.terminate()
        process.wait(30)


def measure_page(page: Page, options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rows = {row["kind"]: row["source"] for row in page.ask("gallery")[0]["sources"]}
    began = time.perf_counter()
    page.ask("open", source=rows["video"])
    page.ask("frame", FRAME_KIND, index=0)
    found[f"open a clip of {options.frames} frames"] = {"s": round(time.perf_counter() - began, 2)}
    page.wait_until_decoded()
    found["decode all of it"] = {"s": round(time.perf_counter() - began, 2)}
    found["scrubbing in it"] = measure_scrubbing(page, options.scrubs, options.frames)
    demo = page.ask("open", source=rows["demo"])[0]["source"]
    page.wait_until_decoded()
    page.ask("preview", frame=0, x=1, y=1, sign=1)  # waits until the model is loaded
    found |= measure_clicks(page, options.clicks, demo["frames"], (demo["height"], demo["width"]))
    found["scrubbing in the demo clip"] = measure_scrubbing(page, options.scrubs, demo["frames"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000, help="of the long clip")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--scrubs", type=int, default=300)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--image-size", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        found = measure(options, Path(folder))
    for name, values in found.items():
        print(f"{name:34} " + "   ".join(f"{key} {value:>8}" for key, value in values.items()))
    print(json.dumps({"cores": os.cpu_count(), **vars(options), **found}))


if __name__ == "__main__":
    main()
