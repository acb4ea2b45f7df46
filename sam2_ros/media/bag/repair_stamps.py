# SPDX-License-Identifier: Apache-2.0
"""Repairs wrong times of reception in a bag, by comparing them with the stamps of the message headers.

Knows numbers only; `order.py` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sam2_ros.media.frame_source import NS_PER_S, is_increasing, median_gap_ns
from sam2_ros.media.messages.cdr_header import MAX_STAMP_NS, is_valid_stamp

# Far more than the delay of a busy recorder, far less than the jump of a clock that was set or overflowed.
_ODD_NS = 10 * NS_PER_S


@dataclass(frozen=True)
class RepairedStamps:
    """The repaired times of reception, and the order of the images.

    Attributes:
        order: indices, in the order in which the images were taken.
        received_ns: time of reception by index.
        odd: indices with a wrong recorded time of reception.
        note: one line on the repair; empty if nothing was wrong.
    """

    order: tuple[int, ...]
    received_ns: tuple[int, ...]
    odd: frozenset[int] = frozenset()
    note: str = ""

    @property
    def is_out_of_order(self) -> bool:
        return self.order != tuple(range(len(self.order)))


def repair_stamps(topic: str, headers_ns: Sequence[int], received_ns: Sequence[int]) -> RepairedStamps:
    """Repair the times of reception of images, given in the order of the bag; `headers_ns` 0 = no stamp.

    A time of reception is wrong if it does not fit into a stamp, or if it differs by more than 10 s from the header's
    stamp plus the median delay of the images while the header's stamp lies among the others'. It is replaced by the
    header's stamp plus the median delay. An image without a header stamp stays behind the image before it. If the
    headers are wrong, or most of them disagree with the times of reception (a bag of several runs), nothing is changed.
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
        order, sorted(odd - set(placed)), repaired, round(median_gap_ns([repaired[index] for index in good]))
    )
    note = (
        f"{len(odd)} of {count} images on {topic} were received at impossible times, such as "
        f"{received_ns[min(odd)] / NS_PER_S:.0f} s: the stamps of their headers are used instead, or, without one, "
        "that of the image before"
    )
    return RepairedStamps(tuple(order), tuple(repaired), frozenset(odd), note)


def _odd(headers_ns: Sequence[int], received_ns: Sequence[int]) -> set[int]:
    """Return the indices with a wrong time of reception."""
    odd = {index for index, stamp_ns in enumerate(received_ns) if not is_valid_stamp(stamp_ns)}
    with_both = [
        index
        for index, header in enumerate(headers_ns)
        if header and index not in odd and is_valid_stamp(header)
    ]
    if len(with_both) < 3:
        return odd
    usual_ns = median(received_ns[index] - headers_ns[index] for index in with_both)
    doubtful = {
        index for index in with_both if abs(received_ns[index] - headers_ns[index] - usual_ns) > _ODD_NS
    }
    agreeing = [headers_ns[index] for index in with_both if index not in doubtful]
    if not doubtful or 2 * len(doubtful) >= len(with_both) or not is_increasing(agreeing):
        return odd
    low_ns, high_ns = agreeing[0] - _ODD_NS, agreeing[-1] + _ODD_NS
    taken = set(agreeing)
    return odd | {
        index
        for index in doubtful
        if low_ns <= headers_ns[index] <= high_ns and headers_ns[index] not in taken
    }


def _merged(good: Sequence[int], placed: Sequence[int], received_ns: Sequence[int]) -> list[int]:
    """Merge: keep the order of `good`, and put each of `placed` before the first that was received later."""
    order, waiting = [], list(placed)
    for index in good:
        while waiting and received_ns[waiting[0]] < received_ns[index]:
            order.append(waiting.pop(0))
        order.append(index)
    return order + waiting


def _follow(order: list[int], without: Sequence[int], received_ns: list[int], gap_ns: int) -> None:
    """Put images without any valid time behind the image before them in the bag."""
    for index in without:
        place = order.index(index - 1) + 1 if index else 0
        if place:
            before_ns = received_ns[order[place - 1]]
            after_ns = received_ns[order[place]] if place < len(order) else before_ns + 2 * gap_ns
            received_ns[index] = before_ns + max(1, min(gap_ns, (after_ns - before_ns) // 2))
        else:
            received_ns[index] = max(0, received_ns[order[0]] - gap_ns) if order else 0
        order.insert(place, index)
