# SPDX-License-Identifier: Apache-2.0
"""The content of a state file: the objects of a tracker and its numbering, taken from one tracker and given to another.

Does not know how it is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from sam2_ros.engine import Tracker
from sam2_ros.engine.stored_object import StoredObject, misfit, recall_objects, store_objects
from sam2_ros.errors import UserError
from sam2_ros.text import some

from .identity import ModelIdentity


@dataclass(frozen=True)
class SavedState:
    """Objects with their memory, as of one image.

    Attributes:
        model: the model whose memories these are.
        objects: in the order of their creation.
        frame_index: index of the tracker's next frame.
        next_label: above every label that was given, also to objects that are gone.
        names: number of the last name that a node has generated, `object_3` = 3.
    """

    model: ModelIdentity
    objects: tuple[StoredObject, ...]
    frame_index: int = 0
    next_label: int = 1
    names: int = 0

    @staticmethod
    def of(tracker: Tracker, model: ModelIdentity, ids: Iterable[str] | None = None) -> SavedState:
        """Copy the objects of a tracker; `ids` None = all."""
        return SavedState(
            model, tuple(store_objects(tracker, ids)), tracker.frame_index, tracker.tracks.next_label
        )

    @property
    def ids(self) -> list[str]:
        """Ids of the objects."""
        return [stored.id for stored in self.objects]

    def only(self, ids: Collection[str]) -> SavedState:
        """A copy with some of the objects. Raises UserError if one is missing."""
        if unknown := [id for id in ids if id not in self.ids]:
            raise UserError(f"no object '{some(unknown)}' in the file; it holds {some(self.ids) or 'none'}")
        return replace(self, objects=tuple(stored for stored in self.objects if stored.id in ids))

    def relabelled(self, first: int) -> SavedState:
        """A copy whose objects have the labels from `first` on."""
        objects = tuple(replace(stored, label=first + n) for n, stored in enumerate(self.objects))
        return replace(self, objects=objects, next_label=first + len(objects))

    def check_fits(self, tracker: Tracker, model: ModelIdentity) -> None:
        """Raise UserError unless the memories are those of this model and fit the tracker."""
        if difference := self.model.difference(model):
            raise UserError(
                f"written with model {self.model}, and this one is {difference}: memories of one model mean nothing to "
                "another; use the model it was written with, or prompt or enrol the objects again"
            )
        for stored in self.objects:
            if problem := misfit(stored, tracker.bank):
                raise UserError(
                    f"object '{stored.id}' has {problem}: expected the same memory_pooling as where it was written"
                )

    def restore(self, tracker: Tracker, model: ModelIdentity, seek: bool = False) -> dict[str, str]:
        """Add the objects to a tracker, where they replace those of the same ids; labels are not given again.

        A new tracker goes on as if it had not been interrupted. `seek`: see `recall_objects`.

        Returns:
            id -> why there was no room for the object.

        Raises:
            UserError: the state is of another model; the tracker is unchanged.
        """
        self.check_fits(tracker, model)
        if not seek and not tracker.object_ids:
            tracker.frame_index = max(tracker.frame_index, self.frame_index)
        refused = recall_objects(tracker, self.objects, seek)
        tracker.tracks.next_label = max(tracker.tracks.next_label, self.next_label)
        return refused
