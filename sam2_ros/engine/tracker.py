"""The streaming tracker: one frame in, every object's mask out, memory of fixed size in between.

Knows frames, prompts and objects; does not know where frames come from, ROS or files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .life import Track
from .memory_bank import MemoryBank
from .model import ImageFeatures, MaskOutput, Sam2Model
from .numerics import MAX_LABEL, NUMERICS, TrackerConfig
from .policies import OFFICIAL, admits_recent
from .postprocess import fill_holes, masks_at_frame, measure
from .preprocess import checked_frame, preprocess, resize_mask, sparse_prompt
from .prompt import Prompt, merge_prompts, warn_of_whole_masks
from .result import FrameResult, TrackedObject
from .stage_clock import StageClock
from .transfer import upload

DENSE_PROMPT_LIMIT = 32.0  # clamp of earlier logits that are fed back as a dense prompt


class Tracker:
    """Follows prompted objects through a stream of frames."""

    def __init__(
        self, model: Sam2Model, config: TrackerConfig | None = None, numbering: tuple[int, int] = (0, 0)
    ) -> None:
        """`numbering`: that of an earlier tracker whose labels and names are not to be given again."""
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
        self._tracks: dict[str, Track] = {}
        self._frame_index = 0
        self._next_label = numbering[0] + 1
        self._reserved = numbering[1]

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
        now = self._frame_index
        result = FrameResult(now, now / 30 if stamp_s is None else stamp_s, height, width)
        prompted = self._admit(checked, result)
        model, bank, clock = self.model, self.bank, StageClock(self.model.device)
        outputs: dict[int, MaskOutput] = {}
        with model.precision():
            with clock.stage("preprocess"):
                image = preprocess(frame, model.config.image_size, self.config.resize, model.device)
            with clock.stage("encode"):
                features = model.encode_image(image)
            for rows in bank.groups([t.row for t in self._tracks.values() if bank.has_memory(t.row)], now):
                with clock.stage("memory_attention"):
                    fused = model.fuse_memory(features.s16, bank.view(rows, now))
                with clock.stage("decode"):
                    decoded = model.decode(fused, features)
                    output = model.predict(decoded, multimask=True, stability_fallback=False)
                    outputs.update(zip(rows, _each(output), strict=True))
                    for index, row in enumerate(rows):
                        if row in prompted:
                            outputs[row] = self._answer(
                                prompted[row], frame, features, fused[index, None], outputs[row]
                            )
            with clock.stage("decode"):
                for row in prompted.keys() - outputs.keys():
                    fused = model.without_memory(features.s16)
                    outputs[row] = self._answer(prompted[row], frame, features, fused, None)
            with clock.stage("memory_write"):
                self._fill_holes(outputs, list(prompted))
                self._remember(now, features, outputs, prompted)
        with clock.stage("postprocess"):
            self._fill_holes(outputs, [row for row in outputs if row not in prompted])
            self._report(result, outputs, prompted)
        result.timings_ms = clock.timings_ms()
        self._frame_index += 1
        return result

    @property
    def object_ids(self) -> list[str]:
        """Ids of the live objects, in the order they were created."""
        return list(self._tracks)

    @property
    def awaited_ids(self) -> list[str]:
        """Ids that were announced and not prompted yet."""
        return [track.id for track in self._tracks.values() if track.awaited]

    def remembers(self, id: str) -> bool:
        """Whether there is an object of that name that has been prompted."""
        return id in self._tracks and self.bank.has_memory(self._tracks[id].row)

    @property
    def free_slots(self) -> int:
        return self.config.max_objects - len(self._tracks)

    @property
    def numbering(self) -> tuple[int, int]:
        """Labels and names given so far."""
        return self._next_label - 1, self._reserved

    @property
    def bank_bytes(self) -> int:
        """Bytes of the memory bank; constant."""
        return self.bank.bytes

    def reserve_id(self, prefix: str = "object") -> str:
        """A name that is not in use and was not reserved before: ``object_1``, ``object_2``, ..."""
        while True:
            self._reserved += 1
            name = f"{prefix}_{self._reserved}"
            if name not in self._tracks:
                return name

    def announce(self, id: str, class_id: str = "") -> str:
        """Give a name its label now; the object is PENDING in every result until its first prompt, or `adopt`, comes.

        Returns:
            Why there is no room for it; "" when there is.
        """
        if refusal := self._refusal(id):
            return refusal
        track = self._track(id)
        track.awaited = track.awaited or not self.bank.has_memory(track.row)
        track.class_id = class_id or track.class_id
        return ""

    def adopt(self, id: str, source: Tracker, before: int | None = None) -> str:
        """Take over what another tracker of the same model remembers of an object, in place of what is known here.

        The source's last frame counts as the one just before this tracker's next frame. The label here stays.

        Args:
            before: take the object as it was before this frame of the source; what was prompted later is kept.

        Returns:
            Why there is no room for it; "" when there is.
        """
        if refusal := self._refusal(id):
            return refusal
        track, other = self._track(id), source._tracks[id]
        now = source._frame_index if before is None else before
        self.bank.copy_row(track.row, source.bank, other.row, self._frame_index, now)
        track.live_on(other)
        return ""

    def remove(self, id: str) -> bool:
        """Forget one object; False when there is none of that name. Its label is not used again."""
        track = self._tracks.pop(id, None)
        if track is None:
            return False
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
        track = self._tracks.get(id)
        if track is None or not self.bank.downgrade(track.row, frame_index):
            return False
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
        self._frame_index, self._next_label = 0, 1

    def discontinuity(self) -> None:
        """The stream has jumped (a looping bag, another camera): drop recent memories, keep what was prompted."""
        self.bank.clear_recents()

    def _admit(self, prompts: list[Prompt], result: FrameResult) -> dict[int, Prompt]:
        """Give every prompt its object's row in the bank; prompts without room are rejected with the reason."""
        for orphan in list(self._tracks.values()):
            # Its first frame failed: there is nothing to track it by.
            if not self.bank.has_memory(orphan.row) and not orphan.awaited:
                self.remove(orphan.id)
        admitted: dict[int, Prompt] = {}
        for prompt in prompts:
            if refusal := self._refusal(prompt.id):
                result.rejected[prompt.id] = refusal
                continue
            track = self._track(prompt.id)
            if prompt.replace:
                self.bank.clear(track.row)
            track.awaited = False
            track.class_id = prompt.class_id or track.class_id
            admitted[track.row] = prompt
        return admitted

    def _refusal(self, id: str) -> str:
        """Why an object of this name cannot be taken in; "" when it can, or is there already."""
        if id in self._tracks:
            return ""
        if self.free_slots == 0:
            return f"no room for '{id}': max_objects = {self.config.max_objects} are tracked; remove one"
        if self._next_label > MAX_LABEL:
            return f"no label left for '{id}': all {MAX_LABEL} have been used; restart to begin anew"
        return ""

    def _track(self, id: str) -> Track:
        """The object of this name; a new one gets a row of the bank and the next label."""
        if id not in self._tracks:
            taken = {track.row for track in self._tracks.values()}
            row = next(r for r in range(self.config.max_objects) if r not in taken)
            self._tracks[id] = Track(id, self._next_label, row)
            self._next_label += 1
        return self._tracks[id]

    def _answer(
        self,
        prompt: Prompt,
        frame: np.ndarray,
        features: ImageFeatures,
        fused_1chw: torch.Tensor,
        tracked: MaskOutput | None,
    ) -> MaskOutput:
        """The mask of one prompted object.

        A mask alone is adopted as it is. Clicks alone on a visible object correct the mask it is tracked with.
        """
        model, size = self.model, self.model.config.image_size
        points, labels = sparse_prompt(prompt, (frame.shape[0], frame.shape[1]), size)
        mask = None if prompt.mask is None else resize_mask(prompt.mask, size, model.device)
        if mask is not None and points.shape[1] == 0:
            return model.adopt_mask(mask, features)
        if tracked is None or not self.numerics.corrections_use_memory:
            fused_1chw, tracked = model.without_memory(features.s16), None
        dense = None
        if mask is not None:
            dense = mask[:, None].float() * 20 - 10
        elif tracked is not None and prompt.box is None and bool(tracked.presence_b > 0):
            dense = tracked.logits_b1hw.clamp(-DENSE_PROMPT_LIMIT, DENSE_PROMPT_LIMIT)
        decoded = model.decode(fused_1chw, features, points.to(model.device), labels.to(model.device), dense)
        multimask = points.shape[1] == 1
        return model.predict(decoded, multimask, self.numerics.stability_fallback)

    def _fill_holes(self, outputs: dict[int, MaskOutput], rows: list[int]) -> None:
        """In place. Prompted masks are remembered filled, tracked ones as they are, as the official code does."""
        if self.config.fill_hole_area:
            for row in rows:
                filled = fill_holes(outputs[row].logits_b1hw, self.config.fill_hole_area)
                outputs[row] = outputs[row]._replace(logits_b1hw=filled)

    def _remember(
        self, now: int, features: ImageFeatures, outputs: dict[int, MaskOutput], prompted: dict[int, Prompt]
    ) -> None:
        """Encode this frame's memories of all objects at once and put them into the bank."""
        if not outputs:
            return
        if self.config.memory_policy != OFFICIAL:  # to read the scores is to wait for the device
            presences = torch.cat([output.presence_b for output in outputs.values()]).tolist()
            outputs = {
                row: output
                for (row, output), presence in zip(outputs.items(), presences, strict=True)
                if row in prompted or admits_recent(self.config.memory_policy, presence)
            }
        if now % self.config.memory_every:
            outputs = self._remember_pointers(now, outputs, prompted)
        if not outputs:
            return
        rows = list(outputs)
        output = _together(list(outputs.values()))
        binarize = upload(
            [self.numerics.binarize_prompted and row in prompted for row in rows], self.model.device
        )
        memory = self.model.encode_memory(features.s16, output.logits_b1hw, output.presence_b, binarize)
        tracked = [index for index, row in enumerate(rows) if row not in prompted]
        if tracked:
            chosen = upload(tracked, self.model.device)
            self.bank.write_recents(
                [rows[i] for i in tracked], now, memory[chosen], output.pointer_bd[chosen]
            )
        for index, row in enumerate(rows):
            if row in prompted:
                self.bank.write_conditioning(row, now, memory[index], output.pointer_bd[index])

    def _remember_pointers(
        self, now: int, outputs: dict[int, MaskOutput], prompted: dict[int, Prompt]
    ) -> dict[int, MaskOutput]:
        """Keep the pointers alone of what was only tracked; returns the rest."""
        rows = [row for row in outputs if row not in prompted]
        if rows:
            self.bank.write_pointers(rows, now, _together([outputs[row] for row in rows]).pointer_bd)
        return {row: output for row, output in outputs.items() if row in prompted}

    def _report(
        self, result: FrameResult, outputs: dict[int, MaskOutput], prompted: dict[int, Prompt]
    ) -> None:
        """Masks at the frame's size, states, objects still awaited, and objects that are over."""
        answered = [track for track in self._tracks.values() if track.row in outputs]
        parts = self._parts([outputs[track.row] for track in answered], result)
        rules = self.config.rules
        for track in list(self._tracks.values()):
            if track.awaited:
                result.objects.append(self._unseen(track, result))
                continue
            mask, logits, score, presence = parts[answered.index(track)]
            box, area, centroid = measure(mask)
            visible = presence > 0 and area > 0
            age = track.update(presence, visible, track.row in prompted, result.stamp_s, rules)
            if track.is_over(age, rules):
                self.remove(track.id)
                result.forgotten.append(track.id)
                continue
            result.objects.append(
                TrackedObject(
                    track.id, track.label, track.class_id, mask, logits, score, presence, track.state, age, box, area,
                    centroid,
                )
            )  # fmt: skip

    def _parts(
        self, outputs: list[MaskOutput], result: FrameResult
    ) -> list[tuple[np.ndarray, np.ndarray, float, float]]:
        """Mask at the frame's size, low-resolution logits, score and presence of every answered object."""
        if not outputs:
            return []
        output = _together(outputs)
        masks = masks_at_frame(output.logits_b1hw, result.height_px, result.width_px, self.config.non_overlap)
        logits = output.logits_b1hw[:, 0].float().cpu().numpy()
        scores, presences = torch.stack([output.iou_b, output.presence_b]).float().tolist()
        return list(zip(masks, logits, scores, presences, strict=True))

    def _unseen(self, track: Track, result: FrameResult) -> TrackedObject:
        side = self.model.config.image_size // 4
        return TrackedObject(
            id=track.id,
            label=track.label,
            class_id=track.class_id,
            mask=np.zeros((result.height_px, result.width_px), bool),
            logits=np.full((side, side), -DENSE_PROMPT_LIMIT, np.float32),
            score=0.0,
            presence=0.0,
            state=track.state,
            age_s=0.0,
            box=(0, 0, 0, 0),
            area_px=0,
            centroid_xy=(0.0, 0.0),
        )


def _pointer_span(clip_frames: int, max_pointers: int) -> int:
    """Frames ago that the time encoding of object pointers takes for 1."""
    return max(1, min(clip_frames or max_pointers, max_pointers) - 1)


def _each(output: MaskOutput) -> list[MaskOutput]:
    """A batch of n as n batches of one."""
    return [MaskOutput(*(part[i, None] for part in output)) for i in range(len(output.presence_b))]


def _together(outputs: list[MaskOutput]) -> MaskOutput:
    return MaskOutput(*(torch.cat([part.float() for part in parts]) for parts in zip(*outputs, strict=True)))
