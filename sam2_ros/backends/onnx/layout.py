# SPDX-License-Identifier: Apache-2.0
"""Layout of an exported folder: model, shapes, files, names of inputs and outputs; stored in it as JSON.

Knows numbers and names only. Does not know how a graph is made or run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sam2_ros.atomic_write import write_json
from sam2_ros.engine.config import ModelConfig, config_for
from sam2_ros.engine.model.matching import EVIDENCE
from sam2_ros.errors import CheckpointError

MANIFEST = "sam2_ros_onnx.json"
TABLES = "tables.npz"
FORMAT = 1
STAGES = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
MATCHING_STAGES = ("matching_prompted", "matching_recent", "matching_embedding")
"""Further stages of a model with a matching memory."""
FILES = (*(f"{stage}.onnx" for stage in (*STAGES, *MATCHING_STAGES)), TABLES, MANIFEST)
"""All files that an export may have."""
EXPORT_PRECISIONS = ("fp32", "fp16")
HALF_LIMIT = 65504
"""Most keys of one softmax in float16: a sum of so many ones is the largest number that float16 holds."""


@dataclass(frozen=True)
class ExportLayout:
    """The fixed shapes of an export.

    Attributes:
        model: nano, tiny, small, base_plus or large.
        version: "2.0" or "2.1".
        image_size: side of the square input, pixels.
        precision: "fp32" or "fp16": number format inside the graphs. Inputs and outputs are float32 either way.
        objects: batch of the stages that work per object, 1..256.
        conditioning_frames: spatial memories of prompted frames per object, 1..32.
        recent_frames: spatial memories of recent frames per object, 0..6.
        prompt_points: most clicks and box corners of one prompt, 2..64; a box has two.
        weights: SHA-256 over the tensors of the checkpoint, hexadecimal; stored in each graph, too.
        parameters: number of weights of the whole model.

    Raises:
        CheckpointError: a value is out of its range, or fp16 with more keys than float16 can sum.
    """

    model: str
    version: str
    image_size: int
    precision: str = "fp32"
    objects: int = 4
    conditioning_frames: int = 4
    recent_frames: int = 6
    prompt_points: int = 8
    weights: str = ""
    parameters: int = 0

    def __post_init__(self) -> None:
        self._check("--objects", self.objects, 1, 256)
        self._check("--conditioning-frames", self.conditioning_frames, 1, 32)
        self._check("--memory-frames", self.recent_frames + 1, 1, 7)
        self._check("--points", self.prompt_points, 2, 64)
        if self.precision not in EXPORT_PRECISIONS:
            raise CheckpointError(
                f"--precision {self.precision}: expected one of {', '.join(EXPORT_PRECISIONS)}"
            )
        if self.precision == "fp16" and self.keys > HALF_LIMIT:
            raise CheckpointError(
                f"{self.keys} memory tokens per object given, in fp16 at most {HALF_LIMIT} expected: a softmax over "
                "more overflows; export fewer --conditioning-frames, a smaller --image-size, or --precision fp32"
            )

    @staticmethod
    def _check(option: str, value: int, low: int, high: int) -> None:
        if not low <= value <= high:
            raise CheckpointError(f"{option} {value}: expected a number from {low} to {high}")

    @property
    def config(self) -> ModelConfig:
        """Configuration of the exported model."""
        return config_for(self.model, self.version).at_image_size(self.image_size)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the graphs."""
        return STAGES if self.config.matching is None else (*STAGES, *MATCHING_STAGES)

    @property
    def frames(self) -> int:
        """Spatial memories per object."""
        return self.conditioning_frames + self.recent_frames

    @property
    def pointers(self) -> int:
        """Object pointers per object: of conditioning frames and of recent ones."""
        return self.conditioning_frames + self.config.recent_pointers

    @property
    def tokens(self) -> int:
        """Prompt tokens: the points, and the padding token that is always appended."""
        return self.prompt_points + 1

    @property
    def keys(self) -> int:
        """Memory tokens to which one object attends."""
        config = self.config
        return self.frames * config.grid**2 + self.pointers * (config.d_model // config.mem_dim)

    def inputs(self, stage: str) -> dict[str, tuple[int, ...]]:
        """Names and shapes of a stage's inputs, all float32 but `slots`, which is int64."""
        c, n = self.config, self.objects
        d, g, cells = c.d_model, c.grid, c.grid**2
        if stage == "image_encoder":
            return {"image": (1, 3, self.image_size, self.image_size)}
        if stage in MATCHING_STAGES:
            return self._matching_inputs(stage)
        if stage == "memory_attention":
            shapes = {
                "s16": (1, d, g, g),
                "spatial": (n, self.frames, cells, c.mem_dim),
                "slots": (n, self.frames),
                "spatial_valid": (n, self.frames),
                "pointers": (n, self.pointers, d),
                "pointer_age": (n, self.pointers),
                "pointer_valid": (n, self.pointers),
            }
            if c.version == "2.0":  # pointers without a time encoding
                del shapes["pointer_age"]
            return shapes
        if stage == "mask_decoder":
            return {
                "embedding": (n, d, g, g),
                # The matching memory adds to them for every object by itself.
                "s8": (1 if c.matching is None else n, d // 4, 2 * g, 2 * g),
                "s4": (1 if c.matching is None else n, d // 8, 4 * g, 4 * g),
                "tokens": (n, self.tokens, d),
                "token_valid": (n, self.tokens),
            }
        shapes = {"s16": (1, d, g, g), "logits": (n, 1, 4 * g, 4 * g), "presence": (n,), "binarize": (n,)}
        if c.version == "2.0":  # memories without the embedding for absent objects
            del shapes["presence"]
        return shapes

    def _matching_inputs(self, stage: str) -> dict[str, tuple[int, ...]]:
        c, cells = self.config, 4 * self.config.grid**2
        assert c.matching is not None
        if stage == "matching_embedding":
            return {"evidence": (self.objects, EVIDENCE, 2 * c.grid, 2 * c.grid)}
        keys = (cells, c.matching.channels)
        return {"keys": keys, "past_keys": keys, "masks": (self.objects, cells)}

    def outputs(self, stage: str) -> dict[str, tuple[int, ...]]:
        """Names and shapes of a stage's outputs, float32."""
        c, n = self.config, self.objects
        d, g = c.d_model, c.grid
        if stage == "image_encoder":
            keys = {} if c.matching is None else {"keys": (1, 4 * g * g, c.matching.channels)}
            return {
                "s4": (1, d // 8, 4 * g, 4 * g),
                "s8": (1, d // 4, 2 * g, 2 * g),
                "s16": (1, d, g, g),
                **keys,
            }
        if stage == "matching_embedding":
            return {"s16": (n, d, g, g), "s8": (n, d // 4, 2 * g, 2 * g), "s4": (n, d // 8, 4 * g, 4 * g)}
        if stage in MATCHING_STAGES:
            return {"covered": (n, 4 * g * g), "weights": (1, 4 * g * g)}
        if stage == "memory_attention":
            return {"fused": (n, d, g, g)}
        if stage == "mask_decoder":
            return {"masks": (n, 4, 4 * g, 4 * g), "iou": (n, 4), "mask_tokens": (n, 4, d), "presence": (n,)}
        return {"memory": (n, g * g, c.mem_dim)}

    def write(self, folder: Path, errors: dict[str, float]) -> Path:
        """Write `MANIFEST` to a folder; `errors`: largest difference to PyTorch, by stage. Returns its path."""
        stages = {
            stage: {
                "file": f"{stage}.onnx",
                "inputs": {name: list(shape) for name, shape in self.inputs(stage).items()},
                "outputs": {name: list(shape) for name, shape in self.outputs(stage).items()},
                "max_error": errors[stage],
            }
            for stage in self.stages
        }
        bank = {"frames": self.frames, "pointers": self.pointers, "keys": self.keys}
        path = folder / MANIFEST
        write_json(path, {"format": FORMAT, **asdict(self), "bank": bank, "stages": stages}, indent=2)
        return path

    @classmethod
    def read(cls, folder: Path) -> ExportLayout:
        """Read the `MANIFEST` of a folder.

        Raises:
            CheckpointError: the folder is not an export, or is one of another format.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise CheckpointError(
                f"{folder}: no {MANIFEST} there; backend onnx expects a folder that `sam2-ros export` has written: "
                "`sam2-ros export nano --format onnx --out DIR`, then the model DIR"
            )
        try:
            held = json.loads(path.read_text())
            if held["format"] != FORMAT:
                raise CheckpointError(
                    f"{path}: format {held['format']}, expected {FORMAT}: export the model again"
                )
            layout = cls(**{entry.name: held[entry.name] for entry in fields(cls)})
            layout.config  # noqa: B018  a name or version that is not in the family
        except CheckpointError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(
                f"{path} cannot be read ({type(error).__name__}: {error}): export the model again"
            ) from None
        return layout
