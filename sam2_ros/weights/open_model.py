# SPDX-License-Identifier: Apache-2.0
"""Opens a model: a checkpoint in PyTorch, compiled if asked, or an exported folder in onnxruntime.

What every command and the node are told about their model is one `ModelOptions`. Does not know how a model computes.
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
    """Which model is opened, and how. Fields are named as the options of the command line and the node's parameters.

    Attributes:
        model: for torch see `load_model`; for onnx the folder that `sam2-ros export` wrote.
        device, precision, image_size: see `load_model`. An export has its precision and image size in it: "auto" and 0
            take them, anything else has to be the same.
        backend: "torch" or "onnx".
        compile: see `engine.compiled`.

    Raises UserError: another backend or way to compile; an export that is to be compiled.
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
                f"compile = '{self.compile}' with backend {self.backend}: expected backend torch, whose model is what "
                "is compiled; use compile = 'off'"
            )

    @property
    def patience_s(self) -> float:
        """How long a process may take to open it, imports and warm-up included, before something must be wrong."""
        return 180.0 if self.compile == OFF else 1200.0  # a compiler takes minutes

    def files(self) -> list[Path]:
        """The checkpoint, or what there is of an export. Raises CheckpointError where there is none."""
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
        """The same, with the device and precision that "auto" stands for here. Nothing is loaded.

        Raises UserError: what can be told beforehand of all that `open_model` raises.
        """
        self.files()
        if self.backend == "torch":
            device, precision = device_and_precision(self.device, self.precision)
            check_compile_mode(self.compile, device)
            return replace(self, device=device, precision=precision)
        from sam2_ros.backends.onnx.sessions import device_for

        return replace(self, device=device_for(self.device), precision=self._layout().precision)

    def in_any_folder(self) -> ModelOptions:
        """The same for a process that runs in another folder: a path becomes absolute, a name stays."""
        path = Path(self.model).expanduser()
        return replace(self, model=str(path.absolute())) if path.exists() else self

    def _layout(self) -> ExportLayout:
        """Of the export. Raises CheckpointError where these options are not what it was exported for."""
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
    """A model ready for a `Tracker`; `warm_up` makes its first frames as fast as the later ones.

    Args:
        config: of the tracker that is to use the model. A compiled model, and an export, has room for so many objects
            and prompted frames only.

    Raises:
        CheckpointError: see `load_model`; an export that is not whole, or does not fit these options or `config`.
        UserError: see `compile_model`.
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
