# SPDX-License-Identifier: Apache-2.0
"""Exports of a tracked clip through the socket: files are downloaded and compared with the masks of the page.

The model sees 128 pixels. How files are written is tested in test/ui/export.
"""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy (extra ui)")
pytest.importorskip("alembic", reason="needs alembic (extra ui)")
pytest.importorskip("fastapi", reason="needs fastapi (extra ui)")
pytest.importorskip("uvicorn", reason="needs uvicorn (extra ui)")
pytest.importorskip("websockets", reason="needs websockets (extra ui)")
from PIL import Image
from session_clips import HEIGHT, WIDTH, box_around, clip, clip_folder, inside, iou
from ui_servers import PageClient, RunningServer, running_server

from sam2_ros.cli.main import run
from sam2_ros.eval.recording import read_results
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.frames import open_source
from sam2_ros.media.results import OBJECTS_TOPIC

pytestmark = pytest.mark.long
HW = (HEIGHT, WIDTH)
FRAMES, FIRST_NS, STEP_NS = 12, 1_700_000_000_000_000_000, 40_000_000
FOLDER, BAG, UNTOUCHED = 1, 2, 3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A folder and a bag of one clip, each with two objects that are tracked, and a clip without objects."""
    folder = clip_folder(tmp_path_factory.mktemp("clip") / "frames", FRAMES)
    bag = tmp_path_factory.mktemp("bag") / "drive"
    with BagWriter(bag) as writer:
        for index, image in enumerate(clip(FRAMES).frames):
            writer.write_image("/camera", FIRST_NS + index * STEP_NS, "optical", image)
    untouched = clip_folder(tmp_path_factory.mktemp("other") / "untouched", 3)
    with running_server(tmp_path_factory.mktemp("project"), folder, bag, untouched) as running:
        for source in (FOLDER, BAG):
            with running.client(source) as page:
                page.wait_until_decoded()
                for number, name in ((1, "cup"), (2, "größer/../2")):
                    page.ask("add_object", name=name, **{"class": "thing"})
                    x0, y0, x1, y1 = box_around(number, 0)
                    page.ask("box", frame=0, object=number, x0=x0, y0=y0, x1=x1, y1=y1)
                x, y = inside(1, 4)
                page.ask("click", frame=4, object=1, x=x, y=y, sign=1)
                page.track(0, "forward")
        with running.client(UNTOUCHED) as page:
            page.wait_until_decoded()
        yield running


def exported(
    server: RunningServer, page: PageClient, kind: str, **options: Any
) -> tuple[dict[str, Any], bytes]:
    """The event that ends the export, and the file that it names."""
    job = page.ask("export", kind=kind, **options)["job"]
    event = page.event("exported", lambda event: event["job"] == job)
    if "error" in event or not event["url"]:
        return event, b""
    status, headers, body = server.request("GET", event["url"])
    assert status == 200, body
    assert event["file"] in headers["content-disposition"] or "filename*" in headers["content-disposition"]
    return event, body


def unpacked(body: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert all(not name.startswith("/") and ".." not in name.split("/") for name in archive.namelist())
        archive.extractall(folder)
    (top,) = folder.iterdir()
    return top


def masks_of(page: PageClient) -> list[dict[int, np.ndarray]]:
    found = []
    for index in range(FRAMES):
        page.ask("masks", index=index)
        found.append(page.masks(HW, index))
    return found


def label_image(masks: dict[int, np.ndarray]) -> np.ndarray:
    """Where masks overlap, the smaller object has the pixel."""
    image = np.zeros(HW, np.uint8)
    for number in sorted(masks, key=lambda number: -masks[number].sum()):
        image[masks[number]] = number
    return image


def test_exported_masks_are_those_of_the_page(server: RunningServer, tmp_path: Path):
    with server.client(FOLDER) as page:
        event, body = exported(server, page, "masks")
        folder = unpacked(body, tmp_path)
        files = sorted((folder / "masks").iterdir())
        assert [file.name for file in files] == [
            f"{index:04d}.png" for index in range(FRAMES)
        ]  # of the frames
        for file, masks in zip(files, masks_of(page), strict=True):
            assert np.array_equal(np.asarray(Image.open(file)), label_image(masks))
        labels = json.loads((folder / "labels.json").read_text())
        assert (labels["1"]["name"], labels["1"]["class"]) == ("cup", "thing")
        assert labels["2"]["name"] == "größer/../2"
        assert event["url"].startswith("/exports/frames-")
        assert [one["what"] for one in page.named("progress")][-1] == "export"


@pytest.mark.parametrize("source", [FOLDER, BAG])
def test_exported_prompts_give_the_same_masks_by_the_command_in_their_readme(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: int
):
    with server.client(source) as page:
        folder = unpacked(exported(server, page, "prompts")[1], tmp_path)
        (line,) = [
            line for line in (folder / "README.txt").read_text().splitlines() if "sam2-ros track" in line
        ]
        arguments = shlex.split(line)[1:]
        assert "--image-size" in arguments
        monkeypatch.chdir(folder)
        assert run([*arguments, "--save", "masks"]) == 0
        tracked = [np.asarray(Image.open(file)) for file in sorted((folder / "tracked" / "masks").iterdir())]
        for index, (image, masks) in enumerate(zip(tracked, masks_of(page), strict=True)):
            if index in (0, 4):  # of a prompted frame `track` shows what the tracker made of the mask
                assert min(iou(image == n, label_image(masks) == n) for n in masks) > 0.8, index
            else:
                assert np.array_equal(image, label_image(masks)), index


def test_an_exported_bag_has_the_stamps_of_the_images_and_its_copy_the_images_too(
    server: RunningServer, tmp_path: Path
):
    stamps = {FIRST_NS + index * STEP_NS: index for index in range(FRAMES)}
    with server.client(BAG) as page:
        masks = masks_of(page)
        for copy in (False, True):
            folder = unpacked(exported(server, page, "bag", with_source=copy)[1], tmp_path / str(copy))
            results = list(read_results(folder / "bag", OBJECTS_TOPIC, stamps))
            assert [result.frame_index for result in results] == list(range(FRAMES))
            for result in results:
                assert [one.id for one in result.objects] == ["cup", "größer/../2"]
                for one in result.objects:
                    assert np.array_equal(one.mask, masks[result.frame_index][one.label])
            if copy:
                with open_source(folder / "bag", "/camera") as images:
                    assert [frame.stamp_ns for frame in images] == list(stamps)


def test_a_movie_has_the_effects_and_every_frame(server: RunningServer, tmp_path: Path):
    pytest.importorskip("av", reason="needs PyAV (extra ui)")
    with server.client(FOLDER) as page:
        page.ask("settings", settings={"background": {"effect": "erase", "colours": ["#ff0000", "#0000ff"]}})
        page.ask("settings", settings={"object": {"effect": "cutout"}})
        _, body = exported(server, page, "mp4")
        (tmp_path / "clip.mp4").write_bytes(body)
        with open_source(tmp_path / "clip.mp4") as movie:
            frames = [frame.image for frame in movie]
        assert len(frames) == FRAMES
        for image, masks, source in zip(frames, masks_of(page), clip(FRAMES).frames, strict=True):
            shown = cv2.erode(label_image(masks), np.ones((7, 7))) > 0
            hidden = cv2.dilate(label_image(masks), np.ones((7, 7))) == 0
            assert abs(image[hidden].astype(int) - (255, 0, 0)).mean() < 12
            assert abs(image[shown].astype(int) - source[shown]).mean() < 25
        page.ask("settings", settings={"background": {"effect": "original"}, "object": {"effect": "overlay"}})


def test_an_uploaded_picture_replaces_the_object_in_the_movie(server: RunningServer, tmp_path: Path):
    pytest.importorskip("av", reason="needs PyAV (extra ui)")
    _, encoded = cv2.imencode(".png", np.full((16, 16, 3), (0, 255, 0), np.uint8))
    status, _, body = server.request("POST", "/pictures?name=green.png", encoded.tobytes())
    assert status == 200
    with server.client(FOLDER) as page:
        picture = json.loads(body)["picture"]
        page.ask("settings", settings={"object": {"effect": "replace", "picture": picture}})
        _, body = exported(server, page, "mp4")
        (tmp_path / "clip.mp4").write_bytes(body)
        with open_source(tmp_path / "clip.mp4") as movie:
            first = next(iter(movie)).image
        rows, columns = np.nonzero(masks_of(page)[0][1])
        middle = first[round(rows.mean()), round(columns.mean())].astype(int)
        assert abs(middle - (0, 255, 0)).max() < 40
        page.ask("settings", settings={"object": {"effect": "replace", "picture": "../../secret.png"}})
        event, _ = exported(server, page, "mp4")
        assert "is not in the project: upload it again" in event["error"]
        page.ask("settings", settings={"object": {"effect": "overlay", "picture": ""}})


@pytest.mark.parametrize(
    ("kind", "line"),
    [("masks", "no frame is tracked yet"), ("bag", "no frame is tracked"), ("prompts", "no keyframe")],
)
def test_what_has_nothing_to_export_says_so(server: RunningServer, kind: str, line: str):
    with server.client(UNTOUCHED) as page:
        event, _ = exported(server, page, kind)
        assert line in event["error"]
        assert "\n" not in event["error"]
    exports = server.service.exports
    assert not [
        folder for folder in (exports.iterdir() if exports.is_dir() else ()) if "untouched" in folder.name
    ]


def test_an_export_that_is_cancelled_leaves_nothing(server: RunningServer):
    before = set(server.service.exports.iterdir())
    with server.client(FOLDER) as page:
        jobs = [page.ask("export", kind="masks")["job"] for _ in range(4)]  # one after the other
        assert page.ask("cancel_export", job=jobs[-1])["cancelled"]
        ended = {job: page.event("exported", lambda event, job=job: event["job"] == job) for job in jobs}
        assert [job for job in jobs if "error" in ended[job]] == jobs[-1:]
        assert ended[jobs[-1]]["error"] == "cancelled; nothing of it is left"
        assert not page.ask("cancel_export", job=jobs[-1])["cancelled"]
    assert len(set(server.service.exports.iterdir()) - before) == 3


def test_only_so_many_exports_wait(server: RunningServer):
    with server.client(FOLDER) as page:
        jobs, refused = [], ""
        while not refused and len(jobs) < 50:
            answer = page.answer(page.send("export", kind="masks"))
            jobs += [answer["result"]["job"]] if answer["ok"] else []
            refused = answer.get("error", "")
        assert "exports run or wait" in refused
        for job in jobs:
            page.ask("cancel_export", job=job)
        for job in jobs:
            page.event("exported", lambda event, job=job: event["job"] == job)
