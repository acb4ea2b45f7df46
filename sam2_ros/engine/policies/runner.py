# SPDX-License-Identifier: Apache-2.0
"""Calls the policies of every object at the five hooks of a frame.

Knows which object has which policies, and their numbers in `Track.policy_state`. Does not know what a policy does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from sam2_ros.engine.memory_bank import MemoryBank
from sam2_ros.engine.model.mask_decoder import DecodedMasks
from sam2_ros.engine.model.sam2 import ImageFeatures, MaskOutput, Sam2Model
from sam2_ros.engine.postprocess import unbatched
from sam2_ros.engine.prompt_decoding import LastFrame
from sam2_ros.engine.track_state import Track, Tracks
from sam2_ros.errors import CheckpointError

from .appearance import Appearance
from .cross_object import CrossObject
from .distractors import Distractors
from .motion import Motion
from .names import has_policies, policies_of
from .policy import Arrival, Policy, Seen, mask_iou
from .quality import Quality
from .scene_cut import SceneCut
from .verify import Verify

_BY_NAME: dict[str, Policy] = {
    policy.name: policy
    for policy in (CrossObject(), SceneCut(), Distractors(), Quality(), Motion(), Appearance(), Verify())
}


@dataclass(frozen=True)
class Verdict:
    """What the policies of one object decide about one frame."""

    admit: bool = True
    promote: bool = False


class PolicyRunner:
    """The policies of a tracker's objects. Without any, no method changes or reads anything."""

    def __init__(self, entries: Sequence[str], model: Sam2Model, bank: MemoryBank) -> None:
        """`entries`: see `TrackerConfig.policies`. Raises CheckpointError if the model lacks what one needs."""
        self._entries, self._model, self._bank = tuple(entries), model, bank
        self.active = has_policies(entries)  # False: no object has any
        self._policies: dict[int, tuple[Policy, ...]] = {}  # by row, of the objects that have any
        self._tracks: dict[int, Track] = {}
        self._decoded: dict[int, DecodedMasks] = {}
        self._verdicts: dict[int, Verdict] = {}
        for entry in self._entries:
            name = entry.rpartition(":")[2]
            if name in _BY_NAME and _BY_NAME[name].needs_matching and model.config.matching is None:
                raise CheckpointError(
                    f"policies = {entry!r}: expected a model with a matching memory (nano), {model.config.name} has "
                    "none; leave it out"
                )

    def begin(self, image_hw3: np.ndarray, frame: int, tracks: Tracks) -> None:
        """Start a frame: drops the recent memories of the objects whose policies say so (hook `select`)."""
        self._policies, self._tracks = {}, {}
        self._decoded, self._verdicts = {}, {}
        self._bank.reach[:] = 0
        if not self.active:
            return
        arrival = Arrival(frame, image_hw3)
        for track in tracks:
            self._watch(track)
            policies = self._policies.get(track.row, ())
            self._bank.reach[track.row] = max((policy.reach for policy in policies), default=0)
            kept = [
                policy.select(_state(track, policy), arrival) for policy in policies
            ]  # each must see the frame
            if not all(kept):
                self._bank.clear_recents(track.row)

    def choose(self, rows: Sequence[int], decoded: DecodedMasks, output: MaskOutput) -> list[MaskOutput]:
        """The masks of a batch of tracked objects (hook `choose_mask`), each a batch of one."""
        outputs = unbatched(output)
        for index, row in enumerate(rows):
            if row not in self._policies:
                continue
            one = DecodedMasks(*(part[index, None] for part in decoded))
            self._decoded[row] = one
            choosers = [p for p in self._policies[row] if type(p).choose_mask is not Policy.choose_mask]
            if not choosers:
                continue
            masks, scores = (one.logits_b4hw[0] > 0).cpu().numpy(), one.iou_b4[0].float().tolist()
            for policy in choosers:
                chosen = policy.choose_mask(_state(self._tracks[row], policy), masks, scores)
                if chosen is not None:
                    outputs[index] = self._model.predict_candidate(one, chosen)
        return outputs

    def judge(
        self, last: LastFrame, outputs: Mapping[int, MaskOutput], prompted: Collection[int], tracks: Tracks
    ) -> None:
        """Decide which of these masks become memories (hooks `admit` and `promote`), see `verdict`."""
        for track in tracks:
            if track.row in prompted and self.active:
                self._watch(track)
        watched = {row: outputs[row] for row in outputs if row in self._policies}
        if not watched:
            return
        together: list[Seen] = []
        seen = {row: self._seen(row, last, outputs[row], row in prompted, together) for row in watched}
        together.extend(seen.values())
        for row, one in seen.items():
            track, policies = self._tracks[row], self._policies[row]
            admits = [policy.admit(_state(track, policy), one) for policy in policies]
            asked = [p.promote(_state(track, p), one) for p in policies if not p.checks_promotions]
            promote = row not in prompted and all(admits) and True in asked and False not in asked
            if promote:
                checks = [p.promote(_state(track, p), one) for p in policies if p.checks_promotions]
                promote = False not in checks
            self._verdicts[row] = Verdict(all(admits), promote)

    def verdict(self, row: int) -> Verdict:
        """What `judge` decided about an object; everything is admitted without policies."""
        return self._verdicts.get(row, Verdict())

    def evict(self, row: int, frames: Sequence[int]) -> int | None:
        """The recent frame that a new one replaces (hook `evict`); None = as SAM 2."""
        for policy in self._policies.get(row, ()):
            replaced = policy.evict(_state(self._tracks[row], policy), frames)
            if replaced is not None:
                return replaced
        return None

    def _watch(self, track: Track) -> None:
        policies = tuple(_BY_NAME[name] for name in policies_of(self._entries, track.id))
        if policies:
            self._policies[track.row], self._tracks[track.row] = policies, track

    def _seen(
        self, row: int, last: LastFrame, output: MaskOutput, prompted: bool, others: list[Seen]
    ) -> Seen:
        score, presence = torch.cat([output.iou_b, output.presence_b]).float().tolist()
        states = self._tracks[row].policy_state
        return Seen(
            last.index,
            output,
            last.features,
            presence,
            score,
            prompted,
            None if prompted else self._decoded.get(row),
            last.evidence.get(row),
            self._bank.anchors(row),
            partial(self._look_back, row, last.features, output),
            others,
            {p.name: list(states.get(p.name, [])) for p in self._policies[row] if p.compares_objects},
        )

    def _look_back(self, row: int, features: ImageFeatures, output: MaskOutput) -> float | None:
        """See `Seen.look_back`."""
        if features.keys is None:
            return None
        values = self._model.match_values(output.logits_b1hw)[0]
        kept = self._bank.look_back_view(row, features.keys[0], values)
        if kept is None:
            return None
        keys, mask, view = kept
        found = self._model.matching.read(keys.to(features.keys.dtype), view)[0, 1].flatten() > 0
        return mask_iou(found.cpu().numpy(), (mask > 0.5).cpu().numpy())


def _state(track: Track, policy: Policy) -> list[float]:
    return track.policy_state.setdefault(policy.name, [])
