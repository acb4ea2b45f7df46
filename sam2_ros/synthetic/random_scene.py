# SPDX-License-Identifier: Apache-2.0
"""Makes random scenes: chooses things, their motion and depth order, occluders, and the camera's motion.

Knows nothing of pixels: `scene` draws the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from .clip import ClipConfig
from .drawing.assemblies import make_assembly
from .drawing.clutter import cluttered, defocused
from .drawing.multicoloured import make_multicoloured
from .drawing.textures import recolour
from .drawing.things import Look, make_backdrop, make_parts
from .hard_motions import approaching, chasing, crossing, fast_motion, growing
from .lighting import Lighting
from .photographs.bank import Instance, PhotographBank
from .photographs.things import cutout_layer, photo_backdrop
from .scene import CameraMotion, Layer, Motion, Part, Scene, Wave

Rng = np.random.Generator
PROCEDURAL = 0.12  # share of the objects, and of the backdrops, of composites that are not out of photographs


def in_share(rng: Rng, share: float) -> bool:
    """True with probability `share`. Draws no random number at 0, so that an unused feature changes no clip."""
    return share > 0 and bool(rng.random() < share)


def random_scene(rng: Rng, config: ClipConfig, actors: Mapping[int, Layer] | None = None) -> Scene:
    """Choose background, things, motions and depth order; `actors` are existing labelled objects, by label."""
    side = min(config.height_px, config.width_px)
    photos = config.photographs if in_share(rng, config.composites) else None
    background = _background(rng, config, photos)
    kinds: dict[int, Instance] = {}
    hidden = int(rng.integers(config.objects)) if rng.random() < config.hide_probability else -1
    hides_by_leaving = rng.random() < config.leaving
    light = rng.uniform(0, 2 * np.pi)
    things: list[Layer] = []
    fronts: list[Layer] = []
    pace = config.motion_scale * float(np.exp(rng.uniform(np.log(0.2), np.log(4.0))))
    hurry = in_share(rng, config.fast)
    for label in range(config.objects):
        low, high = config.size_range
        if label == hidden:
            high = min(high, max(low, 0.28))
        length_px = side * random_length(rng, low, high)
        length_px = max(length_px, 2.6 * np.sqrt(config.min_area_share) * side)
        motion = random_motion(rng, config, length_px / 2, pace)
        if label == hidden and config.frames > 2 and hides_by_leaving:
            motion = _leaving(rng, config, motion)
        elif label != hidden:
            motion = fast_motion(rng, config, motion) if hurry else motion
            motion = approaching(rng, config, motion) if in_share(rng, config.approaching) else motion
            if in_share(rng, config.growing):
                motion = growing(rng, config, motion)
                length_px = 2 * motion.largest_half_size_px(config.frames)
        if actors is not None:
            thing = replace(actors[label], motion=motion)
        else:
            under = _colour_under(background, motion.start_xy, config)
            if photos is not None and rng.random() >= PROCEDURAL:
                kinds[label] = photos.choose(rng, 2 * motion.largest_half_size_px(config.frames))
                thing = cutout_layer(rng, photos, kinds[label], motion, config.frames, label, under)
            else:
                look = Look(rng, config.textures, length_px, light, under)
                thing = _make_layer(rng, _parts(rng, config, look), motion, label, pace)
        things.append(thing)
        if label == hidden and config.frames > 2 and not hides_by_leaving:
            fronts.append(_screen(rng, config, motion, light, photos))
    if in_share(rng, config.twins):
        _add_twin(rng, config, things, hidden, kinds)
    for _ in range(int(rng.integers(config.distractors + 1))):
        like = int(rng.integers(config.objects))
        things.append(_distractor(rng, config, things[like], light, pace, kinds.get(like)))
    for _ in range(int(rng.integers(config.occluders + 1))):
        length_px = side * float(np.exp(rng.uniform(np.log(0.1), np.log(0.5))))
        motion = random_motion(rng, config, length_px / 2, pace * 1.5)
        if photos is not None:
            front = photos.choose(rng, length_px, front=True)
            fronts.append(cutout_layer(rng, photos, front, motion, config.frames))
            continue
        parts = _parts(rng, config, Look(rng, config.textures, length_px, light))
        fronts.append(_make_layer(rng, parts, motion, -1, pace))
    seen = [thing.motion for label, thing in enumerate(things[: config.objects]) if label != hidden]
    camera = _camera(rng, config, seen[0] if seen else None)
    order = rng.permutation(len(things))
    lighting = Lighting.random(rng, side, config.frames) if in_share(rng, config.lighting) else None
    return Scene(camera, background, tuple(things[i] for i in order) + tuple(fronts), lighting)


def _background(rng: Rng, config: ClipConfig, photos: PhotographBank | None) -> np.ndarray:
    if photos is not None and rng.random() >= PROCEDURAL:
        # Large, because a reflection is seen beyond its border.
        return photo_backdrop(rng, photos, int(config.height_px * 1.7), int(config.width_px * 1.7))
    height, width = int(config.height_px * 1.3), int(config.width_px * 1.3)
    soft = in_share(rng, config.defocus)
    drawn = (height // 2, width // 2) if soft else (height, width)  # half the resolution is enough if blurred
    background = make_backdrop(rng, config.textures, *drawn)
    if in_share(rng, config.clutter):
        background = cluttered(rng, config.textures, background, config.assemblies)
    return defocused(rng, background, height, width) if soft else background


def _parts(rng: Rng, config: ClipConfig, look: Look) -> tuple[Part, ...]:
    if in_share(rng, config.multicoloured):
        return make_multicoloured(rng, look, config.frames)
    if in_share(rng, config.assemblies):
        return make_assembly(rng, look, config.turning)
    return make_parts(rng, look)


def _add_twin(
    rng: Rng, config: ClipConfig, things: list[Layer], hidden: int, kinds: dict[int, Instance]
) -> None:
    """Add a look-alike that crosses an object in view: replaces another labelled object, or is an unlabelled thing."""
    seen = [label for label in range(config.objects) if label != hidden]
    if not seen:
        return
    first = seen[int(rng.integers(len(seen)))]
    others = [label for label in seen if label != first]
    label = others[int(rng.integers(len(others)))] if others and rng.random() < 0.4 else -1
    twin = replace(things[first], motion=crossing(rng, config, things[first].motion), label=label)
    if first in kinds and config.photographs is not None and rng.random() < 0.6:
        twin = _of_the_same_class(rng, config, config.photographs, kinds[first], twin.motion, label)
    if label >= 0:
        things[label] = twin
        kinds.pop(label, None)
    else:
        things.append(twin)


def _of_the_same_class(
    rng: Rng, config: ClipConfig, photos: PhotographBank, like: Instance, motion: Motion, label: int
) -> Layer:
    """Make a cut-out of another instance of the class of `like`, if there is one: two persons, two cups."""
    length_px = 2 * motion.largest_half_size_px(config.frames)
    other = photos.choose(rng, length_px, like.category, other_than=like)
    return cutout_layer(rng, photos, other, motion, config.frames, label)


def _distractor(
    rng: Rng, config: ClipConfig, like: Layer, light: float, pace: float, kind_of_like: Instance | None
) -> Layer:
    """Make an unlabelled thing: equal to `like`, of its colour, or arbitrary; half of them start close to it."""
    side = min(config.height_px, config.width_px)
    kind = rng.random()
    if kind < 0.7:
        size_px = like.motion.half_size_px * float(np.exp(rng.normal(0, 0.3)))
    else:
        size_px = 0.5 * side * float(np.exp(rng.uniform(np.log(0.06), np.log(0.4))))
    motion = random_motion(rng, config, size_px, pace)
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        apart = (size_px + like.motion.half_size_px) * rng.uniform(0.7, 1.3)
        x, y = np.array(like.motion.start_xy) + apart * np.array([np.cos(angle), np.sin(angle)])
        motion = replace(motion, start_xy=(float(x), float(y)))
    if kind_of_like is not None and config.photographs is not None:
        if kind < 0.25:
            return replace(like, motion=motion, label=-1)
        if kind < 0.7:
            return _of_the_same_class(rng, config, config.photographs, kind_of_like, motion, -1)
        other = config.photographs.choose(rng, 2 * size_px)
        return cutout_layer(rng, config.photographs, other, motion, config.frames)
    if kind < 0.35:
        parts = like.parts
    else:
        look = Look(rng, config.textures, 2 * size_px, light)
        if kind < 0.7:
            target = np.clip(_colour(like) + rng.normal(0, 18, 3), 10, 245)
            look.texture = recolour(rng, look.texture, 0.2, mean_rgb=target)
        parts = _parts(rng, config, look)
    return _make_layer(rng, parts, motion, -1, pace)


def _colour(layer: Layer) -> np.ndarray:
    """Return the mean colour of a thing's largest part, [3]."""
    sprite = max(layer.parts, key=lambda part: part.scale).sprite
    return np.array(cv2.mean(sprite, np.ascontiguousarray(sprite[..., 3]))[:3])


