# SPDX-License-Identifier: Apache-2.0
"""Names of the tracking policies, and which of them each object has.

Entries are names for all objects ("quality") or for one ("cup:quality"). Does not know what the policies do.
"""

from __future__ import annotations

from collections.abc import Sequence

NO_POLICY, DEFAULT = "official", "default"
DEFAULT_POLICIES: tuple[str, ...] = ()
POLICIES = ("cross-object", "scene-cut", "distractors", "quality", "motion", "appearance", "verify")


def split_names(text: str) -> tuple[str, ...]:
    """Entries separated by commas, as on a command line; empty ones are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def check_entries(entries: Sequence[str]) -> None:
    """Raise ValueError for an entry that is not NAME or ID:NAME, with what was expected."""
    for entry in entries:
        name = entry.rpartition(":")[2]
        if name not in (*POLICIES, NO_POLICY, DEFAULT):
            raise ValueError(
                f"policies = {entry!r}: expected one of {', '.join((*POLICIES, NO_POLICY, DEFAULT))}, or ID:NAME for "
                "one object"
            )
    owners = {entry.rpartition(":")[0] for entry in entries}
    for owner in owners:
        names = [entry.rpartition(":")[2] for entry in entries if entry.rpartition(":")[0] == owner]
        if NO_POLICY in names and len(names) > 1:
            raise ValueError(f"policies = {', '.join(names)}: expected {NO_POLICY} (no policy) alone")


def policies_of(entries: Sequence[str], id: str) -> tuple[str, ...]:
    """Names of the policies of an object: of its own entries, if it has any, else those of all objects."""
    own = [entry.rpartition(":")[2] for entry in entries if entry.rpartition(":")[0] == id]
    names = own or [entry for entry in entries if ":" not in entry]
    whole = [
        name for entry in names for name in (DEFAULT_POLICIES if entry == DEFAULT else (entry,))
    ]  # in the order of POLICIES, each once
    return tuple(name for name in POLICIES if name in whole)


def has_policies(entries: Sequence[str]) -> bool:
    """True if any object can have a policy."""
    names = {entry.rpartition(":")[2] for entry in entries}
    return bool(names - {NO_POLICY, DEFAULT}) or (DEFAULT in names and bool(DEFAULT_POLICIES))
