# SPDX-License-Identifier: Apache-2.0
"""Server for the tests of the page: speaks its protocol, and "tracks" with the true masks of a drawn clip.

Knows no model, no store and no security beyond the login; JPEGs, run lengths and messages are real. Run as a program it
serves the rendered demo, to look at the page: `python test/ui/page/page_server.py --demo`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse

PAGE = Path(__file__).resolve().parents[3] / "sam2_ros" / "ui" / "page"
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
TOKEN = "a-token-for-tests"
HOSTILE_NAME = "<script>document.title='broken'</script>.mp4"
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#0072b2", "#d55e00")
TRACKING, OCCLUDED, NEVER = 1, 2, 255


@dataclass
class Clip:
    """Frames ``[T, H, W, 3]`` uint8 RGB and true masks ``[T, N, H, W]`` bool."""

    name: str
    kind: str
    fps: float
    frames: np.ndarray
    masks: np.ndarray


def drawn_clip(frames: int = 40, width: int = 320, height: int = 240) -> Clip:
    """A cup that stays, and a robot that drives behind a post with a white sign; drawn in milliseconds."""
    pictures = np.empty((frames, height, width, 3), np.uint8)
    masks = np.zeros((frames, 2, height, width), bool)
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([90 + rows // 4, 100 + columns // 8, 110 + (rows + columns) // 10], -1).astype(np.uint8)
    post = (columns >= 150) & (columns < 215)
    sign = (abs(rows - 120) < 8) & (abs(columns - 180) < 8)
    for t in range(frames):
        picture = ground.copy()
        cup = np.hypot(columns - 80 - t // 4, rows - 170) < 30
        robot_left = 20 + t * (width - 80) // frames
        robot = (abs(rows - 80) < 22) & (columns >= robot_left) & (columns < robot_left + 50)
        picture[cup], picture[robot], picture[post] = (40, 110, 200), (200, 90, 40), (70, 60, 60)
        picture[sign] = (240, 240, 240)
        pictures[t], masks[t, 0], masks[t, 1] = picture, cup & ~post, robot & ~post
    return Clip("drawn clip", "demo", 10.0, pictures, masks)


def run_lengths(mask_hw: np.ndarray) -> np.ndarray:
    """Row-major run lengths that start with background; empty for an empty mask."""
    flat = np.asarray(mask_hw, bool).reshape(-1)
    if not flat.any():
        return np.zeros(0, np.uint32)
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    runs = np.diff(bounds)
    return np.concatenate([[0], runs] if flat[0] else [runs]).astype("<u4")


@dataclass
class Work:
    """What an undo restores: objects, and masks by (frame, object) with their state and presence."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    masks: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)


