# SPDX-License-Identifier: Apache-2.0
"""Compiles a model before its stream begins: its stages as CUDA graphs, as generated kernels, or both.

The one place that compiles. Does not know frames, prompts or where the compiler keeps its files.
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
from .kernels.attention import LARGE
from .kernels.prepare import prepare
from .kernels.rope import axial_rope, sine_grid
from .model.mask_decoder import DecodedMasks
from .model.sam2 import ImageFeatures, MaskOutput, MemoryView, Sam2Model
from .tracker import Tracker
from .tracker_config import TrackerConfig

OFF, GRAPHS, MAX = "off", "graphs", "max"
COMPILE_MODES = (OFF, GRAPHS, MAX)
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def check_compile_mode(mode: str, device: str = "cuda") -> None:
    """Raises CheckpointError for another way than `COMPILE_MODES`, or one that this kind of device does not have."""
    if mode not in COMPILE_MODES:
        raise CheckpointError(f"compile = '{mode}': expected one of {', '.join(COMPILE_MODES)}")
    if mode == GRAPHS and not device.startswith("cuda"):
        raise CheckpointError(
            f"compile = 'graphs' on device '{device}': expected a CUDA device, which alone has CUDA graphs; "
            "use compile = 'max' or 'off' there"
        )


def compile_model(model: Sam2Model, mode: str, config: TrackerConfig, cache_dir: Path) -> Sam2Model:
    """A model whose stages are compiled for every number of objects that a tracker of this `config` can have.

    Takes seconds ("graphs") to minutes ("max"); nothing is compiled later. Only one model of a process can be compiled
    with "max" at a time: what was compiled for an earlier one is dropped.

    Args:
        mode: "off" (the model itself), "graphs" (CUDA graphs) or "max" (torch.compile, and on a GPU graphs of that).
        cache_dir: where "max" keeps generated kernels for the next start; the user's TORCHINDUCTOR_CACHE_DIR goes
            before it.

    Raises:
        CheckpointError: another mode; "graphs" on a device that is no GPU; a compiler that is missing or fails.
    """
    check_compile_mode(mode, str(model.device))
    if mode == OFF:
        return model
    if config.memory_pooling > 1 or config.memory_every > 1:
        raise CheckpointError(
            f"compile = '{mode}' with memory_pooling {config.memory_pooling} and memory_every {config.memory_every}: "
            "expected 1 and 1, whose full bank is what is compiled; use compile = 'off'"
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
    """Why `torch.compile` failed, and what it needs: part of one line."""
    cause = getattr(error, "inner_exception", error)
    reason = f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]}"
    return f"({reason}); a C++ compiler, on a GPU Triton too, is expected: install g++"


def buckets(largest: int) -> tuple[int, ...]:
    """Numbers of objects that stages are compiled for: 1, 2, 3, 4, 6, 8, 12, ..., `largest`.

    Powers of two alone would make 5 objects pay for 8; these steps cost a third more at worst.
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
    """The model, with the same weights and the work of a tracked frame compiled; what answers prompts is as it was."""

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
        # Measured on a CPU: a compiled image encoder is as fast at 384 px and takes twice as long at 1024, as it cannot
        # go strip by strip; large attention to memory takes a fifth longer, small a fifth less.
        large = self.config.num_maskmem * self.config.grid**4 > LARGE
        self._encode = self._encode_function if on_cpu else self._compiled(self._encode_function)
        self._attend = self._attend_function if on_cpu and large else self._compiled(self._attend_function)
        self._decode = self._compiled(self._decode_function)
        self._memorise = self._compiled(self._memorise_function)

    @property
    def summary(self) -> str:
        counts = ", ".join(map(str, self.buckets))
        return f"compile {self.mode}: stages for {counts} objects in {self.compile_s:.1f} s"

    def encode_image(self, image_b3hw: torch.Tensor) -> ImageFeatures:
        if len(image_b3hw) != 1:  # several images at once: image mode
            return super().encode_image(image_b3hw)
        image = image_b3hw.contiguous(memory_format=torch.channels_last)
        return ImageFeatures(*self._run("encode", self._encode, (image,)))

    def fuse_memory(self, s16_bchw: torch.Tensor, memory: MemoryView) -> torch.Tensor:
        count = len(memory.pointers_bpd)
        of_objects = (memory.spatial_bftc, memory.slots_bf, memory.pointers_bpd, memory.distances_bp)
        inputs = (s16_bchw, *self._filled(*of_objects), memory.pointer_span)
        return self._run("attend", self._fuse_function, inputs)[0][:count]

    def decode(
        self,
        fused_bchw: torch.Tensor,
        features: ImageFeatures,
        points_bn2: torch.Tensor | None = None,
        labels_bn: torch.Tensor | None = None,
        mask_logits_b1hw: torch.Tensor | None = None,
    ) -> DecodedMasks:
        if points_bn2 is not None or mask_logits_b1hw is not None:
            return super().decode(fused_bchw, features, points_bn2, labels_bn, mask_logits_b1hw)
        inputs = (*self._filled(fused_bchw), *features)
        return DecodedMasks(*(x[: len(fused_bchw)] for x in self._run("decode", self._decode, inputs)))

    def predict(self, decoded: DecodedMasks, multimask: bool, stability_fallback: bool) -> MaskOutput:
        if not multimask or stability_fallback:
            return super().predict(decoded, multimask, stability_fallback)
        outputs = self._run("choose", self._choose_function, self._filled(*decoded))
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
        inputs = (s16_bchw, *self._filled(logits_b1hw, presence_b, binarize_b))
        return self._run("memorise", self._memorise, inputs)[0][: len(logits_b1hw)]

    @torch.inference_mode()
    def compile_stages(self, config: TrackerConfig) -> None:
        """Run every stage for every number of objects once: what has to be compiled or captured, is now."""
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
                output = self.predict(self.decode(fused, features), True, False)
                binarize = torch.zeros(count, dtype=torch.bool, device=self.device)
                self.encode_memory(
                    features.s16, output.logits_b1hw.float(), output.presence_b.float(), binarize
                )
            self._capturing = False
        # Graphs read these where they lie: they must outlive the cache of a process with many models.
        c, side = self.config, self.config.grid
        self._tables = (
            axial_rope(side, c.d_model, self.device),
            sine_grid(side, c.d_model, self.device),
            sine_grid(side, c.mem_dim, self.device),
        )
        self.compile_s = time.monotonic() - begun_s

    def _run(self, name: str, function: Function, inputs: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
        if self._graphs is not None:
            if self._capturing and not self._graphs.has(name, inputs):
                self._graphs.capture(name, function, inputs)
            if self._graphs.has(name, inputs):
                return self._graphs.run(name, inputs)
        return function(*inputs)

    def _filled(self, *parts_b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Inputs of some objects as those of the next number that is compiled."""
        count = len(parts_b[0])
        if count > self.buckets[-1]:
            raise CheckpointError(
                f"{count} objects given, at most {self.buckets[-1]} expected, for which the model was compiled; "
                "compile it for a larger max_objects"
            )
        batch = next(size for size in self.buckets if size >= count)
        return tuple(pad_by_last(part, batch) for part in parts_b)

    def _compiled(self, function: Function) -> Function:
        """With "max", as generated kernels for one object and for several; anything that cannot be compiled raises."""
        if self.mode != MAX:
            return function
        return partial(_with_any_batch, torch.compile(function, fullgraph=True))

    def _encode_function(self, image_13hw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(Sam2Model.encode_image(self, image_13hw))

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
        """Memory attention with the number of pointer tokens as a shape, so that it needs no compilation of its own."""
        tokens = torch.cat([spatial_bnc, pointers_bnc], dim=1)
        position = torch.cat([spatial_pos_bnc, pointer_pos_bnc], dim=1)
        return (self.memory_attention(s16_1chw, tokens, position, pointers_bnc.shape[1]),)

    def _decode_function(
        self, fused_bchw: torch.Tensor, s4: torch.Tensor, s8: torch.Tensor, s16: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return tuple(Sam2Model.decode(self, fused_bchw, ImageFeatures(s4, s8, s16)))

    def _choose_function(self, *decoded_b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(Sam2Model.predict(self, DecodedMasks(*decoded_b), True, False))

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
    """The compiler's settings. None of them is needed later, when nothing is compiled any more."""
    import torch._inductor.config  # takes a second, and most trackers do without

    with warnings.catch_warnings():
        # Tables of positions are kept by functions with a cache, which a compiler rightly looks through.
        warnings.filterwarnings("ignore", message=".*lru_cache")
        if device.type == "cpu":
            # Folds constants in and repacks weights for the matrix units, which is most of what there is to gain here.
            with torch._inductor.config.patch({"freezing": True}):
                yield
        else:
            with torch._inductor.config.patch({"max_autotune": True, "fx_graph_cache": True}):
                yield


def _with_any_batch(compiled: Callable[..., Any], *inputs: torch.Tensor) -> Any:
    """Call a compiled function whose objects, and tokens of memory, may be of any number."""
    for x in inputs:
        if len(x) > 1:
            torch._dynamo.maybe_mark_dynamic(x, 0)
        if x.ndim == 3:
            torch._dynamo.maybe_mark_dynamic(x, 1)
    return compiled(*inputs)


def _memories(model: Sam2Model, config: TrackerConfig, count: int) -> Iterator[tuple[MemoryView, bool]]:
    """What objects have in memory: after one frame, and when it is full, with every number of prompted frames."""
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
