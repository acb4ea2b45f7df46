# SPDX-License-Identifier: Apache-2.0
"""Things of several materials: vehicles, riders, dressed people, patched animals, fish, furniture, plants, stacks.

Knows the swing of a part, but no other motion, and no scene.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sam2_ros.synthetic.scene import Part, Wave

from . import shapes
from .canvas import Canvas, material
from .things import Look

Rng = np.random.Generator


def make_assembly(rng: Rng, look: Look, turning: float = 0.0) -> tuple[Part, ...]:
    """Make a random thing of several materials; `turning`: probability that a thing in one piece turns on itself."""
    kind = KINDS[int(rng.choice(len(KINDS), p=_SHARES))]
    made = kind(rng, look)
    if isinstance(made, Canvas):
        if turning and rng.random() < turning:
            return (
                made.turning(float(rng.choice([-1, 1]) * np.exp(rng.uniform(np.log(0.005), np.log(0.05))))),
            )
        return (made.part(),)
    return made


def stack(rng: Rng, look: Look) -> Canvas:
    """Make an abstract thing: two to five pieces over each other, with patches, each of another material."""
    canvas = Canvas(rng, look)
    canvas.add(shapes.fit(_piece(rng)) * rng.uniform(0.45, 0.75))
    for _ in range(int(rng.integers(1, 5))):
        size = rng.uniform(0.2, 0.45)
        angle, apart = rng.uniform(0, 6.3), min(0.5, 0.9 - size)
        canvas.add(shapes.fit(_piece(rng)) * size + apart * np.array([np.cos(angle), np.sin(angle)]))
    for _ in range(int(rng.integers(0, 5))):
        canvas.mark(shapes.fit(_piece(rng)) * rng.uniform(0.08, 0.35) + rng.uniform(-0.6, 0.6, 2))
    return canvas


def vehicle(rng: Rng, look: Look) -> tuple[Part, ...]:
    """Make a car, van, lorry or train from the side: body and cabin, windows, stripe, lamps, turning wheels."""
    long, high = rng.uniform(0.75, 0.93), rng.uniform(0.2, 0.4)
    canvas = Canvas(rng, look)
    floor = rng.uniform(0.15, 0.35)
    left, right = sorted(rng.uniform(-long, long, 2))
    left, right = min(left, right - 0.7 * long), max(right, left + 0.7 * long)
    left, right = max(left, -long), min(right, long)
    roof = floor - high - rng.uniform(0.2, 0.45)
    lean = rng.uniform(0, 0.25, 2)
    cabin = np.array(
        [[left, floor - high], [left + lean[0], roof], [right - lean[1], roof], [right, floor - high]]
    )
    paint = material(rng, look)
    canvas.add(cabin, material=paint)
    canvas.add(box(0, floor - high / 2, long, high / 2, 0.3), material=paint if rng.random() < 0.6 else None)
    glass = material(rng, look)
    panes = int(rng.integers(1, 5))
    width = (right - left - lean.sum() - 0.1) / panes
    for pane in range(panes):
        x = left + lean[0] + 0.05 + (pane + 0.5) * width
        canvas.mark(
            box(x, (roof + floor - high) / 2, 0.42 * width, 0.36 * (floor - high - roof)), material=glass
        )
    if rng.random() < 0.6:
        canvas.mark(box(0, floor - rng.uniform(0.05, high), 1, rng.uniform(0.02, 0.07)))
    for side in (-1, 1):
        canvas.mark(box(side * long * 0.95, floor - high * 0.6, 0.05, 0.06))
    radius = rng.uniform(0.14, 0.26)
    wheel = _wheel(rng, look, radius)
    pace = Wave(float(rng.uniform(3, 30)), float(rng.uniform(0.002, 0.02)), float(rng.uniform(0, 6.3)))
    at = [-0.62 * long, 0.62 * long] + ([0.25 * long] if rng.random() < 0.25 else [])
    wheels = [replace(wheel, pivot_xy=(float(x), float(floor)), swing=pace) for x in at]
    return (canvas.part(), *wheels)


def vehicle_end(rng: Rng, look: Look) -> Canvas:
    """Make a vehicle from the front or behind: windscreen, pairs of lamps, grille, number plate, tyres."""
    canvas = Canvas(rng, look)
    wide, tall = rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.9)
    for x in (-0.7, 0.7):
        canvas.add(box(x * wide, tall * 0.85, 0.14, 0.14, 0.3))
    paint = material(rng, look)
    waist = rng.uniform(-0.2, 0.1) * tall
    top = wide * rng.uniform(0.6, 0.95)
    canvas.add(np.array([[-wide, waist], [-top, -tall], [top, -tall], [wide, waist]]), material=paint)
    canvas.add(box(0, (waist + tall * 0.8) / 2, wide, (tall * 0.8 - waist) / 2 + 0.03, 0.35), material=paint)
    canvas.mark(np.array([[-0.85 * wide, waist - 0.04], [-0.85 * top, 0.05 - tall], [0.85 * top, 0.05 - tall],
                          [0.85 * wide, waist - 0.04]]))  # fmt: skip
    lamp, at_y = material(rng, look), rng.uniform(0.15, 0.45) * tall
    size = rng.uniform(0.06, 0.16)
    for x in (-0.75, 0.75):
        canvas.mark(box(x * wide, at_y, size, size * 0.8, 0.6), material=lamp)
    canvas.mark(box(0, at_y, wide * rng.uniform(0.2, 0.5), rng.uniform(0.05, 0.15)))
    canvas.mark(box(0, 0.65 * tall, rng.uniform(0.15, 0.9) * wide, 0.06))
    return canvas


def person(rng: Rng, look: Look, legs: bool = True) -> tuple[Part, ...]:
    """Make a person: hair, skin, shirt with a badge, trousers, shoes, and swinging limbs of two materials."""
    skin, shirt, trousers = (material(rng, look) for _ in range(3))
    pace, start = float(rng.uniform(0.01, 0.12)), float(rng.uniform(0, 6.3))
    torso = Canvas(rng, look, 0.5)
    torso.add(shapes.fit(shapes.superellipse(rng, rng.uniform(0.5, 0.8), 0.6)), material=shirt)
    for _ in range(int(rng.integers(0, 3))):
        torso.mark(
            box(rng.uniform(-0.3, 0.3), rng.uniform(-0.7, 0.7), rng.uniform(0.1, 0.8), rng.uniform(0.05, 0.3))
        )
    head = Canvas(rng, look, 0.24).add(shapes.fit(shapes.blob(rng, 0.06)), material=skin)
    head.mark(box(0, -0.9, 1.0, rng.uniform(0.3, 0.9)))  # hair or helmet
    nod = Wave(0.2, pace, start)
    at_x = float(rng.normal(0, 0.05))
    parts = [
        torso.part(0.42, (0.0, -0.25), Wave(0.1, pace, start)),
        head.part(float(rng.uniform(0.17, 0.24)), (at_x, -0.76), nod),
    ]
    arm = _limb(rng, look, shirt if rng.random() < 0.5 else skin, skin, 0.4)
    reach = float(rng.uniform(0.2, 1.0))
    for side, phase in ((-1, 0.0), (1, np.pi)):
        swing = Wave(reach, pace, start + phase)
        lift = float(rng.normal(0, 0.6))
        part = replace(arm, scale=0.5, pivot_xy=(side * 0.22, -0.5), angle_rad=lift, swing=swing)
        parts.insert(0 if side < 0 else len(parts), part)
    if legs:
        leg = _limb(rng, look, trousers, None, 0.75)
        for x, phase in ((-0.1, 0.0), (0.1, np.pi)):
            parts.insert(
                0, replace(leg, scale=0.75, pivot_xy=(x, 0.08), swing=Wave(reach, pace, start + phase))
            )
    return tuple(parts)


def animal(rng: Rng, look: Look) -> tuple[Part, ...]:
    """Make an animal on four legs: coat with patches, head, lower legs and tail of other materials."""
    pace, start = float(rng.uniform(0.01, 0.15)), float(rng.uniform(0, 6.3))
    coat = look.texture if rng.random() < 0.6 else material(rng, look)
    body = Canvas(rng, look, 0.62)
    trunk = shapes.fit(shapes.superellipse(rng, rng.uniform(1.6, 2.6), 0.8))
    body.add(trunk + 0.06 * np.sin(3 * trunk[:, ::-1]) * (0, 1), material=coat)
    for _ in range(int(rng.integers(0, 4))):
        body.mark(
            shapes.fit(shapes.blob(rng, 0.3)) * rng.uniform(0.1, 0.4) + rng.uniform(-0.7, 0.7, 2) * (1, 0.4)
        )
    neck = Canvas(rng, look, 0.4).add(box(0, 0, 0.45, 0.93, 0.4), material=coat)
    head = Canvas(rng, look, 0.3).add(shapes.fit(shapes.superellipse(rng, rng.uniform(1.2, 2), 0.8)),
                                      material=coat if rng.random() < 0.5 else None)  # fmt: skip
    head.mark(box(0.75, 0.1, 0.3, 0.6)).mark(box(0.2, -0.2, 0.07, 0.07, 1.0))
    ear = np.array([[-0.6, -0.2], [-0.4, -0.85], [-0.1, -0.3]])
    head.add(ear)
    height = float(rng.uniform(0.5, 0.75))
    leg = _limb(rng, look, coat, None, height)
    reach = float(rng.uniform(0.1, 0.8))
    at = ((-0.46, 0.0), (-0.38, np.pi), (0.36, np.pi), (0.44, 0.0))
    legs = [
        replace(leg, scale=height, pivot_xy=(x, 0.05), swing=Wave(reach, pace, start + phase))
        for x, phase in at
    ]
    tail = replace(_limb(rng, look, coat, None, 0.5), scale=float(rng.uniform(0.3, 0.6)), pivot_xy=(-0.55, -0.15),
                   angle_rad=float(rng.uniform(0.2, 1.6)), swing=Wave(0.5, pace, start))  # fmt: skip
    nod = Wave(float(rng.uniform(0, 0.25)), pace, start)
    high = float(rng.uniform(0.15, 0.6))
    return (tail, *legs[::2], body.part(0.62, (0.0, -0.05)),
            replace(neck.part(0.34, (0.55, -0.1 - high / 2), nod), angle_rad=0.6),
            head.part(float(rng.uniform(0.22, 0.32)), (0.68, -0.15 - high), nod), *legs[1::2])  # fmt: skip


def rider(rng: Rng, look: Look) -> tuple[Part, ...]:
    """Make a person on an animal, a two-wheeler or a board: one thing of two very different halves."""
    upper = _smaller(person(rng, look, legs=rng.random() < 0.6), 0.62, -0.26)
    draw = rng.random()
    if draw < 0.4:
        mount = _smaller(animal(rng, look), 0.8, 0.28)
    elif draw < 0.8:
        mount = list(_two_wheeler(rng, look))
    else:
        board = Canvas(rng, look).add(shapes.fit(shapes.superellipse(rng, rng.uniform(4, 9), 0.8)))
        mount = [
            replace(
                board.part(float(rng.uniform(0.6, 0.95)), (0.0, 0.26)), angle_rad=float(rng.normal(0, 0.3))
            )
        ]
    cut = int(rng.integers(len(upper) + 1))
    return (*upper[:cut], *mount, *upper[cut:])


def _smaller(parts: tuple[Part, ...], scale: float, down: float) -> list[Part]:
    """Scale the parts of a thing, and move them down by a share of the thing's square."""
    return [
        replace(p, scale=p.scale * scale, pivot_xy=(p.pivot_xy[0] * scale, p.pivot_xy[1] * scale + down))
        for p in parts
    ]