def random_length(rng: Rng, low: float, high: float) -> float:
    """Draw a length in low..high: 40 % log-uniform, the others larger, as they are more useful for learning."""
    share = rng.random() if rng.random() < 0.4 else max(rng.random(), rng.random())
    return float(low * (high / low) ** share)


def _colour_under(background: np.ndarray, at_xy: tuple[float, float], config: ClipConfig) -> np.ndarray:
    """Return the mean colour of the background near a point of the world, [3]."""
    x = int(at_xy[0] + (background.shape[1] - config.width_px) / 2)
    y = int(at_xy[1] + (background.shape[0] - config.height_px) / 2)
    patch = background[max(y - 16, 0) : y + 16, max(x - 16, 0) : x + 16]
    return np.array(cv2.mean(patch)[:3]) if patch.size else np.full(3, 128.0)


def _wave(rng: Rng, amplitude: float, speed: float) -> Wave:
    """Draw a wave of random amplitude up to `amplitude`, with a peak rate of change near `speed` per frame."""
    size = max(amplitude * rng.uniform(0.2, 1.0), 1e-6)
    frequency = min(abs(speed) / (2 * np.pi * size), 0.2)
    return Wave(float(size), float(frequency), float(rng.uniform(0, 2 * np.pi)))


def random_motion(rng: Rng, config: ClipConfig, half_size_px: float, pace: float) -> Motion:
    """Draw a motion that starts in the image: swaying, some spinning, of changing size and shape."""
    height, width = config.height_px, config.width_px
    side = min(height, width)
    speed = pace * side * 0.012 * float(np.exp(rng.normal(0, 0.7)))  # px per frame
    heading = rng.uniform(0, 2 * np.pi)
    reach = side * rng.uniform(0.05, 0.45)
    inset = np.minimum(half_size_px * 0.6 + 2, 0.35 * side)
    start = (float(rng.uniform(inset, width - inset)), float(rng.uniform(inset, height - inset)))
    return Motion(
        start,
        half_size_px,
        angle_rad=float(rng.normal(0, 0.35)),
        sway_x=(_wave(rng, reach, speed * abs(np.cos(heading))), _wave(rng, 0.02 * side, 0.3 * speed)),
        sway_y=(_wave(rng, reach, speed * abs(np.sin(heading))), _wave(rng, 0.02 * side, 0.3 * speed)),
        spin=float(rng.normal(0, 0.06)) * pace if rng.random() < 0.25 else 0.0,
        rock=_wave(rng, 0.5, 0.04 * pace),
        grow=_wave(rng, 0.35, 0.02 * pace),
        squash=_wave(rng, 0.35, 0.03 * pace),
        flip=-1.0 if rng.random() < 0.5 else 1.0,
    )


