# SPDX-License-Identifier: Apache-2.0
"""The streaming tracker: `Tracker.step` takes one frame and returns the mask of every object.

Knows frames, prompts and objects. Does not know where frames come from, ROS or files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch

from .device.stage_clock import StageClock
from .memory_bank import MemoryBank
from .memory_writer import MemoryWriter
from .model.sam2 import NO_OBJECT_LOGIT, MaskOutput, Sam2Model
from .policies.runner import PolicyRunner
from .postprocess import measure_mask, object_masks, with_holes_filled
from .preprocess import checked_frame, preprocess
from .prompt import Prompt, merge_prompts, warn_of_whole_masks
from .prompt_decoding import LastFrame, check_clicks_in_all, decode_prompt, with_earlier_clicks
from .result import FrameResult, TrackedObject
from .seeking import evidence_by_row, is_alike
from .snapshot import TrackerSnapshot
from .track_state import Tracks
from .tracker_config import NUMERICS, TrackerConfig


class Tracker:
    """Tracks prompted objects through a stream of frames, one `step` per frame (SAM 2 paper, section 4).

    Each object has a fixed number of memories, allocated at the start: neither the time nor the memory of a frame
    grows with the length of the stream. The tracker has no lock; call it from one thread at a time.

    Attributes:
        model: the model; trackers of one process may share it.
        config: the settings.
        frame_index: index of the next frame: the number of frames since the start, or since `restart`.
    """

    def __init__(self, model: Sam2Model, config: TrackerConfig | None = None) -> None:
        """Allocate the memory of `config.max_objects` objects on the model's device.

        Args:
            model: as `load_model` or `open_model` returns it.
            config: the settings; None = `TrackerConfig()`.

        Raises:
            CheckpointError: a policy needs something that the model does not have.
        """
        self.model = model.eval()
        self.config = config or TrackerConfig()
        self.numerics = NUMERICS[self.config.numerics]
        self.bank = MemoryBank(
            model.config,
            objects=self.config.max_objects,
            conditioning=self.config.max_conditioning_frames,
            recents=min(self.config.memory_frames - 1, model.config.recent_memories),
            device=model.device,
            pointer_span=self.config.pointer_span(model.config.max_pointers),
            pooling=self.config.memory_pooling,
            padded=model.takes_padded_memory,
        )
        self.tracks = Tracks(self.config.max_objects)
        self._policies = PolicyRunner(self.config.policies, model, self.bank)
        self._writer = MemoryWriter(self.model, self.bank, self.config, self._policies)
        self.frame_index = 0  # of the next frame
        self._last: LastFrame | None = None

    @torch.inference_mode()
    def step(
        self, frame_hwc_rgb_uint8: np.ndarray, prompts: Sequence[Prompt] = (), stamp_s: float | None = None
    ) -> FrameResult:
        """Track all objects into the next frame, and apply the prompts made on it.

        Args:
            frame_hwc_rgb_uint8: ``[H, W, 3]`` uint8 RGB, or a PIL image; its size may change from frame to frame.
            prompts: objects to create or refine; coordinates in pixels of this frame.
            stamp_s: time of the frame in seconds; None = `frame_index` / 30.

        Returns:
            The masks and states of all objects on this frame. A prompt without room is in `FrameResult.rejected`.

        Raises:
            PromptError: a prompt is invalid; the tracker is unchanged.
            ValueError: the frame is not RGB uint8; the tracker is unchanged.
        """
        frame = checked_frame(frame_hwc_rgb_uint8)
        height, width = frame.shape[:2]
        checked = merge_prompts([prompt.validated(height, width) for prompt in prompts])
        warn_of_whole_masks(checked)
        now = self.frame_index
        result = FrameResult(now, now / 30 if stamp_s is None else stamp_s, height, width)
        prompted = self._assign_rows(checked, result)
        self._last = None  # frees its tensors before this frame allocates its own
        model, bank, clock = self.model, self.bank, StageClock(self.model.device)
        self._policies.begin(frame, now, self.tracks)
        outputs: dict[int, MaskOutput] = {}
        with model.precision():
            with clock.stage("preprocess"):
                image = preprocess(frame, model.config.image_size, self.config.resize, model.device)
            with clock.stage("encode"):
                features = model.encode_image(image)
            last = LastFrame(now, result.stamp_s, (height, width), features, prompts=prompted)
            known = [t.row for t in self.tracks if bank.has_memory(t.row)]
            sought = self.tracks.sought_rows
            if model.config.matching is not None and known:
                with clock.stage("matching"):
                    last.evidence = evidence_by_row(model, bank, features, known, sought, now)
            for rows in bank.groups(known, now):
                with clock.stage("memory_attention"):
                    fused = model.fuse_memory(features.s16, bank.view(rows, now))
                with clock.stage("decode"):
                    decoded = model.decode(fused, features, evidence_b6hw=last.evidence_of(rows))
                    output = model.predict(decoded, model.config.best_of_three, stability_fallback=False)
                    outputs.update(zip(rows, self._policies.choose(rows, decoded, output), strict=True))
                    last.fused.update((row, fused[index, None]) for index, row in enumerate(rows))
            with clock.stage("decode"):
                seen = {row: output for row, output in outputs.items() if row not in sought}
                outputs.update(self._decode_prompts(last, seen))
            with clock.stage("memory_write"):
                self._write_memories(last, outputs, list(prompted))
        with clock.stage("postprocess"):
            area = self.config.fill_hole_area  # holes of prompted masks are filled already
            last.outputs = {
                r: out if r in prompted else with_holes_filled(out, area) for r, out in outputs.items()
            }
            self._last = last
            self._report(result, last.outputs, prompted)
        result.timings_ms = clock.timings_ms()
        self.frame_index += 1
        return result

    @torch.inference_mode()
    def refine(self, prompts: Sequence[Prompt]) -> FrameResult:
        """Apply more prompts to the newest frame, one after the other, before the next `step`.

        Clicks are added to the clicks that the object was given on this frame, and its current mask is fed back to the
        decoder. A box or a mask replaces the earlier prompts of the object on this frame. A click on an object that was
        only tracked is decoded with memory, whatever `TrackerConfig.numerics`. (Official `add_new_points_or_box` on a
        frame that has a result.)

        Args:
            prompts: objects to refine, or new ones; coordinates in pixels of the newest frame.

        Returns:
            The updated result of that frame, with all objects.

        Raises:
            PromptError: a prompt is invalid; the tracker is unchanged.
            RuntimeError: there is no frame to refine: before the first `step`, and after `restart` or `discontinuity`.
        """
        last = self._last
        if last is None:
            raise RuntimeError("no frame to refine: call step with a frame first")
        checked = [prompt.validated(*last.frame_hw) for prompt in prompts]
        ids = {track.row: track.id for track in self.tracks}
        check_clicks_in_all(checked, {ids[row]: given for row, given in last.prompts.items() if row in ids})
        result = FrameResult(last.index, last.stamp_s, *last.frame_hw)
        seen, refined, clock = set(last.outputs), set[int](), StageClock(self.model.device)
        for prompt in checked:
            for row, admitted in self._assign_rows([prompt], result).items():
                with self.model.precision():
                    with clock.stage("decode"):
                        whole = with_earlier_clicks(admitted, last.prompts.get(row))
                        shown = prompt.box is None and row not in self.tracks.sought_rows
                        corrected = last.outputs.get(row) if shown else None
                        last.outputs[row] = self._decode_prompt(whole, last, row, corrected)
                        last.prompts[row] = whole
                    with clock.stage("memory_write"):
                        self._write_memories(last, {row: last.outputs[row]}, [row])
                refined.add(row)
        with clock.stage("postprocess"):
            self._report(result, last.outputs, refined, seen)
        result.timings_ms = clock.timings_ms()
        return result

    @property
    def object_ids(self) -> list[str]:
        """Ids of the tracked objects, in the order they were created."""
        return self.tracks.ids

    @property
    def bank_bytes(self) -> int:
        """Size of the memory bank in bytes; constant."""
        return self.bank.bytes

    def remove(self, id: str) -> bool:
        """Forget one object. Its label is not used again.

        Returns:
            False if there is no object of this id.
        """
        track = self.tracks.remove(id)
        if track is None:
            return False
        self.discard_output(track.row)
        self.bank.clear(track.row)
        return True

    def take_back(self, id: str, frame_index: int) -> bool:
        """Undo the prompts of one object on one frame (official `clear_all_prompts_in_frame`).

        The frame becomes one that was only tracked. An object without any prompted frame left is removed.

        Args:
            id: the object.
            frame_index: `FrameResult.frame_index` of the prompted frame.

        Returns:
            False if there is no such object, or the frame is not among its conditioning frames.
        """
        track = self.tracks.find(id)
        if track is None or not self.bank.downgrade(track.row, frame_index):
            return False
        if self._last is not None and self._last.index == frame_index:
            self._last.forget_prompts(track.row)
        if not self.bank.has_conditioning(track.row):
            self.remove(id)
        return True

    def reset(self) -> None:
        """Forget all objects. Their labels are not used again; frame indices continue."""
        for id in self.object_ids:
            self.remove(id)

    def restart(self) -> None:
        """Return to the state of a new tracker: no objects, labels from 1, frames from 0."""
        self.reset()
        self._last, self.frame_index, self.tracks.next_label = None, 0, 1

    def discontinuity(self) -> None:
        """Forget recent memories after a jump of the stream (a bag loops, another camera); prompted frames stay."""
        self._last = None
        self.bank.clear_recents()

    def snapshot(self) -> TrackerSnapshot:
        """Copy the memories and states as of the newest frame, see `restore`."""
        return TrackerSnapshot.of(self.frame_index, self.tracks, self.bank)

    def restore(self, snapshot: TrackerSnapshot) -> None:
        """Return to the state of a snapshot of this tracker, or of one of the same model and settings.

        The next `step` then gives the result that it gave, or would have given, after the snapshot. `refine` needs a
        `step` first.

        Raises:
            ValueError: the snapshot is of a tracker of another shape; this tracker is unchanged.
        """
        self.tracks = snapshot.write_to(self.bank)
        self.frame_index = snapshot.frame_index
        self._last = None

    def discard_output(self, row: int) -> None:
        """Drop the newest frame's output of one object, so that `refine` does not start from it."""
        if self._last is not None:
            self._last.forget(row)

    def _assign_rows(self, prompts: list[Prompt], result: FrameResult) -> dict[int, Prompt]:
        """Prompts by their object's row in the memory bank; prompts without room are rejected with the reason."""
        for track in self.tracks:
            if not self.bank.has_memory(track.row):  # its first frame failed: it cannot be tracked
                self.remove(track.id)
        admitted: dict[int, Prompt] = {}
        for prompt in prompts:
            if refusal := self.tracks.refusal(prompt.id):
                result.rejected[prompt.id] = refusal
                continue
            track = self.tracks.get_or_create(prompt.id)
            if prompt.replace:
                self.discard_output(track.row)
                self.bank.clear(track.row)
                track.policy_state.clear()
            track.class_id = prompt.class_id or track.class_id
            admitted[track.row] = prompt
        return admitted

    def _decode_prompts(self, last: LastFrame, tracked: Mapping[int, MaskOutput]) -> dict[int, MaskOutput]:
        """Masks of the prompted objects, by row; `tracked`: their masks by tracking alone, which clicks correct."""
        outputs = {}
        for row, prompt in last.prompts.items():
            if not self.numerics.corrections_use_memory:
                last.fused.pop(row, None)
                last.evidence.pop(row, None)
            corrected = tracked.get(row) if row in last.fused and prompt.box is None else None
            outputs[row] = self._decode_prompt(prompt, last, row, corrected)
        return outputs

    def _decode_prompt(
        self, prompt: Prompt, last: LastFrame, row: int, corrected: MaskOutput | None
    ) -> MaskOutput:
        """The mask of one prompted object, holes filled, see `decode_prompt`. The mask that it corrects is fed back
        with its holes filled, as in the official code."""
        area, fallback = self.config.fill_hole_area, self.numerics.stability_fallback
        earlier = None if corrected is None else with_holes_filled(corrected, area)
        fused, evidence = last.fused.get(row), last.evidence.get(row)
        return with_holes_filled(
            decode_prompt(
                self.model, prompt, last.frame_hw, last.features, fused, earlier, fallback, evidence
            ),
            area,
        )

    def _write_memories(
        self, last: LastFrame, outputs: dict[int, MaskOutput], prompted: Sequence[int]
    ) -> None:
        """Write the frame's memories of these objects, as far as the policies want them.

        An object that is looked for gets none until it is found.
        """
        if sought := self.tracks.sought_rows.difference(prompted):
            outputs = {row: output for row, output in outputs.items() if row not in sought}
        if outputs:
            self._policies.judge(last, outputs, prompted, self.tracks)
            self._writer.write(last, outputs, prompted)

    def _report(
        self,
        result: FrameResult,
        outputs: dict[int, MaskOutput],
        prompted: Collection[int],
        seen: Collection[int] = (),
    ) -> None:
        """Fill `result`: masks at the frame's size, states, and objects that are forgotten.

        `seen`: rows that were reported on this frame before: their hysteresis does not count it twice.
        """
        answered = [track for track in self.tracks if track.row in outputs]
        found = object_masks(
            [outputs[track.row] for track in answered],
            result.height_px,
            result.width_px,
            self.config.non_overlap,
        )
        for track, (mask, logits, score, presence) in zip(answered, found, strict=True):
            in_prompt = track.row in prompted
            alike = in_prompt or not track.sought or is_alike(self.model, self.bank, track.row, self._last)
            visible = presence > 0 and bool(mask.any()) and alike
            if track.row in seen:
                age = track.update_refined(visible and in_prompt, result.stamp_s)
            else:
                score_here = presence if alike else float("-inf")
                age = track.update(score_here, visible, in_prompt, result.stamp_s, self.config)
            if track.sought:  # not found yet: what the model sees may be something else
                mask, logits = np.zeros_like(mask), np.full_like(logits, NO_OBJECT_LOGIT)
            box, area, centroid = measure_mask(mask)
            if track.is_expired(age, self.config):
                self.remove(track.id)
                result.forgotten.append(track.id)
                continue
            result.objects.append(
                TrackedObject(
                    track.id, track.label, track.class_id, mask, logits, score, presence, track.state, age, box, area,
                    centroid,
                )
            )  # fmt: skip