def fish(rng: Rng, look: Look) -> Canvas:
    """Make a fish: a body with bands, an eye, fins and a tail of other materials, in one piece that may bend."""
    canvas = Canvas(rng, look)
    deep = rng.uniform(0.25, 0.6)
    tail = np.array([[-0.45, 0], [-0.93, -rng.uniform(0.2, 0.6)], [-0.8, 0], [-0.93, rng.uniform(0.2, 0.6)]])
    fin = material(rng, look)
    canvas.add(tail, material=fin)
    canvas.add(
        np.array([[-0.3, -deep * 0.6], [0.0, -min(0.9, deep * 1.7)], [0.35, -deep * 0.5]]), material=fin
    )
    along = shapes.superellipse(rng, 1.0, 1.0) * (0.65, deep) + (0.25, 0)
    canvas.add(along)
    bands = int(rng.integers(0, 6))
    paint = material(rng, look)
    for band in range(bands):
        x = -0.3 + 1.1 * (band + 0.5) / bands
        canvas.mark(box(x, 0, rng.uniform(0.02, 0.08), 1.0, 0.3), material=paint)
    canvas.mark(box(0.68, -0.25 * deep, 0.05, 0.05, 1.0))
    return canvas


def furniture(rng: Rng, look: Look) -> Canvas:
    """Make a chair, table, gate or scaffold: bars with holes between them, boards of another material."""
    canvas = Canvas(rng, look)
    wide, tall = rng.uniform(0.5, 0.92, 2)
    thick = rng.uniform(0.03, 0.11)
    bars = material(rng, look)
    uprights, shelves = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    for x in np.linspace(-wide + thick, wide - thick, uprights):
        canvas.add(box(x, 0, thick, tall), material=bars)
    for y in rng.uniform(-tall, tall * 0.7, shelves):
        canvas.add(
            box(0, y, wide, thick * rng.uniform(0.7, 2.0)), material=bars if rng.random() < 0.5 else None
        )
    for _ in range(int(rng.integers(0, 3))):  # a seat, a back, a cushion, a sign
        canvas.add(box(rng.uniform(-0.2, 0.2), rng.uniform(-0.5, 0.3) * tall, wide * rng.uniform(0.3, 0.9),
                       rng.uniform(0.1, 0.35) * tall, 0.3))  # fmt: skip
    return canvas