def _leaving(rng: Rng, config: ClipConfig, motion: Motion) -> Motion:
    """Return a motion from the same start, out over one border and back: fully outside in the middle of the clip."""
    x, y = motion.start_xy
    borders = ((-1, 0, x), (1, 0, config.width_px - x), (0, -1, y), (0, 1, config.height_px - y))
    dx, dy, distance = borders[int(rng.integers(4))]
    middle = rng.uniform(0.35, 0.65) * (config.frames - 1)
    out = (distance + 1.6 * motion.half_size_px) * rng.uniform(1.1, 1.5)
    wave = Wave(float(out), float(0.25 / middle), 0.0)
    still = Wave(1.0, 0.02, 0.0)
    return Motion(
        motion.start_xy,
        motion.half_size_px,
        motion.angle_rad,
        sway_x=(Wave(wave.amplitude * dx, wave.frequency), still),
        sway_y=(Wave(wave.amplitude * dy, wave.frequency), still),
        rock=motion.rock,
    )


def _screen(
    rng: Rng, config: ClipConfig, motion: Motion, light: float, photos: PhotographBank | None
) -> Layer:
    """Make an occluder that starts beside an object and fully covers it in the middle of the clip."""
    radius = motion.half_size_px * 1.35
    middle = max(1.0, round(rng.uniform(0.35, 0.65) * (config.frames - 1)))
    hold = rng.uniform(0.1, 0.45) * middle  # frames fully hidden before and after the middle
    ahead, behind = np.array(motion.position(middle + hold)), np.array(motion.position(middle - hold))
    reach = radius + float(np.hypot(*(ahead - behind))) / 2
    # Half width h and speed v from two conditions: it is beside the object at t = 0 (v * middle = h + reach), and
    # covers it while |t - middle| <= hold (h - v * hold >= reach).
    ratio = hold / middle
    half_width = 1.08 * reach * (1 + ratio) / (1 - ratio)
    speed = (half_width + reach) * rng.uniform(1.0, 1.15) / middle
    heading = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(heading), np.sin(heading)])
    start = np.array(motion.position(middle)) - velocity * middle
    look = Look(rng, config.textures, 2 * half_width, light)
    if photos is not None:
        look.texture = photo_backdrop(rng, photos, look.size_px, look.size_px)
    parts = make_parts(rng, look, kind="screen")
    # A screen is nearly square; its inscribed circle has 0.8 of its half size.
    path = Motion(
        (float(start[0]), float(start[1])),
        float(half_width / 0.8),
        angle_rad=float(heading),
        velocity_xy=(float(velocity[0]), float(velocity[1])),
    )
    return Layer(parts, path, shadow_xy=(0.05, 0.08), shadow_strength=0.25)


