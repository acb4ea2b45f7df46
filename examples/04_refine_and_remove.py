# SPDX-License-Identifier: Apache-2.0
"""Corrects a mask with a click, adds a second object in the middle of the stream, and removes it again.

The clip is rendered, so that every mask can be compared with the true one.
"""

import argparse
from pathlib import Path

import numpy as np

from sam2_ros.engine import FrameResult, Prompt, Tracker
from sam2_ros.media.overlay import VideoWriter, draw_overlay
from sam2_ros.synthetic.render import demo_clip
from sam2_ros.weights import load_model

OUT = Path("out/examples/04_refine_and_remove")
CUP, ROBOT = 0, 1  # the clip's masks


def say(what: str, result: FrameResult, truth_nhw: np.ndarray) -> None:
    """Prints what is tracked, with the overlap of each mask with the true one."""
    objects = []
    for obj in result.objects:
        true = truth_nhw[ROBOT if obj.id == "robot" else CUP]
        iou = (obj.mask & true).sum() / (obj.mask | true).sum()
        objects.append(f"{obj.id} {obj.state.name} IoU {iou:.2f}")
    print(f"frame {result.frame_index:2}, {what}: {', '.join(objects)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--model", default="nano", help="nano, tiny, small, base_plus, large, or a file of weights"
    )
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)

    clip = demo_clip(frames=24)
    tracker = Tracker(load_model(args.model))
    video = VideoWriter(OUT / "overlay.mp4", fps=10)
    for index, frame in enumerate(clip.frames):
        truth = clip.masks[index]
        prompts = []
        if index == 0:  # one click on the head: is the head meant, or the whole robot?
            prompts = [Prompt("robot", points=np.array([[120, 170]]), labels=np.array([1]))]
        if index == 8:  # a new object can be named at any time
            prompts = [Prompt("cup", box=(388, 328, 520, 448), class_id="dishes")]
        result = tracker.step(frame, prompts)
        if index == 0:
            say("one click", result, truth)
            # `refine` adds a click to the frame that was given last, before the next one comes.
            result = tracker.refine([Prompt("robot", points=np.array([[100, 240]]), labels=np.array([1]))])
            say("a second click", result, truth)
        if index == 16:
            tracker.remove("cup")
        if index in (7, 8, 15, 17):
            say("tracked", result, truth)
        video.write(draw_overlay(frame, result))
    video.close()
    print(f"at the end: {tracker.object_ids}; {OUT / 'overlay.mp4'}")


if __name__ == "__main__":
    main()
