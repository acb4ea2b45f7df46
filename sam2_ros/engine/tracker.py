# SPDX-License-Identifier: Apache-2.0
"""The streaming tracker: one frame in, every object's mask out, memory of fixed size in between.

Knows frames, prompts and objects; does not know where frames come from, ROS or files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch

from .device.stage_clock import StageClock
from .device.transfer import upload
from .memory_bank import MemoryBank
from .model.sam2 import MaskOutput, Sam2Model
from .policies import OFFICIAL, admits_recent
from .postprocess import batched, measure_mask, object_masks, unbatched, with_holes_filled
from .preprocess import checked_frame, preprocess
from .prompt import Prompt, merge_prompts, warn_of_whole_masks
from .prompt_decoding import LastFrame, answer, check_clicks_in_all, with_earlier_clicks
from .result import FrameResult, TrackedObject
from .track_state import Tracks
from .tracker_config import NUMERICS, TrackerConfig


class Tracker:
    """Follows prompted objects through a stream of frames."""

    def __init__(self, model: Sam2Model, config: TrackerConfig | None = None) -> None:
        self.model = model.eval()
        self.config = config or TrackerConfig()
        self.numerics = NUMERICS[self.config.numerics]
        self.bank = MemoryBank(
            model.config,
            objects=self.config.max_objects,
            conditioning=self.config.max_conditioning_frames,
            recents=self.config.memory_frames - 1,
            device=model.device,
            pointer_span=_pointer_span(self.config.clip_frames, model.config.max_pointers),
            pooling=self.config.memory_pooling,
            padded=model.takes_padded_memory,
        )
        self.tracks = Tracks(self.config.max_objects)
        self.frame_index = 0  # of the next frame
        self._last: LastFrame | None = None

    @torch.inference_mode()
    def step(
        self, frame_hwc_rgb_uint8: np.ndarray, prompts: Sequence[Prompt] = (), stamp_s: float | None = None
    ) -> FrameResult:
        """Track all objects into the next frame, after taking the prompts made on it.

        Args:
            frame_hwc_rgb_uint8: ``[H, W, 3]`` uint8, RGB.
            prompts: objects to create or refine; coordinates in pixels of this frame.
            stamp_s: time of the frame in seconds; left out: number of frames seen / 30.

        Raises:
            PromptError: a prompt that cannot be used; nothing has changed then.
            ValueError: not an RGB uint8 frame.
        """
        frame = checked_frame(frame_hwc_rgb_uint8)
        height, width = frame.shape[:2]
        checked = merge_prompts([prompt.validated(height, width) for prompt in prompts])
        warn_of_whole_masks(checked)
        now = self.frame_index
        result = FrameResult(now, now / 30 if stamp_s is None else stamp_s, height, width)
        prompted = self._admit(checked, result)
        self._last = None  # its tensors make room for those of this frame
        model, bank, clock = self.model, self.bank, StageClock(self.model.device)
        outputs: dict[int, MaskOutput] = {}
        with model.precision():
            with clock.stage("preprocess"):
                image = preprocess(frame, model.config.image_size, self.config.resize, model.device)
            with clock.stage("encode"):
                features = model.encode_image(image)
            last = LastFrame(now, result.stamp_s, (height, width), features, prompts=prompted)
            for rows in bank.groups([t.row for t in self.tracks if bank.has_memory(t.row)], now):
                with clock.stage("memory_attention"):
                    fused = model.fuse_memory(features.s16, bank.view(rows, now))
                with clock.stage("decode"):
                    decoded = model.decode(fused, features)
                    output = model.predict(decoded, multimask=True, stability_fallback=False)
                    outputs.update(zip(rows, unbatched(output), strict=True))
                    last.fused.update((row, fused[index, None]) for index, row in enumerate(rows))
            with clock.stage("decode"):
                outputs.update(self._answer_prompts(last, outputs))
            with clock.stage("memory_write"):
                self._remember(last, outputs, list(prompted))
        with clock.stage("postprocess"):
            area = self.config.fill_hole_area  # prompted masks are filled already
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
        """Take more prompts on the frame that was given last, one after the other, before the next one comes.

        Clicks add to those that the object was prompted with on this frame, and correct its answer there, which the
        decoder is fed; a box or a mask takes their place. A click on a frame that was only tracked corrects it with
        memory, whatever the numerics. (Official `add_new_points_or_box` on a frame with an answer.)

        Args:
            prompts: objects to refine, or new ones; coordinates in pixels of that frame.

        Returns:
            The frame's result anew, of all objects.

        Raises:
            PromptError: a prompt that cannot be used; nothing has changed then.
            RuntimeError: no frame has been given, or the stream was restarted since.
        """
        last = self._last
        if last is None:
            raise RuntimeError("no frame to refine: give one with step first")
        checked = [prompt.validated(*last.frame_hw) for prompt in prompts]
        ids = {track.row: track.id for track in self.tracks}
        check_clicks_in_all(checked, {ids[row]: given for row, given in last.prompts.items() if row in ids})
        result = FrameResult(last.index, last.stamp_s, *last.frame_hw)
        seen, refined, clock = set(last.outputs), set[int](), StageClock(self.model.device)
        for prompt in checked:
            for row, admitted in self._admit([prompt], result).items():
                with self.model.precision():
                    with clock.stage("decode"):
                        whole = with_earlier_clicks(admitted, last.prompts.get(row))
                        corrected = last.outputs.get(row) if prompt.box is None else None
                        last.outputs[row] = self._answer(whole, last, row, corrected)
                        last.prompts[row] = whole
                    with clock.stage("memory_write"):
                        self._remember(last, {row: last.outputs[row]}, [row])
                refined.add(row)
        with clock.stage("postprocess"):
            self._report(result, last.outputs, refined, seen)
        result.timings_ms = clock.timings_ms()
        return result

    @property
    def object_ids(self) -> list[str]:
        """Ids of the live objects, in the order they were created."""
        return self.tracks.ids

    @property
    def bank_bytes(self) -> int:
        """Bytes of the memory bank; constant."""
        return self.bank.bytes

    def remove(self, id: str) -> bool:
        """Forget one object; False when there is none of that name. Its label is not used again."""
        track = self.tracks.remove(id)
        if track is None:
            return False
        self.forget_answer(track.row)
        self.bank.clear(track.row)
        return True

    def take_back(self, id: str, frame_index: int) -> bool:
        """Take back what was prompted for an object on a frame (official `clear_all_prompts_in_frame`).

        The frame counts as a tracked one from now on. An object that is left without any prompt is removed.

        Args:
            frame_index: `FrameResult.frame_index` of the frame that was given with the prompt.

        Returns:
            False when there is no such object, or no prompt of it on that frame is remembered.
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
        """Forget all objects; labels are not used again."""
        for id in self.object_ids:
            self.remove(id)

    def restart(self) -> None:
        """As new: no objects, labels and frames counted from the start."""
        self.reset()
        self._last, self.frame_index, self.tracks.next_label = None, 0, 1

    def discontinuity(self) -> None:
        """The stream has jumped (a looping bag, another camera): drop recent memories, keep what was prompted."""
        self._last = None
        self.bank.clear_recents()

    def forget_answer(self, row: int) -> None:
        """What was said of the row's object on the newest frame is not to be refined."""
        if self._last is not None:
            self._last.forget(row)

    def _admit(self, prompts: list[Prompt], result: FrameResult) -> dict[int, Prompt]:
        """Give every prompt its object's row in the bank; prompts without room are rejected with the reason."""
        for track in self.tracks:
            if not self.bank.has_memory(track.row):  # its first frame failed: there is nothing to track it by
                self.remove(track.id)
        admitted: dict[int, Prompt] = {}
        for prompt in prompts:
            if refusal := self.tracks.refusal(prompt.id):
                result.rejected[prompt.id] = refusal
                continue
            track = self.tracks.get_or_create(prompt.id)
            if prompt.replace:
                self.forget_answer(track.row)
                self.bank.clear(track.row)
            track.class_id = prompt.class_id or track.class_id
            admitted[track.row] = prompt
        return admitted

    def _answer_prompts(self, last: LastFrame, tracked: Mapping[int, MaskOutput]) -> dict[int, MaskOutput]:
        """By row, the answers to the frame's prompts; `tracked`: what was found without them, which clicks correct."""
        outputs = {}
        for row, prompt in last.prompts.items():
            if not self.numerics.corrections_use_memory:
                last.fused.pop(row, None)
            corrected = tracked.get(row) if row in last.fused and prompt.box is None else None
            outputs[row] = self._answer(prompt, last, row, corrected)
        return outputs

    def _answer(self, prompt: Prompt, last: LastFrame, row: int, corrected: MaskOutput | None) -> MaskOutput:
        """The mask of one prompted object, holes filled, see `answer`. The mask it corrects is fed back filled, as the
        official code keeps it."""
        area, fallback = self.config.fill_hole_area, self.numerics.stability_fallback
        earlier = None if corrected is None else with_holes_filled(corrected, area)
        fused = last.fused.get(row)
        return with_holes_filled(
            answer(self.model, prompt, last.frame_hw, last.features, fused, earlier, fallback), area
        )

    def _remember(self, last: LastFrame, outputs: dict[int, MaskOutput], prompted: Sequence[int]) -> None:
        """Encode the frame's memories of all objects at once and put them into the bank.

        Prompted masks are remembered with their holes filled, tracked ones as they are, as the official code does.
        """
        if not outputs:
            return
        if self.config.memory_policy != OFFICIAL:  # to read the scores is to wait for the device
            presences = torch.cat([output.presence_b for output in outputs.values()]).tolist()
            outputs = {
                row: output
                for (row, output), presence in zip(outputs.items(), presences, strict=True)
                if row in prompted or admits_recent(self.config.memory_policy, presence)
            }
        if last.index % self.config.memory_every:
            outputs = self._remember_pointers(last.index, outputs, prompted)
        if not outputs:
            return
        rows = list(outputs)
        output = batched(list(outputs.values()))
        binarize = upload(
            [self.numerics.binarize_prompted and row in prompted for row in rows], self.model.device
        )
        memory = self.model.encode_memory(last.features.s16, output.logits_b1hw, output.presence_b, binarize)
        initial = [row for row in prompted if row not in last.fused]
        conditioning = prompted if self.config.corrections_are_conditioning else initial
        recent = [index for index, row in enumerate(rows) if row not in conditioning]
        if recent:
            chosen = upload(recent, self.model.device)
            self.bank.write_recents(
                [rows[i] for i in recent], last.index, memory[chosen], output.pointer_bd[chosen]
            )
        for index, row in enumerate(rows):
            if row in conditioning:
                self.bank.write_conditioning(row, last.index, memory[index], output.pointer_bd[index])

    def _remember_pointers(
        self, now: int, outputs: dict[int, MaskOutput], prompted: Sequence[int]
    ) -> dict[int, MaskOutput]:
        """Keep the pointers alone of what was only tracked; returns the rest."""
        rows = [row for row in outputs if row not in prompted]
        if rows:
            self.bank.write_pointers(rows, now, batched([outputs[row] for row in rows]).pointer_bd)
        return {row: output for row, output in outputs.items() if row in prompted}

    def _report(
        self,
        result: FrameResult,
        outputs: dict[int, MaskOutput],
        prompted: Collection[int],
        seen: Collection[int] = (),
    ) -> None:
        """Masks at the frame's size, states, and objects that are over.

        `seen`: rows whose answer on this frame was reported before, and counts once.
        """
        answered = [track for track in self.tracks if track.row in outputs]
        found = object_masks(
            [outputs[track.row] for track in answered],
            result.height_px,
            result.width_px,
            self.config.non_overlap,
        )
        for track, (mask, logits, score, presence) in zip(answered, found, strict=True):
            box, area, centroid = measure_mask(mask)
            visible, in_prompt = presence > 0 and area > 0, track.row in prompted
            if track.row in seen:
                age = track.answered_again(visible and in_prompt, result.stamp_s)
            else:
                age = track.update(presence, visible, in_prompt, result.stamp_s, self.config)
            if track.is_over(age, self.config):
                self.remove(track.id)
                result.forgotten.append(track.id)
                continue
            result.objects.append(
                TrackedObject(
                    track.id, track.label, track.class_id, mask, logits, score, presence, track.state, age, box, area,
                    centroid,
                )
            )  # fmt: skip


def _pointer_span(clip_frames: int, max_pointers: int) -> int:
    """Frames ago that the time encoding of object pointers takes for 1."""
    return max(1, min(clip_frames or max_pointers, max_pointers) - 1)
