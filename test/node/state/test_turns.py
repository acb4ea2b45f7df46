# SPDX-License-Identifier: Apache-2.0
"""Turns with the tracker: a request is served between two images, however many images wait."""

import threading
import time

from sam2_ros.node.state.turns import Turns


def test_a_request_comes_after_the_image_in_progress_of_a_stream_without_pause():
    turns, stop, images = Turns(), threading.Event(), [0]

    def stream():
        while not stop.is_set():
            with turns.image():
                images[0] += 1
                time.sleep(0.01)

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        for _ in range(20):
            before = images[0]
            with turns.request(1.0) as mine:
                assert mine
                inside = images[0]
                time.sleep(0.005)
                assert images[0] == inside  # no image meanwhile
            assert inside - before <= 2
            time.sleep(0.005)
    finally:
        stop.set()
        thread.join()
    assert images[0] >= 10


def test_a_request_gives_up_when_an_image_hangs_and_the_stream_goes_on():
    turns, begun, end = Turns(), threading.Event(), threading.Event()

    def hang():
        with turns.image():
            begun.set()
            end.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    begun.wait()
    with turns.request(0.05) as mine:
        assert not mine
    end.set()
    thread.join()
    with turns.image(), turns.request(0.0) as mine:
        assert not mine
    with turns.request(0.0) as mine:
        assert mine
