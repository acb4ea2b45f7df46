# SPDX-License-Identifier: Apache-2.0
"""Opens a model by its options: a checkpoint in PyTorch, optionally compiled, or an exported folder in onnxruntime.

All commands and the node describe their model by `ModelOptions`. Does not know how a model computes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sam2_ros.backends.onnx.layout import FILES, MANIFEST, ExportLayout
from sam2_ros.engine.compiled import OFF, check_compile_mode, compile_model
from sam2_ros.engine.model.sam2 import Sam2Model
from sam2_ros.engine.tracker_config import IMAGE_MODE, TrackerConfig
from sam2_ros.errors import CheckpointError

from .catalogue import find_checkpoint
from .load import compile_cache_dir, device_and_precision, load_model

BACKENDS = ("torch", "onnx")


@dataclass(frozen=True)
class ModelOptions:
    """Which model is opened, and how. Options of the command line and parameters of the node have the same names.

    Attributes:
        model: backend "torch": name or path, see `load_model`; backend "onnx": the folder that `sam2-ros export` wrote.
        device: "auto", "cpu" or "cuda:N", see `load_model`.
        precision: "auto", "fp32", "bf16" or "fp16", see `load_model`. An export has a fixed precision: "auto", or the
            same.
        image_size: side of the square input in pixels, see `load_model`. An export has a fixed size: 0, or the same.
        backend: "torch" or "onnx".
        compile: "off", "graphs" or "max", see `engine.compiled.compile_model`; backend "torch" only.

    Raises:
        CheckpointError: an unknown backend or compile mode, or an export that is to be compiled.
    """

    model: str = "nano"
    device: str = "auto"
    precision: str = "auto"
    image_size: int = 0
    backend: str = "torch"
    compile: str = OFF

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise CheckpointError(f"backend '{self.backend}': expected one of {', '.join(BACKENDS)}")
        check_compile_mode(self.compile)
        if self.compile != OFF and self.backend != "torch":
            raise CheckpointError(
                f"compile = '{self.compile}' with backend {self.backend}: expected backend torch, as exports cannot be "
                "compiled; use compile = 'off'"
            )

    @property
    def patience_s(self) -> float:
        """Seconds that a process may take to open the model, with imports and warm-up; after that it has failed."""
        return 180.0 if self.compile == OFF else 1200.0  # a compiler takes minutes

    def files(self) -> list[Path]:
        """The checkpoint file, or the existing files of an export. Raises CheckpointError if there are none."""
        folder = Path(self.model).expanduser()
        if self.backend == "onnx":
            ExportLayout.read(folder)
            return [folder / name for name in FILES if (folder / name).is_file()]
        if (folder / MANIFEST).is_file():
            raise CheckpointError(
                f"{folder} is an ONNX export: give backend onnx, or a checkpoint for backend torch"
            )
        return [find_checkpoint(self.model)]

    def resolved(self) -> ModelOptions:
        """A copy with "auto" replaced by the device and precision that it means on this machine. Loads nothing.

        Raises:
            CheckpointError: every error of `open_model` that can be found without loading.
        """
        self.files()
        if self.backend == "torch":
            device, precision = device_and_precision(self.device, self.precision)
            check_compile_mode(self.compile, device)
            return replace(self, device=device, precision=precision)
        from sam2_ros.backends.onnx.sessions import device_for

        return replace(self, device=device_for(self.device), precision=self._layout().precision)

    def in_any_folder(self) -> ModelOptions:
        """A copy for a process that runs in another folder: a path becomes absolute, a name stays."""
        path = Path(self.model).expanduser()
        return replace(self, model=str(path.absolute())) if path.exists() else self

    def _layout(self) -> ExportLayout:
        """The layout of the export. Raises CheckpointError if it was exported for other options."""
        folder = Path(self.model).expanduser()
        layout = ExportLayout.read(folder)
        if self.precision not in ("auto", layout.precision):
            raise CheckpointError(
                f"precision '{self.precision}': {folder} was exported in {layout.precision}; give auto, or export it "
                "again"
            )
        if self.image_size not in (0, layout.image_size):
            raise CheckpointError(
                f"image size {self.image_size}: {folder} was exported for {layout.image_size}; give 0, or export it "
                "again"
            )
        return layout


def open_model(options: ModelOptions, config: TrackerConfig = IMAGE_MODE) -> Sam2Model:
    """Open a model for a `Tracker` or an `ImageSegmenter`.

    The first frames are slower than later ones, unless `engine.warm_up.warm_up` is called before.

    Args:
        options: which model, and how.
        config: of the trackers that will use the model. A compiled model or an export has room only for the objects and
            prompted frames of this `config`.

    Raises:
        CheckpointError: see `load_model` and `compile_model`; or an export that is incomplete, or does not fit the
            options or `config`.
    """
    if options.backend == "onnx":
        options._layout()
        from sam2_ros.backends.onnx.model import OnnxModel

        exported = OnnxModel(Path(options.model).expanduser(), options.device)
        exported.check_fits(config)
        return exported
    options.files()
    model = load_model(options.model, options.device, options.precision, options.image_size)
    return compile_model(model, options.compile, config, compile_cache_dir())
