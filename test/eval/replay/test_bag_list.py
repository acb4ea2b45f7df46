# SPDX-License-Identifier: Apache-2.0
"""Lists of bags: names and paths of the entries, and one line that names a wrong entry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sam2_ros.errors import UserError
from sam2_ros.eval.replay.bag_list import ListedBag, is_bag_list, read_bag_list

YAML = """
- {bag: kitchen, prompts: cup.json}
- bag: /data/run.v2.mcap
  prompts: ../cup.json
- name: again
  bag: kitchen
  prompts: cup.json
  truth: masks
  truth_ids: {4: cup, 9: robot}
  topic: /front
  rate: 2
"""


def test_paths_are_relative_to_the_list_and_names_are_those_of_bags(tmp_path: Path) -> None:
    (tmp_path / "kitchen").mkdir()
    (tmp_path / "bags.yaml").write_text(YAML)
    first, second, again = read_bag_list(tmp_path / "bags.yaml")
    assert first == ListedBag("kitchen", tmp_path / "kitchen", tmp_path / "cup.json")
    assert (second.name, second.bag) == ("run.v2", Path("/data/run.v2.mcap"))
    assert second.prompts.resolve() == tmp_path.parent / "cup.json"
    assert (again.name, again.truth, again.topic, again.rate) == ("again", tmp_path / "masks", "/front", 2)
    assert again.truth_ids == {"cup": 4, "robot": 9}
    entries = [{"bag": "kitchen", "prompts": "cup.json", "truth_ids": {"4": "cup"}}]
    (tmp_path / "bags.json").write_text(json.dumps(entries))
    assert read_bag_list(tmp_path / "bags.json")[0].truth_ids == {"cup": 4}


def test_what_is_a_list(tmp_path: Path) -> None:
    assert is_bag_list(tmp_path / "bags.yaml")
    assert is_bag_list(tmp_path / "bags.JSON")
    assert not is_bag_list(tmp_path / "run.mcap")
    (tmp_path / "odd.yaml").mkdir()  # a folder is a bag, whatever it is called
    assert not is_bag_list(tmp_path / "odd.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {bag: a, promts: a.json}", r"entry 1 \(a\): unknown key 'promts'; did you mean prompts\?"),
        ("- {bag: a, prompts: p}\n- {bag: b}", r"entry 2 \(b\): `prompts:` is missing"),
        ("- {prompts: p}", r"entry 1: `bag:` is missing"),
        (
            "- {bag: a/run, prompts: p}\n- {bag: b/run, prompts: p}",
            r"entry 2 .*'run' is also used for .*a/run",
        ),
        ("- {bag: a, prompts: p, name: x/y}", r"entry 1 \(x/y\): name 'x/y' given"),
        ("- {bag: a, prompts: p, name: 2024}", r"name 2024 given, text expected: put it in quotes"),
        ("- {bag: a, prompts: p, rate: 0}", r"entry 1 \(a\): rate 0 given, a number above 0 expected"),
        ("- {bag: a, prompts: p, truth_ids: {cup: 1}}", r"entry 1 \(a\): truth_ids .* given"),
        ("- just text", r"entry 1: 'just text' given, `bag: ...` and `prompts: ...` expected"),
        ("bag: a", "is not a list of bags"),
        ("[]", "is not a list of bags"),
        ("- {bag", "is neither YAML nor JSON"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line_that_names_the_entry(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "bags.yaml").write_text(text)
    with pytest.raises(UserError, match=said) as error:
        read_bag_list(tmp_path / "bags.yaml")
    assert "\n" not in str(error.value)
    assert "bags.yaml" in str(error.value)


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"list of bags .*bags.yaml' cannot be read \(No such file"):
        read_bag_list(tmp_path / "bags.yaml")
