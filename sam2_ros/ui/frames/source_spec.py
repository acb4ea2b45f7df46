# SPDX-License-Identifier: Apache-2.0
"""Names a source and opens it: a video, a folder, a bag, or the rendered demo clip.

Does not know how frames are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sam2_ros.atomic_write import atomic_write
from sam2_ros.errors import UserError
from sam2_ros.media.files.image_folder import FolderFrames
from sam2_ros.media.frame_source import NS_PER_S, Frame, FrameSource, SourceError
from sam2_ros.media.frames import open_source
from sam2_ros.media.opencv_log import quiet_opencv
from sam2_ros.media.overlay import write_png

DEMO = "demo"
DEMO_FPS = 10.0
DEMO_HW = (480, 640)


@dataclass(frozen=True)
class SourceSpec:
    """A source as it was named.

    Attributes:
        path: video, folder or bag; of the demo clip the folder in which its frames are kept.
        topic: image topic of a bag; None = its only one.
        glob: of a folder, see `media.frames.open_source`.
        fps: of a folder, likewise.
        demo_frames: number of frames of the demo clip; 0 = not the demo clip.
    """

    path: Path
    topic: str | None = None
    glob: str | None = None
    fps: float | None = None
    demo_frames: int = 0

    def open(self) -> FrameSource:
        """Open the source. Raises SourceError."""
        if self.demo_frames:
            return DemoFrames(self.path, self.demo_frames)
        with quiet_opencv():
            return open_source(self.path, self.topic, None, self.glob, self.fps)

    @property
    def options(self) -> dict[str, Any]:
        """All but the path, as JSON."""
        return {name: value for name, value in asdict(self).items() if name != "path" and value}

    @staticmethod
    def of(path: str, options: Mapping[str, Any]) -> SourceSpec:
        """The spec of a path and `options`."""
        known = {name: options[name] for name in ("topic", "glob", "fps", "demo_frames") if name in options}
        return SourceSpec(Path(path), **known)

    @property
    def fingerprint(self) -> list[int]:
        """Size and time of change of a file, number of files of a folder: changes if the source does."""
        if self.demo_frames:
            return [self.demo_frames]
        try:
            if self.path.is_dir():
                return [sum(1 for _ in self.path.iterdir())]
            found = self.path.stat()
        except OSError:
            return []
        return [found.st_size, found.st_mtime_ns]


@dataclass(frozen=True)
class Description:
    """What is known of a source before its frames are decoded. `frames` 0 = unknown."""

    kind: str
    name: str
    frames: int
    fps: float
    width: int
    height: int
    stamps_known: bool


def describe(spec: SourceSpec) -> Description:
    """Open a source and decode its first frame.

    Raises:
        SourceError: it cannot be opened, or holds no frame.
    """
    if spec.demo_frames:
        return Description(DEMO, "demo clip", spec.demo_frames, DEMO_FPS, DEMO_HW[1], DEMO_HW[0], False)
    try:
        with spec.open() as source:
            first = next(iter(source), None)
            if first is None:
                raise SourceError(f"{spec.path} holds no frame: give a video, a folder of images or a bag")
            height, width = first.image.shape[:2]
            known = source.has_stamps
            return Description(
                source.kind, spec.path.name or str(spec.path), source.length or 0, source.fps, width, height, known
            )  # fmt: skip
    except OSError as error:
        raise UserError(f"source {spec.path} cannot be read: {error.strerror or error}") from error


class DemoFrames(FolderFrames):
    """The demo clip. Its frames are rendered in order and kept as PNG files, which `sam2-ros track` reads as well."""

    kind = DEMO  # type: ignore[assignment]

    def __init__(self, folder: Path, frames: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.length = folder, frames
        self.name, self.fps, self.has_stamps = str(folder), DEMO_FPS, False
        self._stamps_ns = None

    def _frames(self) -> Iterator[Frame]:
        return self.frames_from(0)

    def frames_from(self, first: int) -> Iterator[Frame]:
        """Read the frames that were rendered before, and render and keep the others."""
        from sam2_ros.synthetic.render import demo_frames

        assert self.length is not None
        missing = [i for i in range(self.length) if not self.file(i).exists()]
        drawn = enumerate(demo_frames(self.length)) if missing else iter(())
        for index in range(first, self.length):
            image = None
            if not self.file(index).exists():
                image = next(image for number, image in drawn if number == index)
                with atomic_write(self.file(index), self._folder / f".{index:05d}.partial.png") as partial:
                    write_png(partial, image, compression=1)
            yield Frame(
                index, round(index * NS_PER_S / DEMO_FPS), self._read(index) if image is None else image
            )

    def file(self, index: int) -> Path:
        """The file of one frame."""
        return self._folder / f"{index:05d}.png"

    def _read(self, index: int) -> Any:
        from sam2_ros.media.ros_image import compressed_to_rgb

        return compressed_to_rgb(self.file(index).read_bytes())
