# SPDX-License-Identifier: Apache-2.0
"""The routes: the page's files, login, the socket, downloads of exports, uploads of pictures.

Thin: every decision is made elsewhere. Does not know what the page shows or what commands do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse

from sam2_ros.errors import UserError
from sam2_ros.ui.effects.replacement import MAX_PICTURE_BYTES

from .access import Access
from .client import refuse
from .guard import Guard
from .live_service import LiveService
from .pictures import Pictures, find_file, find_folder
from .service import Service

PAGE = Path(__file__).resolve().parents[1] / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_OF_CLIPS = {".zip": "application/zip", ".mp4": "video/mp4"}
_OF_NODE = {".json": "application/json"}
_MOST_LOGIN_BYTES = 4096
_READ = ["GET", "HEAD"]


class TooLargeError(Exception):
    """A body is larger than its route takes."""


def make_app(service: Service | LiveService, access: Access) -> Guard:
    """The application of one server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    _add_page(app)
    _add_login(app, access)
    if isinstance(service, Service):
        _add_exports(app, service.exports, _OF_CLIPS, access)
        _add_pictures(app, service.pictures, access)
    else:
        _add_exports(app, service.exports, _OF_NODE, access)

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        if not access.is_logged_in(websocket.headers.get("cookie", "")):
            await websocket.close(1008)
        elif service.is_full:
            await refuse(websocket, "too many pages are open on this server: close one")
        else:
            await websocket.accept()
            await service.serve(websocket)

    return Guard(app, access)


def _add_page(app: FastAPI) -> None:
    """The files of the page, by a table: no path is made of what a client asks for."""
    files = {path.name: path for path in sorted(PAGE.iterdir()) if path.suffix in TYPES}

    @app.api_route("/", methods=_READ)
    async def index() -> Response:
        return _page_file(files["index.html"])

    @app.api_route("/{name}", methods=_READ)
    async def page(name: str) -> Response:
        return _page_file(files[name]) if name in files else _nothing()


def _page_file(path: Path) -> Response:
    # Asked for again each time, so that an upgrade of the server is an upgrade of the page.
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"Cache-Control": "no-cache"})


def _add_login(app: FastAPI, access: Access) -> None:
    @app.post("/login")
    async def login(request: Request) -> Response:
        if not access.may_try():
            return _line("too many attempts: wait a second", 429)
        try:
            given: Any = json.loads(await _body(request, _MOST_LOGIN_BYTES))
        except TooLargeError:
            return _line(f"a login of more than {_MOST_LOGIN_BYTES} bytes", 413)
        except (ValueError, RecursionError):
            return _line('{"token": "..."} expected', 400)
        if not access.is_token(given.get("token") if isinstance(given, dict) else None):
            return _line("the token was refused: open the address that the server printed", 403)
        response = Response(status_code=204)
        response.set_cookie(access.cookie_name, access.cookie, httponly=True, samesite="strict", path="/")
        return response


def _is_logged_in(access: Access, request: Request) -> bool:
    return access.is_logged_in(request.headers.get("cookie", ""))


def _add_exports(app: FastAPI, exports: Path, kinds: Mapping[str, str], access: Access) -> None:
    """Downloads. `kinds`: suffix of a file that may be downloaded -> its media type."""

    @app.api_route("/exports/{folder}/{name}", methods=_READ)
    async def exported(request: Request, folder: str, name: str) -> Response:
        if not _is_logged_in(access, request):
            return _login_first()
        place = find_folder(exports, folder)
        path = find_file(place, name, tuple(kinds)) if place is not None else None
        if path is None:
            return _nothing()
        return FileResponse(path, media_type=kinds[path.suffix.lower()], filename=path.name)


def _add_pictures(app: FastAPI, pictures: Pictures, access: Access) -> None:
    @app.api_route("/pictures/{name}", methods=_READ)
    async def picture(request: Request, name: str) -> Response:
        if not _is_logged_in(access, request):
            return _login_first()
        path = pictures.find(name)
        return FileResponse(path, media_type="image/png") if path is not None else _nothing()

    @app.post("/pictures")
    async def upload(request: Request, name: str = "picture") -> Response:
        if not _is_logged_in(access, request):
            return _login_first()
        try:
            data = await _body(request, MAX_PICTURE_BYTES)
            return JSONResponse({"picture": await asyncio.to_thread(pictures.add, data, name)})
        except TooLargeError:
            return _line(f"a picture of more than {MAX_PICTURE_BYTES} bytes: reduce its size", 413)
        except UserError as error:
            return _line(str(error), 400)


async def _body(request: Request, most: int) -> bytes:
    """The body; no more than `most` bytes of it are held. Raises TooLargeError."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise TooLargeError
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise TooLargeError
    return bytes(body)


def _line(text: str, status: int) -> Response:
    return PlainTextResponse(f"{text}\n", status)


def _nothing() -> Response:
    return _line("there is no such file", 404)


def _login_first() -> Response:
    return _line("not logged in: open the address that the server printed", 403)
