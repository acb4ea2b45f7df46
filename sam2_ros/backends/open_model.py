"""Opens a model for a backend: PyTorch from a checkpoint, or onnxruntime from an exported folder.

Does not know how either computes.
"""

from __future__ import annotations

from pathlib import Path

from sam2_ros.engine import Sam2Model, TrackerConfig
from sam2_ros.weights.catalogue import CheckpointError
from sam2_ros.weights.load import load_model

from .onnx.layout import MANIFEST, ExportLayout
from .onnx.model import OnnxModel

BACKENDS = ("torch", "onnx")


def open_model(
    name_or_path: str | Path,
    backend: str = "torch",
    device: str = "auto",
    precision: str = "auto",
    image_size: int = 0,
    settings: TrackerConfig | None = None,
) -> Sam2Model:
    """A model ready for a `Tracker`.

    Args:
        name_or_path: for torch see `load_model`; for onnx the folder that `sam2-ros export` wrote.
        backend: "torch" or "onnx".
        device, precision, image_size: see `load_model`. An export has its precision and image size in it: "auto" and 0
            take them, anything else has to be the same.
        settings: of the tracker that is to use the model; an export has room for so many objects and frames only.

    Raises:
        CheckpointError: see `load_model`; a folder, device or setting that an export does not fit (`CheckpointError`).
    """
    if backend not in BACKENDS:
        raise CheckpointError(f"backend '{backend}': expected one of {', '.join(BACKENDS)}")
    folder = Path(name_or_path).expanduser()
    if backend == "torch":
        if (folder / MANIFEST).is_file():
            raise CheckpointError(
                f"{folder} is an ONNX export: give backend onnx, or a checkpoint for backend torch"
            )
        return load_model(name_or_path, device=device, precision=precision, image_size=image_size)
    layout = ExportLayout.read(folder)
    if precision not in ("auto", layout.precision):
        raise CheckpointError(
            f"precision '{precision}': {folder} was exported in {layout.precision}; give auto, or export it again"
        )
    if image_size not in (0, layout.image_size):
        raise CheckpointError(
            f"image size {image_size}: {folder} was exported for {layout.image_size}; give 0, or export it again"
        )
    model = OnnxModel(folder, device)
    if settings is not None:
        model.check(settings)
    return model