class Project:
    """One opened clip: the commands of the protocol, each a method that begins with `do_`."""

    def __init__(self, number: int, clip: Clip, delay_s: float) -> None:
        self.number, self.clip, self.delay_s = number, clip, delay_s
        self.work, self.past, self.future = Work(), [], []  # type: ignore[var-annotated]
        self.settings: dict[str, Any] = {}
        self.tracking: dict[str, int] | None = None
        self.task: asyncio.Task[None] | None = None
        self.next_object = 1
        self.read = len(clip.frames)  # frames that can be asked for

    def state(self) -> dict[str, Any]:
        frames, height, width = self.clip.frames.shape[:3]
        source = {"number": self.number, "name": self.clip.name, "kind": self.clip.kind, "frames": frames}
        source |= {"fps": self.clip.fps, "width": width, "height": height, "stamps_known": True}
        return {
            "source": source,
            "objects": self.work.objects,
            "undo": self.past[-1][0] if self.past else "",
            "redo": self.future[-1][0] if self.future else "",
            "tracking": self.tracking,
            "settings": self.settings,
            "model": "nano",
            "device": "cpu",
        }

    def remember(self, what: str) -> None:
        self.past.append((what, copy.deepcopy(self.work)))
        self.future.clear()

    def turn_back(self, source: list[Any], target: list[Any]) -> None:
        if source:
            what, work = source.pop()
            target.append((what, self.work))
            self.work = work

    def object(self, number: int) -> dict[str, Any]:
        for entry in self.work.objects:
            if entry["object"] == number:
                return entry
        raise ValueError(f"object {number}: there is none")

    def keyframe(self, number: int, frame: int) -> dict[str, Any]:
        keyframes: list[dict[str, Any]] = self.object(number)["keyframes"]
        for keyframe in keyframes:
            if keyframe["frame"] == frame:
                return keyframe
        keyframes.append({"frame": frame, "points": [], "box": None, "mask": False, "accepted": False})
        return keyframes[-1]

    def truth(self, keyframe: dict[str, Any]) -> int:
        """The true object that a keyframe means: under its first click, or most in its box; the first if none."""
        masks_nhw = self.clip.masks[keyframe["frame"]]
        if keyframe["box"]:
            x0, y0, x1, y1 = keyframe["box"]
            return int(masks_nhw[:, y0:y1, x0:x1].sum((1, 2)).argmax())
        for x, y, sign in keyframe["points"]:
            if sign > 0:
                return int(masks_nhw[:, round(y), round(x)].argmax())
        return 0

    def segment(self, number: int, frame: int) -> None:
        """The true mask without a disc around each negative click."""
        keyframe = self.keyframe(number, frame)
        if not keyframe["points"] and not keyframe["box"] and not keyframe["mask"]:
            self.object(number)["keyframes"].remove(keyframe)
            self.work.masks.pop((frame, number), None)
            return
        mask = self.clip.masks[frame, self.truth(keyframe)].copy()
        rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
        for x, y, sign in keyframe["points"]:
            if sign < 0:
                mask &= np.hypot(columns - x, rows - y) > 12
        self.work.masks[frame, number] = mask

    def track_one(self, frame: int, number: int) -> None:
        keyframes = sorted(self.object(number)["keyframes"], key=lambda entry: abs(entry["frame"] - frame))
        if keyframes and keyframes[0]["frame"] != frame:
            self.work.masks[frame, number] = self.clip.masks[frame, self.truth(keyframes[0])]

    def lane(self, number: int) -> bytes:
        frames = len(self.clip.frames)
        state, presence, iou = (np.full(frames, value, np.uint8) for value in (NEVER, 128, 0))
        for (frame, owner), mask in self.work.masks.items():
            if owner == number:
                state[frame] = TRACKING if mask.any() else OCCLUDED
                presence[frame], iou[frame] = scores(frame, mask)[2:]
        body = state.tobytes() + presence.tobytes() + iou.tobytes()
        return struct.pack("<II", number, frames) + body + bytes(-len(body) % 4)

    def lanes(self) -> bytes:
        numbers = [entry["object"] for entry in self.work.objects]
        return struct.pack("<III", 5, self.number, len(numbers)) + b"".join(map(self.lane, numbers))

    def frame(self, index: int) -> bytes:
        picture = cv2.cvtColor(self.clip.frames[index], cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        return struct.pack("<III", 1, self.number, index) + jpeg

    def thumbnail(self, index: int, height: int) -> bytes:
        picture = cv2.cvtColor(self.clip.frames[index], cv2.COLOR_RGB2BGR)
        width = round(height * picture.shape[1] / picture.shape[0])
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        return struct.pack("<III", 3, self.number, index) + cv2.imencode(".jpg", small)[1].tobytes()

    def masks(self, index: int) -> bytes:
        found = [(number, mask) for (frame, number), mask in self.work.masks.items() if frame == index]
        return masks_message(2, self.number, index, found)

    def doubts(self) -> list[dict[str, Any]]:
        """The last frame before an object is hidden."""
        return [
            {"object": number, "frame": frame, "why": "presence near 0"}
            for (frame, number), mask in self.work.masks.items()
            if mask.any()
            and (after := self.work.masks.get((frame + 1, number))) is not None
            and not after.any()
        ]


def scores(frame: int, mask: np.ndarray) -> tuple[float, float, int, int]:
    """Presence (logit) and predicted IoU, and both as bytes of a lane."""
    presence = 5.0 + np.sin(frame / 3) if mask.any() else -4.0
    iou = 0.9 + 0.06 * np.sin(frame / 5) if mask.any() else 0.2
    return presence, iou, int(np.clip(presence / 8, -1, 1) * 127 + 128), int(iou * 255)


def masks_message(kind: int, source: int, index: int, found: list[tuple[int, np.ndarray]]) -> bytes:
    parts = [struct.pack("<IIII", kind, source, index, len(found))]
    for number, mask in found:
        runs = run_lengths(mask)
        presence, iou = scores(index, mask)[:2]
        state = TRACKING if runs.size else OCCLUDED
        parts.append(struct.pack("<IIffI", number, state, presence, iou, runs.size) + runs.tobytes())
    return b"".join(parts)


class Socket:
    """Answers one page. `log` collects every command, for the tests to read."""

    def __init__(self, projects: dict[int, Project], websocket: WebSocket, log: list[dict[str, Any]]) -> None:
        self.projects, self.websocket, self.log = projects, websocket, log
        self.project: Project | None = None

    async def serve(self) -> None:
        while True:
            command = await self.websocket.receive_json()
            self.log.append(command)
            try:
                result = await getattr(self, f"do_{command['do']}", self.edit)(command)
                await self.websocket.send_json({"seq": command["seq"], "ok": True, "result": result or {}})
            except (KeyError, ValueError) as error:
                await self.websocket.send_json({"seq": command["seq"], "ok": False, "error": str(error)})

    @property
    def here(self) -> Project:
        if self.project is None:
            raise ValueError("no source is open")
        return self.project

    async def do_gallery(self, _: dict[str, Any]) -> dict[str, Any]:
        keys = ("name", "kind", "frames", "fps", "width", "height")
        rows = []
        for number, project in self.projects.items():
            source = project.state()["source"]
            rows.append({"source": number, "objects": len(project.work.objects), "opened": True})
            rows[-1] |= {key: source[key] for key in keys}
        return {"sources": rows}

    async def do_open(self, command: dict[str, Any]) -> dict[str, Any]:
        self.project = self.projects[command["source"]]
        return self.project.state()

    async def do_state(self, _: dict[str, Any]) -> dict[str, Any]:
        return self.here.state()

    async def do_frame(self, command: dict[str, Any]) -> None:
        if command["index"] >= self.here.read:
            raise ValueError(f"frame {command['index']} is not read yet")
        await self.websocket.send_bytes(self.here.frame(command["index"]))
        await self.websocket.send_bytes(self.here.masks(command["index"]))

    async def do_masks(self, command: dict[str, Any]) -> None:
        await self.websocket.send_bytes(self.here.masks(command["index"]))

    async def do_strip(self, command: dict[str, Any]) -> None:
        for index in command["indices"]:
            await self.websocket.send_bytes(self.here.thumbnail(index, command["height"]))

    async def do_lanes(self, _: dict[str, Any]) -> None:
        await self.websocket.send_bytes(self.here.lanes())

    async def do_doubt(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"frames": self.here.doubts()}

    async def do_preview(self, command: dict[str, Any]) -> None:
        masks_nhw = self.here.clip.masks[command["frame"]]
        owner = masks_nhw[:, round(command["y"]), round(command["x"])]
        mask = masks_nhw[owner.argmax()] if owner.any() else np.zeros_like(masks_nhw[0])
        await self.websocket.send_bytes(masks_message(4, self.here.number, command["frame"], [(0, mask)]))

    async def do_add_object(self, command: dict[str, Any]) -> dict[str, Any]:
        here = self.here
        here.remember("new object")
        number = here.next_object
        here.next_object += 1
        entry = {"object": number, "name": command.get("name") or f"object {number}", "class": ""}
        entry |= {"colour": COLOURS[(number - 1) % len(COLOURS)], "locked": False, "keyframes": []}
        here.work.objects.append(entry)
        return {"object": entry}

    async def do_settings(self, command: dict[str, Any]) -> None:
        self.here.settings |= command["settings"]

    async def do_undo(self, _: dict[str, Any]) -> None:
        self.here.turn_back(self.here.past, self.here.future)

    async def do_redo(self, _: dict[str, Any]) -> None:
        self.here.turn_back(self.here.future, self.here.past)

    async def do_delete_object(self, command: dict[str, Any]) -> None:
        here = self.here
        entry = here.object(command["object"])
        here.remember(f"delete {entry['name']}")
        here.work.objects = [other for other in here.work.objects if other["object"] != command["object"]]
        here.work.masks = {key: mask for key, mask in here.work.masks.items() if key[1] != command["object"]}

    async def edit(self, command: dict[str, Any]) -> dict[str, Any]:
        """Commands that change one object: names, and prompts, which answer with the masks of the frame."""
        here, do, number = self.here, command["do"], command["object"]
        here.remember(f"{do} on {here.object(number)['name']}")
        values = {"rename": ("name", "name"), "set_class": ("class", "class"), "lock": ("locked", "locked")}
        if do in values:
            key, given = values[do]
            here.object(number)[key] = command[given]
            return {"object": here.object(number)}
        frame = command["frame"]
        keyframe = here.keyframe(number, frame)
        if do == "click":
            keyframe["points"].append([command["x"], command["y"], command["sign"]])
        elif do == "unclick":
            keyframe["points"].pop(command["number"])
        elif do == "box":
            keyframe["box"] = [command[side] for side in ("x0", "y0", "x1", "y1")]
        elif do == "stroke":
            keyframe["mask"] = True
        elif do == "clear":
            keyframe |= {"points": [], "box": None, "mask": False}
        else:
            raise ValueError(f"unknown command {do}")
        here.segment(number, frame)
        await self.websocket.send_bytes(here.masks(frame))
        return {"object": here.object(number)}

    async def do_track(self, command: dict[str, Any]) -> None:
        here, last = self.here, len(self.here.clip.frames) - 1
        frame, direction = command["frame"], command["direction"]
        order = list(range(frame, last + 1)) if direction != "backward" else list(range(frame, -1, -1))
        if direction == "both":
            order += range(frame - 1, -1, -1)
        here.remember("track")
        here.tracking = {"frame": frame, "from": order[0], "to": order[-1], "done": 0, "total": len(order)}
        numbers = command.get("objects") or [entry["object"] for entry in here.work.objects]
        here.task = asyncio.create_task(self.follow(here, order, numbers))

    async def follow(self, here: Project, order: list[int], numbers: list[int]) -> None:
        started, cancelled, frame = time.monotonic(), False, order[0]
        try:
            for done, frame in enumerate(order, 1):
                for number in numbers:
                    here.track_one(frame, number)
                await self.websocket.send_bytes(here.masks(frame))
                rate = done / max(1e-3, time.monotonic() - started)
                progress = {
                    "event": "progress",
                    "what": "track",
                    "done": done,
                    "total": len(order),
                    "fps": rate,
                }
                await self.websocket.send_json(progress)
                if done % 8 == 0:
                    await self.websocket.send_json({"event": "lanes"})
                await asyncio.sleep(here.delay_s)
        except asyncio.CancelledError:
            cancelled = True
        except WebSocketDisconnect:
            return
        finally:
            here.tracking = None
        await self.websocket.send_json(
            {"event": "tracked", "from": order[0], "to": frame, "cancelled": cancelled}
        )

    async def do_cancel(self, _: dict[str, Any]) -> None:
        if self.here.task:
            self.here.task.cancel()

    async def do_export(self, command: dict[str, Any]) -> dict[str, Any]:
        name = f"{command['kind']}.bin"
        done = {"event": "exported", "job": 1, "file": name, "url": f"/download/{name}"}
        await self.websocket.send_json(done)
        return {"job": 1}


def make_app(projects: dict[int, Project], log: list[dict[str, Any]], sockets: list[WebSocket]) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def policy(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    @app.post("/login")
    async def login(request: Request) -> Response:
        if (await request.json()).get("token") != TOKEN:
            return Response(status_code=403)
        response = Response(status_code=204)
        response.set_cookie("session", TOKEN, httponly=True, samesite="strict")
        return response

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        if websocket.cookies.get("session") != TOKEN:
            await websocket.close()
            return
        await websocket.accept()
        sockets.append(websocket)
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await Socket(projects, websocket, log).serve()

    @app.get("/{name}")
    async def page(name: str) -> Response:
        path = PAGE / Path(name).name
        return FileResponse(path) if path.is_file() else Response(status_code=404)

    @app.get("/")
    async def index() -> Response:
        return FileResponse(PAGE / "index.html")

    return app


class PageServer:
    """The server in a thread of this process, on a free port of the loopback."""

    def __init__(self, clips: list[Clip], delay_s: float = 0.01, port: int = 0) -> None:
        self.log: list[dict[str, Any]] = []
        self.sockets: list[WebSocket] = []
        self.projects = {number: Project(number, clip, delay_s) for number, clip in enumerate(clips, 1)}
        app = make_app(self.projects, self.log, self.sockets)
        self.server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off"))
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.server.serve())

    def __enter__(self) -> PageServer:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.server.force_exit = True
        self.thread.join(10)

    @property
    def address(self) -> str:
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/"

    def drop_connections(self) -> None:
        """Close every socket, as a server that is killed does."""
        for websocket in self.sockets:
            asyncio.run_coroutine_threadsafe(websocket.close(1012), self.loop).result(5)
        self.sockets.clear()

    def push(self, event: dict[str, Any]) -> None:
        """Send an event to every page."""
        for websocket in self.sockets:
            asyncio.run_coroutine_threadsafe(websocket.send_json(event), self.loop).result(5)

    def commands(self, *names: str) -> list[dict[str, Any]]:
        return [command for command in self.log if command["do"] in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--demo", action="store_true", help="serve the rendered demo (renders for some seconds)"
    )
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    clips = [drawn_clip()]
    if options.demo:
        from sam2_ros.synthetic.render import demo_clip

        clip = demo_clip(options.frames)
        clips.insert(0, Clip("demo clip", "demo", 10.0, clip.frames, clip.masks))
    with PageServer(clips, delay_s=0.08, port=options.port) as server:
        print(f"{server.address}#token={TOKEN}")
        server.thread.join()


if __name__ == "__main__":
    main()