def plant(rng: Rng, look: Look) -> Canvas:
    """Make a stem or pole with crowns of another material: a tree, a flower, a sign, an umbrella, a balloon."""
    canvas = Canvas(rng, look)
    foot = rng.uniform(0.02, 0.12)
    canvas.add(np.array([[-foot, 0.93], [-foot * 0.6, -0.2], [foot * 0.6, -0.2], [foot, 0.93]]))
    crown = material(rng, look)
    for _ in range(int(rng.integers(1, 5))):
        size = rng.uniform(0.2, 0.55)
        at = (rng.uniform(-0.6, 0.6) * size, rng.uniform(-0.9 + size, 0.0))
        same = rng.random() < 0.6
        canvas.add(shapes.fit(_piece(rng)) * size + at, material=crown if same else None)
    if rng.random() < 0.3:
        canvas.add(box(0, 0.75, rng.uniform(0.15, 0.3), 0.17))  # a pot, a basket
    return canvas


KINDS = (stack, vehicle, vehicle_end, person, animal, rider, fish, furniture, plant)
_SHARES = (0.25, 0.13, 0.08, 0.1, 0.13, 0.12, 0.07, 0.06, 0.06)


def box(x: float, y: float, half_width: float, half_height: float, power: float = 0.15) -> np.ndarray:
    """Return a box around (x, y), [n, 2]; a larger `power` rounds its corners more (1: an ellipse)."""
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x + half_width * np.sign(cos) * np.abs(cos) ** power,
                     y + half_height * np.sign(sin) * np.abs(sin) ** power], 1)  # fmt: skip


