# SPDX-License-Identifier: Apache-2.0
"""Orders image files by the numbers in their names (`frame10` after `frame9`), and reads time stamps from the names.

Knows names only; opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from statistics import median

from sam2_ros.media.frame_source import NS_PER_S, is_increasing, natural_key

_NUMBER = r"(?P<whole>\d+)(?:\.(?P<part>\d+))?(?:[eE](?P<power>[-+]?\d{1,2}))?"
# The last number of a name, alone or between a head and a tail that all names have.
_NAME = re.compile(r"(?P<head>.*?)(?P<sign>-?)" + _NUMBER + r"(?P<tail>(?:[^\d.].*)?)", re.DOTALL)
_EPOCHS = {  # number of digits of an integer that can only be a time since 1970 -> nanoseconds of its unit
    13: 1_000_000,
    16: 1_000,
    19: 1,
}
_EARLIEST_NS, _LATEST_NS = 10**18, 2**31 * NS_PER_S  # 2001 to 2038, where ROS stamps end
_CLEARLY = 2.0


@dataclass(frozen=True)
class NameOrder:
    """Files in the order of their names.

    Attributes:
        names: all names in order.
        stamps_ns: the stamps in the names, increasing, one for each; None if the names are numbers or words.
        note: one line on ambiguous or unused stamps, else empty.
    """

    names: tuple[str, ...]
    stamps_ns: tuple[int, ...] | None = None
    note: str = ""


@dataclass(frozen=True)
class _Parsed:
    name: str
    negative: bool
    whole: str
    part: str
    power: int

    def value(self, unit_digits: int = 0) -> Decimal:
        """Return a decimal number; with `unit_digits` the fraction is an integer in units of 10^-unit_digits."""
        part = self.part.rjust(unit_digits, "0") if unit_digits else self.part
        number = Decimal(f"{self.whole}.{part or 0}").scaleb(self.power)
        return -number if self.negative else number


def order_names(names: Sequence[str]) -> NameOrder:
    """Order names naturally, or by value if they are decimal numbers or stamps.

    A point between digits is a decimal point (`0.5`, `1700000000.1333`) if all names have the same words around one
    number and at least one has a point. `sec.nanosec` without leading zeros is recognised by its form (the part after
    the point never begins with 0, and can end with 0), else by which reading gives the more regular times. `-` is a
    sign if the names are only numbers, or if some have it and others do not (`t-1`, `t0`).
    """
    natural = tuple(sorted(names, key=lambda name: (natural_key(_stem(name)), name)))
    parsed = _parse(names)
    if parsed is None:
        return NameOrder(natural)
    if any(one.part or one.power for one in parsed):
        return _decimal(parsed)
    if any(one.negative for one in parsed):
        return NameOrder(tuple(one.name for one in _sorted(parsed)))
    whole = {one.name: one.whole for one in parsed}
    return NameOrder(natural, _epoch_stamps([whole[name] for name in natural]))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _parse(names: Sequence[str]) -> list[_Parsed] | None:
    """Split every name into head, number and tail; None unless heads and tails are the same in all."""
    matches = [_NAME.fullmatch(_stem(name)) for name in names]
    found = [match for match in matches if match is not None]
    if not found or len(found) != len(matches):
        return None
    heads = {match["head"] for match in found}
    if len(heads) != 1 or len({match["tail"] for match in found}) != 1:
        return None
    head = next(iter(heads))
    if re.search(r"\d\.$", head):  # 1.2.3 is not a number
        return None
    # An e between digits belongs to a word (a hash), unless there are also decimal points, or it is 1e-05.
    powers = [match["power"] for match in found if match["power"]]
    if powers and not any(match["part"] or (match["power"] or "").startswith("-") for match in found):
        return None
    signed = not head or len({match["sign"] for match in found}) == 2
    return [
        _Parsed(
            name,
            signed and match["sign"] == "-",
            match["whole"],
            match["part"] or "",
            int(match["power"] or 0),
        )
        for name, match in zip(names, found, strict=True)
    ]


def _sorted(parsed: Sequence[_Parsed], unit_digits: int = 0) -> list[_Parsed]:
    return sorted(parsed, key=lambda one: (one.value(unit_digits), one.name))


def _decimal(parsed: Sequence[_Parsed]) -> NameOrder:
    unit_digits, unsure = _unit_digits(parsed)
    ordered = _sorted(parsed, unit_digits)
    names = tuple(one.name for one in ordered)
    values = [one.value(unit_digits) for one in ordered]
    note = ""
    if unsure:
        other = tuple(one.name for one in _sorted(parsed, 0 if unit_digits else unsure))
        at = next(i for i, pair in enumerate(zip(names, other, strict=True)) if pair[0] != pair[1])
        meaning = "whole numbers (sec.nanosec)" if unit_digits else "decimals"
        note = (
            f"digits after the point are read as {meaning}, so that '{names[at]}' comes before '{other[at]}'; "
            "pad them with zeros to one length if that is wrong"
        )
    if not _are_times(ordered, values, unit_digits):
        return NameOrder(names, None, note)
    stamps_ns = [int((value * NS_PER_S).to_integral_value()) for value in values]
    if not is_increasing(stamps_ns):
        return NameOrder(names, None, note or "two names are the same time: they are read as numbers")
    if stamps_ns[0] < 0:  # a bag cannot store times before 1970
        stamps_ns = [stamp_ns - stamps_ns[0] for stamp_ns in stamps_ns]
        note = note or "its names go below 0: stamps are counted from the first"
    if stamps_ns[-1] >= _LATEST_NS:
        return NameOrder(names, None, note or "its names are later than 2038: they are read as numbers")
    return NameOrder(names, tuple(stamps_ns), note)


def _unit_digits(parsed: Sequence[_Parsed]) -> tuple[int, int]:
    """Return how to read the digits after the point: 0 = decimals; 3, 6, 9 = milli-, micro-, nanoseconds as integers.

    The second value is the alternative if it gives another order and neither is clearly right; else 0.
    """
    lengths = {len(one.part) for one in parsed}
    if len(lengths) == 1 or max(lengths) > 9 or any(one.power or one.negative for one in parsed):
        return 0, 0
    unit = next(digits for digits in (3, 6, 9) if max(lengths) <= digits)
    parts = [one.part for one in parsed if len(one.part) > 1]
    begins = any(part[0] == "0" for part in parts)
    ends = any(part[-1] == "0" for part in parts)
    if begins:  # leading zeros are written: not an integer
        return 0, 0
    if ends or _counted(parsed):  # 1.9, 1.10
        return unit, 0
    if [one.name for one in _sorted(parsed)] == [one.name for one in _sorted(parsed, unit)]:
        return 0, 0
    decimal, whole = _unsteadiness(parsed, 0), _unsteadiness(parsed, unit)
    clear = max(decimal, whole) >= _CLEARLY * min(decimal, whole)
    # Nine of ten integers of nanoseconds have all nine digits.
    full = sum(len(one.part) == unit for one in parsed) / len(parsed)
    if whole < decimal and (clear or full >= 0.5):
        return unit, 0 if clear else unit
    return 0, 0 if clear or not full else unit


def _unsteadiness(parsed: Sequence[_Parsed], unit_digits: int) -> float:
    """Measure how irregular the gaps between neighbours are: 1 + mean deviation from the median / median."""
    values = [one.value(unit_digits) for one in _sorted(parsed, unit_digits)]
    gaps = [float(later - earlier) for earlier, later in pairwise(values)]
    middle = median(gaps) if gaps else 0.0
    if middle <= 0:
        return float("inf")
    return 1 + sum(abs(gap - middle) for gap in gaps) / len(gaps) / middle


def _counted(parsed: Sequence[_Parsed]) -> bool:
    """True if the parts after the point count in steps of one (`1.1`, `1.2`, ... `1.10`): scene numbers, not times."""
    parts: dict[str, list[int]] = {}
    for one in parsed:
        if not one.part:
            return False
        parts.setdefault(one.whole, []).append(int(one.part))
    longest = max(len(found) for found in parts.values())
    return longest > 1 and all(
        later - earlier == 1 for found in parts.values() for earlier, later in pairwise(sorted(found))
    )


def _are_times(ordered: Sequence[_Parsed], values: Sequence[Decimal], unit_digits: int) -> bool:
    """True if decimal names are seconds: by their size, their digits, or equal steps across full seconds."""
    if unit_digits == 3 or any("." in one.part for one in ordered):
        return False
    if all(abs(value) >= 10**8 for value in values):  # seconds since 1970
        return True
    if not _counted(ordered):
        return True
    # 0.8, 0.9, 1.0: a tenth of a second each. 1.1, 1.2, 2.1, 2.2: scenes.
    gaps = [later - earlier for earlier, later in pairwise(values)]
    return len({one.whole for one in ordered}) > 1 and len(set(gaps)) == 1


def _epoch_stamps(numbers: Sequence[str]) -> tuple[int, ...] | None:
    """Convert integers that can only be milli-, micro- or nanoseconds since 1970 to nanoseconds; else None."""
    unit_ns = _EPOCHS.get(len(numbers[0]))
    if unit_ns is None or any(len(number) != len(numbers[0]) for number in numbers):
        return None
    stamps_ns = tuple(int(number) * unit_ns for number in numbers)
    return (
        stamps_ns
        if is_increasing(stamps_ns) and stamps_ns[0] >= _EARLIEST_NS and stamps_ns[-1] < _LATEST_NS
        else None
    )
