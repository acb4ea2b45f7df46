# SPDX-License-Identifier: Apache-2.0
"""Compiles a model before its stream begins: its stages as CUDA graphs, as generated kernels, or both.

The only place that compiles. Does not know frames, prompts or where the compiler stores its files.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sam2_ros.errors import CheckpointError

from .device.cuda_graphs import CudaGraphs, Function
from .kernels.attention import LARGE_ATTENTION
from .kernels.prepare import prepare
from .kernels.rope import axial_rope, sine_grid
from .model.mask_decoder import DecodedMasks
from .model.matching import EVIDENCE
from .model.sam2 import ImageFeatures, MaskOutput, MemoryView, Sam2Model
from .tracker import Tracker
from .tracker_config import TrackerConfig

OFF, GRAPHS, MAX = "off", "graphs", "max"
COMPILE_MODES = (OFF, GRAPHS, MAX)
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def check_compile_mode(mode: str, device: str = "cuda") -> None:
    """Raise CheckpointError if the mode is not one of `COMPILE_MODES`, or the device does not support it."""
    if mode not in COMPILE_MODES:
        raise CheckpointError(f"compile = '{mode}': expected one of {', '.join(COMPILE_MODES)}")
    if mode == GRAPHS and not device.startswith("cuda"):
        raise CheckpointError(
            f"compile = 'graphs' on device '{device}': expected a CUDA device, which alone has CUDA graphs; "
            "use compile = 'max' or 'off' there"
        )


def compile_model(model: Sam2Model, mode: str, config: TrackerConfig, cache_dir: Path) -> Sam2Model:
    """Compile the stages of a model for every number of objects that a tracker of this `config` can have.

    Takes seconds ("graphs") to minutes ("max"); nothing is compiled later. A process can have one model compiled with
    "max" at a time: compiled code of an earlier one is dropped.

    Args:
        model: on its device and in its precision.
        mode: "off" (returns the model itself), "graphs" (CUDA graphs) or "max" (`torch.compile`; on a GPU also CUDA
            graphs of the generated kernels).
        config: of the trackers that will use the model.
        cache_dir: where "max" stores generated kernels for the next start, unless the environment variable
            TORCHINDUCTOR_CACHE_DIR is set.

    Raises:
        CheckpointError: an unknown mode; "graphs" without a GPU; approximations in `config`, which are not compiled; a
            compiler that is missing or fails.
    """
    check_compile_mode(mode, str(model.device))
    if mode == OFF:
        return model
    if config.memory_pooling > 1 or config.memory_every > 1:
        raise CheckpointError(
            f"compile = '{mode}' with memory_pooling {config.memory_pooling} and memory_every {config.memory_every}: "
            "expected 1 and 1, as only a full memory bank can be compiled; use compile = 'off'"
        )
    if mode == MAX:
        os.environ.setdefault(CACHE_VARIABLE, str(cache_dir))
        torch.compiler.reset()
    compiled = CompiledModel(model, mode, config.max_objects)
    try:
        with _compiler(model.device) if mode == MAX else nullcontext():
            compiled.compile_stages(config)
    except torch._dynamo.exc.TorchDynamoException as error:
        raise CheckpointError(
            f"compile = '{mode}' failed on device '{model.device}' {compiler_failure(error)}, or use compile = 'off'"
        ) from error
    return compiled


def compiler_failure(error: torch._dynamo.exc.TorchDynamoException) -> str:
    """Why `torch.compile` failed and what it needs, as a part of an error message of one line."""
    cause = getattr(error, "inner_exception", error)
    reason = f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]}"
    return f"({reason}); a C++ compiler, on a GPU Triton too, is expected: install g++"


def buckets(largest: int) -> tuple[int, ...]:
    """Numbers of objects for which stages are compiled: 1, 2, 3, 4, 6, 8, 12, ..., `largest`.

    Fewer objects are padded to the next number. With powers of two alone, 5 objects would cost as much as 8; with these
    steps padding costs a third more at worst.
    """
    powers = [1 << n for n in range(largest.bit_length())]
    sizes = {size for power in powers for size in (power, power * 3 // 2)}
    return tuple(sorted({size for size in sizes if size < largest} | {largest}))


def pad_by_last(x_b: torch.Tensor, batch: int) -> torch.Tensor:
    """`x_b` with its last entry repeated up to `batch` entries, in the same memory format."""
    count = len(x_b)
    if count == batch:
        return x_b
    filled = torch.empty_strided((batch, *x_b.shape[1:]), x_b.stride(), dtype=x_b.dtype, device=x_b.device)
    filled[:count] = x_b
    filled[count:] = x_b[-1:]
    return filled


class CompiledModel(Sam2Model):
    """A model with the same weights, whose stages of a tracked frame are compiled; prompts are decoded as before."""

    def __init__(self, model: Sam2Model, mode: str, max_objects: int) -> None:
        with torch.device("meta"):
            super().__init__(model.config)
        prepared = prepare(model, half_split=True)
        self._modules, self._parameters = prepared._modules, prepared._parameters
        self.prepared_from, self.compute_dtype = prepared.prepared_from, model.compute_dtype
        self.requires_grad_(False).eval()
        self.mode, self.buckets = mode, buckets(max_objects)
        self.compile_s = 0.0
        self._graphs = CudaGraphs(self.device) if self.device.type == "cuda" else None
        self._capturing = False
        on_cpu = self.device.type == "cpu"
        # Measured on a CPU: a compiled image encoder takes as long at 384 px and twice as long at 1024, as it does not
        # work on strips; large memory attention takes a fifth longer, small a fifth less.
        large = (1 + self.config.recent_memories) * self.config.grid**4 > LARGE_ATTENTION
        self._encode = self._encode_function if on_cpu else self._compiled(self._encode_function)
        self._attend = self._attend_function if on_cpu and large else self._compiled(self._attend_function)
        self._decode = self._compiled(self._decode_function)
        self._memorise = self._compiled(self._memorise_function)

    @property
    def summary(self) -> str:
        """One line for the log: mode, numbers of objects, seconds of compilation."""
        counts = ", ".join(map(str, self.buckets))
        return f"compile {self.mode}: stages for {counts} objects in {self.compile_s:.1f} s"

    def encode_image(self, image_b3hw: torch.Tensor) -> ImageFeatures:
        if len(image_b3hw) != 1:  # several images: image mode, which is not compiled
            return super().encode_image(image_b3hw)
        image = image_b3hw.contiguous(memory_format=torch.channels_last)
        return ImageFeatures(*self._run("encode", self._encode, (image,)))

    def fuse_memory(self, s16_bchw: torch.Tensor, memory: MemoryView) -> torch.Tensor:
        count = len(memory.pointers_bpd)
        of_objects = (memory.spatial_bftc, memory.slots_bf, memory.pointers_bpd, memory.distances_bp)
        inputs = (s16_bchw, *self._padded(*of_objects), memory.pointer_span)
        return self._run("attend", self._fuse_function, inputs)[0][:count]

    def decode(
        self,
        fused_bchw: torch.Tensor,
        features: ImageFeatures,
        points_bn2: torch.Tensor | None = None,
        labels_bn: torch.Tensor | None = None,
        mask_logits_b1hw: torch.Tensor | None = None,
        evidence_b6hw: torch.Tensor | None = None,
    ) -> DecodedMasks:
        if points_bn2 is not None or mask_logits_b1hw is not None:
            return super().decode(
                fused_bchw, features, points_bn2, labels_bn, mask_logits_b1hw, evidence_b6hw
            )
        evidence = () if evidence_b6hw is None else self._padded(evidence_b6hw)
        inputs = (*self._padded(fused_bchw), *features[:3], *evidence)
        return DecodedMasks(*(x[: len(fused_bchw)] for x in self._run("decode", self._decode, inputs)))

    def predict(self, decoded: DecodedMasks, multimask: bool, stability_fallback: bool) -> MaskOutput:
        if multimask != self.config.best_of_three or stability_fallback:
            return super().predict(decoded, multimask, stability_fallback)
        outputs = self._run("choose", self._choose_function, self._padded(*decoded))
        return MaskOutput(*(x[: len(decoded.presence_b)] for x in outputs))

    def encode_memory(
        self,
        s16_bchw: torch.Tensor,
        logits_b1hw: torch.Tensor,
        presence_b: torch.Tensor,
        binarize_b: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if binarize_b is None:
            return super().encode_memory(s16_bchw, logits_b1hw, presence_b)
        inputs = (s16_bchw, *self._padded(logits_b1hw, presence_b, binarize_b))
        return self._run("memorise", self._memorise, inputs)[0][: len(logits_b1hw)]

    @torch.inference_mode()
    def compile_stages(self, config: TrackerConfig) -> None:
        """Run every stage once for every number of objects, so that everything is compiled or captured now."""
        begun_s = time.monotonic()
        size = self.config.image_size
        with self.precision():
            self._capturing = True
            features = self.encode_image(torch.zeros(1, 3, size, size, device=self.device))
            for count in reversed(self.buckets):
                for view, is_full in _memories(self, config, count):
                    self._capturing = is_full
                    fused = self.fuse_memory(features.s16, view)
                self._capturing = True
                evidence = self._no_evidence(count)
                output = self.predict(
                    self.decode(fused, features, evidence_b6hw=evidence), self.config.best_of_three, False
                )
                binarize = torch.zeros(count, dtype=torch.bool, device=self.device)
                self.encode_memory(
                    features.s16, output.logits_b1hw.float(), output.presence_b.float(), binarize
                )
            self._capturing = False
        # CUDA graphs read these tables at fixed addresses: keep them, even if their cache drops them.
        c, side = self.config, self.config.grid
        self._tables = (
            axial_rope(side, c.d_model, self.device),
            sine_grid(side, c.d_model, self.device),
            sine_grid(side, c.mem_dim, self.device),
        )
        self.compile_s = time.monotonic() - begun_s

    def _no_evidence(self, count: int) -> torch.Tensor | None:
        """Zeros in the shape of `Sam2Model.match`, with which tracked frames are decoded; None without matching."""
        if self.config.matching is None:
            return None
        side = 2 * self.config.grid
        return torch.zeros(count, EVIDENCE, side, side, device=self.device)

    def _run(self, name: str, function: Function, inputs: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
        if self._graphs is not None:
            if self._capturing and not self._graphs.has(name, inputs):
                self._graphs.capture(name, function, inputs)
            if self._graphs.has(name, inputs):
                return self._graphs.run(name, inputs)
        return function(*inputs)

    def _padded(self, *parts_b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Pad inputs of some objects to the next number of objects in `buckets`."""
        count = len(parts_b[0])
        if count > self.buckets[-1]:
            raise CheckpointError(
                f"{count} objects given; expected at most {self.buckets[-1]}, for which the model was compiled; "
                "compile it for a larger max_objects"
            )
        batch = next(size for size in self.buckets if size >= count)
        return tuple(pad_by_last(part, batch) for part in parts_b)

    def _compiled(self, function: Function) -> Function:
        """With "max", compile for one object and for several; raises where something cannot be compiled."""
        if self.mode != MAX:
            return function
        return partial(_with_any_batch, torch.compile(function, fullgraph=True))

    def _encode_function(self, image_13hw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(level for level in Sam2Model.encode_image(self, image_13hw) if level is not None)

    def _fuse_function(
        self,
        s16_1chw: torch.Tensor,
        spatial_bftc: torch.Tensor,
        slots_bf: torch.Tensor,
        pointers_bpd: torch.Tensor,
        distances_bp: torch.Tensor,
        pointer_span: int | None,
    ) -> tuple[torch.Tensor, ...]:
        view = MemoryView(spatial_bftc, slots_bf, pointers_bpd, distances_bp, pointer_span)
        tokens, position = self._memory_tokens(view)
        pointer_tokens = pointers_bpd.shape[1] * (self.config.d_model // self.config.mem_dim)
        sizes = [tokens.shape[1] - pointer_tokens, pointer_tokens]
        return self._attend(s16_1chw, *tokens.split(sizes, dim=1), *position.split(sizes, dim=1))

    def _attend_function(
        self,
        s16_1chw: torch.Tensor,
        spatial_bnc: torch.Tensor,
        pointers_bnc: torch.Tensor,
        spatial_pos_bnc: torch.Tensor,
        pointer_pos_bnc: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Memory attention. Pointer tokens are a separate tensor: their number is then a shape, and a new number needs
        no compilation."""
        tokens = torch.cat([spatial_bnc, pointers_bnc], dim=1)
        position = torch.cat([spatial_pos_bnc, pointer_pos_bnc], dim=1)
        return (self.memory_attention(s16_1chw, tokens, position, pointers_bnc.shape[1]),)

    def _decode_function(
        self,
        fused_bchw: torch.Tensor,
        s4: torch.Tensor,
        s8: torch.Tensor,
        s16: torch.Tensor,
        evidence_b6hw: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        features = ImageFeatures(s4, s8, s16)
        return tuple(Sam2Model.decode(self, fused_bchw, features, evidence_b6hw=evidence_b6hw))

    def _choose_function(self, *decoded_b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(Sam2Model.predict(self, DecodedMasks(*decoded_b), self.config.best_of_three, False))

    def _memorise_function(
        self,
        s16_1chw: torch.Tensor,
        logits_b1hw: torch.Tensor,
        presence_b: torch.Tensor,
        binarize_b: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        return (Sam2Model.encode_memory(self, s16_1chw, logits_b1hw, presence_b, binarize_b),)


@contextmanager
def _compiler(device: torch.device) -> Iterator[None]:
    """Settings of the compiler while it compiles."""
    import torch._inductor.config  # takes a second, and is rarely needed

    with warnings.catch_warnings():
        # Position tables come from functions with an lru_cache, which the compiler ignores with a warning.
        warnings.filterwarnings("ignore", message=".*lru_cache")
        if device.type == "cpu":
            # Folds constants and repacks weights for the matrix units: most of the gain on a CPU.
            with torch._inductor.config.patch({"freezing": True}):
                yield
        else:
            with torch._inductor.config.patch({"max_autotune": True, "fx_graph_cache": True}):
                yield


def _with_any_batch(compiled: Callable[..., Any], *inputs: torch.Tensor) -> Any:
    """Call a compiled function, with the number of objects and of memory tokens marked as dynamic."""
    for x in inputs:
        if len(x) > 1:
            torch._dynamo.maybe_mark_dynamic(x, 0)
        if x.ndim == 3:
            torch._dynamo.maybe_mark_dynamic(x, 1)
    return compiled(*inputs)


def _memories(model: Sam2Model, config: TrackerConfig, count: int) -> Iterator[tuple[MemoryView, bool]]:
    """Memories to compile for: after one frame, and when full, with every number of prompted frames; True = full."""
    bank = Tracker(model, replace(config, max_objects=count)).bank
    rows, spatial, pointers = range(count), torch.zeros_like(bank.spatial[:, 0]), bank.pointers[:, 0]
    last = model.config.max_pointers - 1
    for prompted in range(1, config.max_conditioning_frames + 1):
        for row in rows:
            bank.write_conditioning(row, 1 - prompted, spatial[row], pointers[row])
        if prompted == 1:
            yield bank.view(rows, 1), False
            for frame in range(1, last + 1):
                bank.write_recents(rows, frame, spatial, pointers)
        yield bank.view(rows, last + 1), True