def _make_layer(rng: Rng, parts: tuple, motion: Motion, label: int, pace: float) -> Layer:
    bends = len(parts) == 1 and rng.random() < 0.4
    casts = rng.random() < 0.6
    return Layer(
        parts,
        motion,
        label,
        bend=Wave(
            float(rng.uniform(0.02, 0.12)), float(rng.uniform(0.005, 0.05)) * pace, float(rng.uniform(0, 6.3))
        )
        if bends
        else Wave(),
        bend_waves=float(rng.uniform(0.4, 1.5)),
        shadow_xy=(float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.0, 0.35))),
        shadow_strength=float(rng.uniform(0.15, 0.6)) if casts else 0.0,
        motion_blur=bool(rng.random() < 0.35),
    )


def _camera(rng: Rng, config: ClipConfig, subject: Motion | None) -> CameraMotion:
    """Draw a camera: still, drifting, or following the subject, so that the background moves."""
    if rng.random() >= config.camera_motion:
        return CameraMotion(config.height_px, config.width_px)
    side = min(config.height_px, config.width_px)
    pace = config.motion_scale * float(np.exp(rng.uniform(np.log(0.15), np.log(3.0))))
    shake = rng.normal(0, side * 0.002 * rng.choice([0.0, 1.0, 2.0]), (config.frames, 2))
    shake -= shake[0]
    pan_x: tuple[Wave, ...] = (_wave(rng, 0.15 * side, 0.008 * side * pace),)
    pan_y: tuple[Wave, ...] = (_wave(rng, 0.1 * side, 0.005 * side * pace),)
    if subject is not None and rng.random() < 0.3:
        hold = rng.uniform(0.5, 1.0)  # 1: the object keeps its place in the image
        pan_x += tuple(Wave(-hold * w.amplitude, w.frequency, w.phase) for w in subject.sway_x)
        pan_y += tuple(Wave(-hold * w.amplitude, w.frequency, w.phase) for w in subject.sway_y)
    camera = CameraMotion(
        config.height_px,
        config.width_px,
        pan_x=pan_x,
        pan_y=pan_y,
        zoom=_wave(rng, 0.2, 0.01 * pace),
        roll=_wave(rng, 0.1, 0.006 * pace),
        shake_px=shake,
    )
    if in_share(rng, config.chasing):
        camera = chasing(rng, config, camera, subject if rng.random() < 0.6 else None)
    if in_share(rng, config.rolling_shutter):
        camera = replace(camera, readout=float(rng.uniform(0.3, 1.0)))
    return camera


def side_by_side(scene: Scene, config: ClipConfig) -> Scene:
    """Return the same scene without occluders and with the labelled objects side by side, if random draws failed."""
    labelled = sorted((layer for layer in scene.layers if layer.label >= 0), key=lambda layer: layer.label)
    columns = int(np.ceil(np.sqrt(len(labelled))))
    cell = np.array([config.width_px, config.height_px]) / columns
    placed = []
    for layer in labelled:
        x, y = (layer.label % columns + 0.5) * cell[0], (layer.label // columns + 0.5) * cell[1]
        motion = Motion((float(x), float(y)), float(0.5 * cell.min()), layer.motion.angle_rad)
        placed.append(Layer(layer.parts, motion, layer.label))
    return Scene(scene.camera, scene.background, tuple(placed), scene.lighting)