def _piece(rng: Rng) -> np.ndarray:
    draw = rng.random()
    if draw < 0.4:
        return shapes.blob(rng)
    if draw < 0.6:
        return shapes.polygon(rng)
    return shapes.rotated(shapes.superellipse(rng), rng.uniform(0, 6.3))


def _limb(rng: Rng, look: Look, upper: np.ndarray, lower: np.ndarray | None, share: float) -> Part:
    """Make an arm or a leg whose lower end (hand, shoe, sock) has another material."""
    limb = Canvas(rng, look, share).add(shapes.limb(rng, float(rng.uniform(0.1, 0.22))), material=upper)
    return limb.mark(box(0, 1.0, 1.0, rng.uniform(0.12, 0.5)), material=lower).part()


def _wheel(rng: Rng, look: Look, radius: float) -> Part:
    """Make a wheel: tyre, rim, hub; some with spokes and holes between them."""
    disc = box(0, 0, 0.93, 0.93, 1.0)
    canvas = Canvas(rng, look, radius).add(disc)
    inner = rng.uniform(0.5, 0.85)
    if rng.random() < 0.3:
        canvas.cut(disc * inner)
        for angle in np.arange(3) * np.pi / 3:
            canvas.add(shapes.rotated(box(0, 0, inner, 0.08), angle))
    else:
        canvas.mark(disc * inner)
    return canvas.mark(disc * 0.25).mark(box(inner / 2, 0, inner / 2, 0.08)).part(radius)


def _two_wheeler(rng: Rng, look: Look) -> tuple[Part, ...]:
    """Make a bicycle (thin, with holes) or a motorcycle (with a body)."""
    radius, apart, axle = rng.uniform(0.22, 0.34), rng.uniform(0.45, 0.62), 0.58
    wheel = _wheel(rng, look, radius)
    frame = Canvas(rng, look)
    bar = rng.uniform(0.02, 0.05)
    paint = material(rng, look)
    joints = np.array([[-apart, axle], [-0.1, axle], [apart * 0.75, 0.05], [-0.25, 0.1], [apart, axle]])
    for start, end in ((0, 1), (1, 2), (1, 3), (0, 3), (3, 2), (2, 4)):
        frame.add(_bar(joints[start], joints[end], bar), material=paint)
    frame.add(_bar(joints[2], joints[2] + (-0.1, -0.2), bar)).add(box(-0.28, 0.08, 0.15, 0.05, 0.6))
    if rng.random() < 0.5:
        frame.add(shapes.fit(shapes.blob(rng, 0.15)) * (0.45, 0.25) + (0.05, 0.3)).mark(
            box(0.0, 0.3, 0.3, 0.08)
        )
    spin = Wave(float(rng.uniform(3, 30)), float(rng.uniform(0.002, 0.02)))
    wheels = [replace(wheel, pivot_xy=(float(x), axle), swing=spin) for x in (-apart, apart)]
    return (*wheels, frame.part())


def _bar(start: np.ndarray, end: np.ndarray, half_width: float) -> np.ndarray:
    along = (end - start) / np.hypot(*(end - start))
    side = half_width * np.array([-along[1], along[0]])
    return np.array([start + side, end + side, end - side, start - side])
