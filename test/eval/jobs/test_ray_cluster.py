# SPDX-License-Identifier: Apache-2.0
"""Jobs on a local Ray cluster: all outcomes arrive, and a killed process loses no job."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest
from small_jobs import Squares

from sam2_ros.errors import UserError
from sam2_ros.eval.jobs.job import Event, Failed, Finished, Job
from sam2_ros.eval.jobs.ray_cluster import RayCluster


def test_without_ray_or_a_cluster_one_line_says_so(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        expected, address = "needs Ray, which is not installed .*pip install", "local"
    else:
        expected, address = "no cluster answers there .*expected local, or", "127.0.0.1:9"
    with pytest.raises(UserError, match=expected) as error:
        RayCluster(address).run(Squares(tmp_path), [Job("0", ("plain", 0))], lambda event: None)
    assert "\n" not in str(error.value)


def test_killed_processes_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "support"), prepend=":")
    kinds = ("plain", "die once", "error", "die", "wait", "wait")
    ended: list[Event] = []
    RayCluster("local", at_once=2).run(
        Squares(tmp_path / "log"), [Job(str(n), (kind, n)) for n, kind in enumerate(kinds)], ended.append
    )
    by_name = {one.name: one for one in ended}
    assert len(ended) == len(by_name) == 6
    assert [by_name[n] for n in "0145"] == [Finished(n, int(n) ** 2) for n in "0145"]
    assert by_name["2"] == Failed("2", "2 is not for this")
    died = by_name["3"]
    assert isinstance(died, Failed)
    assert "died 2 times while it ran" in died.line
    assert "\n" not in died.line
    tries = Counter(line.split(" ", 1)[1] for line in (tmp_path / "log").read_text().splitlines())
    assert (tries["die once 1"], tries["die 3"], tries["plain 0"]) == (2, 2, 1)


def test_a_model_that_does_not_load_is_an_error_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "support"), prepend=":")
    with pytest.raises(ValueError, match="no model here"):
        RayCluster("local").run(Squares(tmp_path, broken=True), [Job("0", ("plain", 0))], lambda event: None)
