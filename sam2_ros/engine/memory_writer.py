# SPDX-License-Identifier: Apache-2.0
"""Writes a frame's memories of all objects: which ones, and to which kind of slot.

Knows the model, the bank and the policies. Does not know how masks are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from .device.transfer import upload
from .memory_bank import Evict, MemoryBank
from .model.sam2 import MaskOutput, Sam2Model
from .policies.runner import PolicyRunner
from .policies.visible import OFFICIAL, admits_recent
from .postprocess import batched
from .prompt_decoding import LastFrame
from .tracker_config import NUMERICS, TrackerConfig


class MemoryWriter:
    """Encodes memories of masks and writes them to the bank (SAM 2 paper, section 4)."""

    def __init__(
        self, model: Sam2Model, bank: MemoryBank, config: TrackerConfig, policies: PolicyRunner
    ) -> None:
        self._model, self._bank, self._config, self._policies = model, bank, config, policies
        self._binarize = NUMERICS[config.numerics].binarize_prompted

    @property
    def _evict(self) -> Evict | None:
        return self._policies.evict if self._policies.active else None

    def write(self, last: LastFrame, outputs: dict[int, MaskOutput], prompted: Sequence[int]) -> None:
        """Encode the frame's memories of all objects in one batch and write them to the bank.

        Memories of prompted masks are made with holes filled, those of tracked masks without, as in the official code.
        """
        admitted = self._admitted(outputs, prompted)
        if not admitted:
            return
        promoted = [row for row in admitted if self._policies.verdict(row).promote]
        spatial = admitted
        if last.index % self._config.memory_every or not self._bank.recents:
            spatial = self._write_pointers_only(last.index, admitted, [*prompted, *promoted])
        if spatial:
            self._write_spatial(last, spatial, prompted, promoted)
        if last.features.keys is not None:
            output = batched(list(admitted.values()))
            values, visible = self._model.match_values(output.logits_b1hw), (output.presence_b > 0).float()
            self._bank.write_matched(
                list(admitted), last.index, last.features.keys[0], values, visible, last.keys_id, self._evict
            )

    def _admitted(self, outputs: dict[int, MaskOutput], prompted: Sequence[int]) -> dict[int, MaskOutput]:
        """The masks that become memories: all prompted ones, of the others those that the policies admit."""
        outputs = {
            row: o for row, o in outputs.items() if row in prompted or self._policies.verdict(row).admit
        }
        if not outputs or self._config.memory_policy == OFFICIAL:
            return outputs  # without reading the scores, which waits for the device
        presences = torch.cat([output.presence_b for output in outputs.values()]).tolist()
        return {
            row: output
            for (row, output), presence in zip(outputs.items(), presences, strict=True)
            if row in prompted or admits_recent(self._config.memory_policy, presence)
        }

    def _write_spatial(
        self,
        last: LastFrame,
        outputs: Mapping[int, MaskOutput],
        prompted: Sequence[int],
        promoted: Sequence[int],
    ) -> None:
        """Encode spatial memories and write them, with the object pointers. A promoted frame is also a recent one."""
        rows = list(outputs)
        output = batched(list(outputs.values()))
        binarize = upload([self._binarize and row in prompted for row in rows], self._model.device)
        memory = self._model.encode_memory(last.features.s16, output.logits_b1hw, output.presence_b, binarize)
        initial = [row for row in prompted if row not in last.fused]
        conditioning = prompted if self._config.corrections_are_conditioning else initial
        for index, row in enumerate(rows):
            if row in promoted:
                self._bank.write_anchor(row, last.index, memory[index], output.pointer_bd[index])
        recent = [index for index, row in enumerate(rows) if row not in conditioning]
        if recent:
            chosen = upload(recent, self._model.device)
            kept = [rows[i] for i in recent]
            self._bank.write_recents(kept, last.index, memory[chosen], output.pointer_bd[chosen], self._evict)
        for index, row in enumerate(rows):
            if row in conditioning:
                self._bank.write_conditioning(row, last.index, memory[index], output.pointer_bd[index])

    def _write_pointers_only(
        self, now: int, outputs: dict[int, MaskOutput], spatial: Sequence[int]
    ) -> dict[int, MaskOutput]:
        """Write only the object pointers of objects that were only tracked; returns the outputs of the rows `spatial`,
        which also get spatial memories."""
        rows = [row for row in outputs if row not in spatial]
        if rows:
            self._bank.write_pointers(rows, now, batched([outputs[row] for row in rows]).pointer_bd)
        return {row: output for row, output in outputs.items() if row in spatial}
