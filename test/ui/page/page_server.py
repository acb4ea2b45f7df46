# SPDX-License-Identifier: Apache-2.0
"""Server for the tests of the page: speaks its protocol, and "tracks" with the true masks of a drawn clip.

Knows no model, no store and no security beyond the login; JPEGs, run lengths and messages are real. Run as a program it
serves the rendered demo, to look at the page: `python test/ui/page/page_server.py --demo`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse
from ui.page.page_project import COLOURS, Clip, Project, drawn_clip, masks_message

PAGE = Path(__file__).resolve().parents[3] / "sam2_ros" / "ui" / "page"
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
TOKEN = "a-token-for-tests"
HOSTILE_NAME = "<script>document.title='broken'</script>.mp4"


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
