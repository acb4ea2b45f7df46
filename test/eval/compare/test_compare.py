# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros compare` end to end: table, sentence, exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sam2_ros.cli.main import run
from sam2_ros.eval.compare.comparison import compare_files

SCORES = {"dog": {"1": 60.0}, "fish": {"1": 40.0, "2": 50.0}, **{f"car-{n}": {"1": 70.0} for n in range(5)}}


def evaluation(folder: Path, scores: dict[str, dict[str, float | None]], **changed: Any) -> Path:
    """A summary.json as `eval` writes it, with J&F of each object."""
    folder.mkdir()
    content = {
        "model": "nano",
        "prompt": "box",
        "sequences": {name: {"JF": 0.0} for name in scores},
        "fps": 10.0,
        "latency_ms": {"p50": 90.0, "p95": 150.0},
        "failed": {},
        "dataset": "/data/vos",
        "image_size": 384,
        "memory": {"memory_frames": 7},
        "objects": {
            "model": {
                name: {
                    key: {"JF": jf, "decay": None if jf is None else 100 - jf} for key, jf in objects.items()
                }
                for name, objects in scores.items()
            }
        },
        **changed,
    }
    (folder / "summary.json").write_text(json.dumps(content))
    return folder / "summary.json"


def replay(folder: Path, **runs: dict[str, dict[str, Any]]) -> Path:
    folder.mkdir()
    content = {
        "kind": "replay",
        "bag": "cup.mcap",
        "runs": {
            name: {
                "images_in": 50,
                "dropped": 10,
                "fps": 8.0,
                "latency_ms": {"p50": 100.0},
                "objects": objects,
            }
            for name, objects in runs.items()
        },
    }
    (folder / "summary.json").write_text(json.dumps(content))
    return folder / "summary.json"


def shifted(by: float) -> dict[str, dict[str, float]]:
    return {name: {key: jf + by for key, jf in objects.items()} for name, objects in SCORES.items()}


def asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON line, and the output before it."""
    status = run(["compare", *map(str, arguments), "--json"])
    shown, _, line = capsys.readouterr().out.rstrip("\n").rpartition("\n")
    return status, json.loads(line), shown


def test_a_run_against_itself(tmp_path, capsys):
    a = evaluation(tmp_path / "a", SCORES)
    status, report, shown = asked(capsys, a, a.parent, "--fail-below", "0")
    assert status == 0
    assert (report["difference"], report["interval"], report["verdict"]) == (0.0, [0.0, 0.0], "same")
    assert (report["objects"], report["units"], report["resampled"]) == (8, 7, "sequences")
    assert "A and B score the same J&F, 8 objects of 7 sequences." in shown
    assert report["unlike_task"] == report["unlike_setup"] == {}


@pytest.mark.parametrize(("by", "verdict"), [(2.5, "better"), (-2.5, "worse")])
def test_a_constant_shift(tmp_path, capsys, by, verdict):
    a, b = evaluation(tmp_path / "a", SCORES), evaluation(tmp_path / "b", shifted(by), fps=5.0)
    status, report, shown = asked(capsys, a, b)
    assert status == 0  # no --fail-below
    assert report["difference"] == by
    assert report["interval"] == [by, by]
    assert f"B is {verdict} by 2.5 points J&F [2.5, 2.5], 8 objects of 7 sequences." in shown
    assert report["sequences"]["fish"] == {
        "objects": 2,
        "A": 45.0,
        "B": 45.0 + by,
        "difference": by,
        "per_object": {
            "1": {"objects": 1, "A": 40.0, "B": 40.0 + by, "difference": by},
            "2": {"objects": 1, "A": 50.0, "B": 50.0 + by, "difference": by},
        },
    }
    assert report["speed"]["fps"] == {"A": 10.0, "B": 5.0, "ratio": 0.5}


def test_lower_decay_is_better(tmp_path, capsys):
    a, b = evaluation(tmp_path / "a", SCORES), evaluation(tmp_path / "b", shifted(2.0))
    status, report, shown = asked(capsys, a, b, "--metric", "decay", "--fail-below", "0")
    assert (status, report["difference"], report["verdict"]) == (0, -2.0, "better")
    assert "B is better by 2.0 points decay [2.0, 2.0]" in shown
    status, report, _ = asked(capsys, b, a, "--metric", "decay", "--fail-below", "1.9")
    assert (status, report["verdict"]) == (1, "worse")


def test_a_loss_at_the_limit_passes_and_a_larger_one_fails(tmp_path, capsys):
    a, b = evaluation(tmp_path / "a", SCORES), evaluation(tmp_path / "b", shifted(-2.5))
    assert asked(capsys, a, b, "--fail-below", "2.5")[0] == 0
    status, report, _ = asked(capsys, a, b, "--fail-below", "2.4")
    assert status == 1
    assert report["gate"]["failures"] == [
        "B is on average worse by 2.50 points, at most 2.4 allowed (--fail-below)"
    ]


def test_certain_decides_by_the_interval(tmp_path, capsys):
    mixed = {
        name: {key: jf + (9.0 if name == "dog" else -4.0) for key, jf in objects.items()}
        for name, objects in SCORES.items()
    }
    a, b = evaluation(tmp_path / "a", SCORES), evaluation(tmp_path / "b", mixed)
    status, report, shown = asked(capsys, a, b, "--fail-below", "1")
    assert (status, report["verdict"], report["difference"]) == (1, "unknown", -2.375)
    assert "No significant difference: B - A = -2.4 points J&F [" in shown
    assert asked(capsys, a, b, "--fail-below", "1", "--certain")[0] == 0
    c = evaluation(tmp_path / "c", shifted(-4.0))
    assert asked(capsys, a, c, "--fail-below", "3.9", "--certain")[0] == 1


def test_few_sequences_give_no_verdict_and_cannot_be_certain(tmp_path, capsys):
    few = {name: SCORES[name] for name in ("dog", "fish")}
    worse = {name: {key: jf - 5 for key, jf in objects.items()} for name, objects in few.items()}
    a, b = evaluation(tmp_path / "a", few), evaluation(tmp_path / "b", worse)
    status, report, shown = asked(capsys, a, b, "--fail-below", "1")
    assert (status, report["verdict"]) == (1, "unknown")
    assert "Too few to judge: 2 sequences, at least 6 are needed: B - A = -5.0 points" in shown
    assert run(["compare", str(a), str(b), "--fail-below", "1", "--certain"]) == 2
    assert "--certain needs an interval" in capsys.readouterr().err


def test_what_only_one_has_is_listed_and_left_out(tmp_path, capsys):
    more = {**SCORES, "fish": {"1": 40.0, "3": 1.0}, "extra": {"1": None}}
    a, b = evaluation(tmp_path / "a", SCORES), evaluation(tmp_path / "b", more)
    _, report, shown = asked(capsys, a, b)
    assert (report["only_in_a"], report["only_in_b"], report["objects"]) == (["fish/2"], ["fish/3"], 7)
    assert "Only in A, left out: fish/2" in shown


def test_a_failed_sequence_fails_the_gate(tmp_path, capsys):
    rest = {name: objects for name, objects in SCORES.items() if name != "dog"}
    a = evaluation(tmp_path / "a", SCORES)
    b = evaluation(tmp_path / "b", rest, failed={"dog": "frame 3 cannot be decoded"})
    status, report, _ = asked(capsys, a, b, "--fail-below", "5")
    assert (status, report["failed_in_b"]) == (1, ["dog"])
    assert asked(capsys, a, b)[0] == 0


def test_differences_of_task_and_of_set_up_are_distinguished(tmp_path, capsys):
    a = evaluation(tmp_path / "a", SCORES)
    b = evaluation(tmp_path / "b", SCORES, image_size=256, model="tiny", memory={"memory_frames": 4})
    _, report, shown = asked(capsys, a, b)
    assert report["unlike_task"] == {"image_size": ["384", "256"]}
    assert report["unlike_setup"] == {
        "model": ["nano", "tiny"],
        "memory": ["memory_frames 7", "memory_frames 4"],
    }
    assert "the scores are not comparable (A | B): image_size: 384 | 256" in shown


def test_groups_have_their_means(tmp_path, capsys):
    scores = {"cut/1": {"1": 10.0}, "cut/2": {"1": 30.0}, "plain/1": {"1": 90.0}}
    a = evaluation(tmp_path / "a", scores, groups={"cut": {}, "plain": {}})
    _, report, _ = asked(capsys, a, a)
    assert report["groups"]["cut"] == {"objects": 2, "A": 20.0, "B": 20.0, "difference": 0.0}


def test_two_replays(tmp_path, capsys):
    a = replay(tmp_path / "a", direct={"cup": {"JF": 80.0}}, node={"cup": {"JF": 70.0, "missed": 0.25}})
    b = replay(tmp_path / "b", direct={"cup": {"JF": 80.0}}, node={"cup": {"JF": 60.0, "missed": 0.5}})
    _, report, shown = asked(capsys, a, b)
    assert report["sequences"]["node"]["difference"] == -10.0  # the node's run, if both have one
    assert "Too few to judge: 1 object" in shown
    assert report["speed"]["dropped per image"]["A"] == 0.2
    assert asked(capsys, a, b, "--run", "direct")[1]["verdict"] == "same"
    assert asked(capsys, a, b, "--metric", "missed")[1]["difference"] == 25.0
    assert compare_files(a, b).found.interval is None


def test_two_replays_of_several_bags(tmp_path, capsys):
    def write(folder: Path, by: float, **failed: str) -> Path:
        scores = {f"bag {n}": {"cup": {"JF": 50.0 + n + by, "missed": 0.01 * n}} for n in range(8)}
        for name, objects in scores.items():
            folder.mkdir(exist_ok=True)
            replay(folder / name, direct=objects)
        bags = {name: {"direct": {"objects": one}} for name, one in scores.items() if name not in failed}
        means = {"direct": {"images_in": 400, "dropped": 100}}
        content = {"bags": bags, "failed": failed, "means": means}
        (folder / "summary.json").write_text(json.dumps(content))
        return folder

    a, b = write(tmp_path / "a", 0.0), write(tmp_path / "b", 2.0)
    status, report, shown = asked(capsys, a, b, "--fail-below", "1")
    assert (status, report["kind"], report["difference"], report["verdict"]) == (0, "bags", 2.0, "better")
    assert report["sequences"]["bag 3"]["difference"] == 2.0
    assert "B is better by 2.0 points J&F [2.0, 2.0], 8 objects." in shown
    assert report["speed"]["dropped per image"]["A"] == 0.25
    assert asked(capsys, b, a, "--fail-below", "1")[0] == 1
    assert asked(capsys, a, b, "--metric", "missed")[1]["verdict"] == "same"
    broken = write(tmp_path / "c", 2.0, **{"bag 3": "no images"})
    assert asked(capsys, a, broken, "--fail-below", "1")[0] == 1, "a bag that A scored gave nothing"


def test_photographs_are_paired_by_photograph_and_number(tmp_path, capsys):
    def write(folder: str, ious: list[float]) -> Path:
        (tmp_path / folder).mkdir()
        instances = [{"photograph": f"{n // 2}.jpg", "IoU": {"model": iou}} for n, iou in enumerate(ious)]
        path = tmp_path / folder / "summary.json"
        path.write_text(json.dumps({"of_instances": instances, "prompt": "box"}))
        return path

    _, report, shown = asked(capsys, write("a", [50.0] * 14), write("b", [51.0] * 14))
    assert report["sequences"]["3.jpg"]["per_object"]["2"]["difference"] == 1.0
    assert "B is better by 1.0 points IoU [1.0, 1.0], 14 objects of 7 photographs." in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["good", "nowhere"], "nowhere/summary.json' cannot be read"),
        (["good", "text"], "is not JSON"),
        (["good", "other"], "has no scores of objects"),
        (["good", "half"], "is not complete"),
        (["good", "bag"], "is an evaluation on videos and"),
        (["good", "strangers"], "have no object with J&F in common"),
        (["good", "good", "--metric", "nice"], "--metric nice given, one of JF,"),
        (["good", "good", "--metric", "IoU"], "have no object with IoU in common"),
        (["good", "good", "--run", "node"], "leave it out"),
        (["bag", "bag", "--run", "recorded"], "no run 'recorded', one of node expected"),
        (["good", "good", "--certain"], "without --fail-below"),
        (["good", "good", "--fail-below", "-1"], "--fail-below"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_status_2(tmp_path, capsys, arguments, expected):
    evaluation(tmp_path / "good", SCORES)
    evaluation(tmp_path / "strangers", {"cat": {"1": 5.0}})
    evaluation(tmp_path / "half", SCORES, objects={})
    replay(tmp_path / "bag", node={"cup": {"JF": 70.0}})
    for name, content in (("text", "no"), ("other", '{"source": "clip.mp4"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(content)
    folders = [
        str(tmp_path / one / "summary.json") if one.isalpha() and not one.startswith("-") else one
        for one in arguments[:2]
    ]
    assert run(["compare", *folders, *arguments[2:]]) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1
