# SPDX-License-Identifier: Apache-2.0
"""Repairs wrong times of reception in a bag, by comparing them with the stamps of the message headers.

Knows numbers only; reading them is `order.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sam2_ros.media.frame_source import NS_PER_S, rise, usual_gap_ns
from sam2_ros.media.messages.cdr_header import MAX_STAMP_NS, fits_a_stamp

# Far more than a busy recorder is late, far less than a clock that was set or rolled over.
_ODD_NS = 10 * NS_PER_S


@dataclass(frozen=True)
class RepairedStamps:
    """The times of reception, and the order of the images, as they must have been.

    Attributes:
        order: indices, in the order the images were taken.
        received_ns: by index.
        odd: indices whose recorded time of reception was wrong.
        note: one line on it; empty where nothing was wrong.
    """

    order: tuple[int, ...]
    received_ns: tuple[int, ...]
    odd: frozenset[int] = frozenset()
    note: str = ""

    @property
    def is_out_of_order(self) -> bool:
        return self.order != tuple(range(len(self.order)))


def repair_stamps(topic: str, headers_ns: Sequence[int], received_ns: Sequence[int]) -> RepairedStamps:
    """The better clock of the two, for images in the order the bag has them; `headers_ns` 0 = none.

    A time of reception is wrong where it does not fit into a stamp, or where it is more than 10 s from what the other
    images' delays say while the header's stamp fits among theirs: the header's, later by their median delay, stands in.
    Where there is none, the image keeps its place and follows the one before. Where the headers are wrong, or most of
    both disagree (a bag of several runs), nothing is changed.
    """
    count = len(received_ns)
    as_recorded = RepairedStamps(tuple(range(count)), tuple(received_ns))
    odd = _odd(headers_ns, received_ns)
    if not odd:
        return as_recorded
    good = [index for index in range(count) if index not in odd]
    delays_ns = [received_ns[index] - headers_ns[index] for index in good if headers_ns[index]]
    delay_ns = round(median(delays_ns)) if delays_ns else 0
    repaired = list(received_ns)
    placed = sorted(index for index in odd if headers_ns[index])
    for index in placed:
        repaired[index] = min(max(headers_ns[index] + delay_ns, 0), MAX_STAMP_NS)
    key = {index: headers_ns[index] + delay_ns for index in placed}
    order = _merged(good, sorted(placed, key=lambda index: key[index]), repaired)
    _follow(
        order, sorted(odd - set(placed)), repaired, round(usual_gap_ns([repaired[index] for index in good]))
    )
    note = (
        f"{len(odd)} of {count} images on {topic} were received at impossible times, such as "
        f"{received_ns[min(odd)] / NS_PER_S:.0f} s: their headers' stamps, or where there are none those of the images "
        "before, say when"
    )
    return RepairedStamps(tuple(order), tuple(repaired), frozenset(odd), note)


def _odd(headers_ns: Sequence[int], received_ns: Sequence[int]) -> set[int]:
    """Indices whose time of reception is wrong."""
    odd = {index for index, stamp_ns in enumerate(received_ns) if not fits_a_stamp(stamp_ns)}
    with_both = [
        index
        for index, header in enumerate(headers_ns)
        if header and index not in odd and fits_a_stamp(header)
    ]
    if len(with_both) < 3:
        return odd
    usual_ns = median(received_ns[index] - headers_ns[index] for index in with_both)
    doubtful = {
        index for index in with_both if abs(received_ns[index] - headers_ns[index] - usual_ns) > _ODD_NS
    }
    agreeing = [headers_ns[index] for index in with_both if index not in doubtful]
    if not doubtful or 2 * len(doubtful) >= len(with_both) or not rise(agreeing):
        return odd
    low_ns, high_ns = agreeing[0] - _ODD_NS, agreeing[-1] + _ODD_NS
    taken = set(agreeing)
    return odd | {
        index
        for index in doubtful
        if low_ns <= headers_ns[index] <= high_ns and headers_ns[index] not in taken
    }


def _merged(good: Sequence[int], placed: Sequence[int], received_ns: Sequence[int]) -> list[int]:
    """`good` in its order, and each of `placed` in front of the first that was received later."""
    order, waiting = [], list(placed)
    for index in good:
        while waiting and received_ns[waiting[0]] < received_ns[index]:
            order.append(waiting.pop(0))
        order.append(index)
    return order + waiting


def _follow(order: list[int], without: Sequence[int], received_ns: list[int], gap_ns: int) -> None:
    """Put images that no clock places behind the one that the bag has before them."""
    for index in without:
        place = order.index(index - 1) + 1 if index else 0
        if place:
            before_ns = received_ns[order[place - 1]]
            after_ns = received_ns[order[place]] if place < len(order) else before_ns + 2 * gap_ns
            received_ns[index] = before_ns + max(1, min(gap_ns, (after_ns - before_ns) // 2))
        else:
            received_ns[index] = max(0, received_ns[order[0]] - gap_ns) if order else 0
        order.insert(place, index)
