# SPDX-License-Identifier: Apache-2.0
"""Every object has its own mask topic, with a name that ROS allows and `ros2 topic list` shows."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_ros.errors import UserError
from sam2_ros.node.outputs.topic_names import MAX_TOPICS, topic_names

PREFIX = "~/mask/"


@pytest.mark.parametrize(
    ("object_id", "name"),
    [
        ("cup", "cup"),
        ("left-cup", "left_cup"),
        ("a b", "a_b"),
        ("Tasse_2", "Tasse_2"),
        ("9x", "id_9x"),
        ("2nd cup", "id_2nd_cup"),
        ("_9x", "id_9x"),
        ("_hidden", "id_hidden"),
        ("a__b", "a_b"),
        ("größe", "gr_e"),
        ("日本", "id_u65e5_u672c"),
        ("__", "id_u005f_u005f"),
        (" ", "id_u0020"),
    ],
)
def test_a_mask_topic_is_named_after_its_object(object_id, name):
    assert topic_names([object_id]) == {object_id: PREFIX + name}


@given(st.lists(st.text(max_size=12), max_size=4))
def test_no_topic_is_hidden_or_shared_whatever_the_ids_are(object_ids):
    try:
        topics = topic_names(object_ids)
    except UserError:
        return  # refused with an error
    assert list(topics) == [each for each in dict.fromkeys(object_ids) if each]
    assert len(set(topics.values())) == len(topics)
    for topic in topics.values():
        name = topic.removeprefix(PREFIX)
        assert name.isascii()
        assert name.replace("_", "a").isalnum()
        assert name[0].isalpha()
        assert "__" not in name


@pytest.mark.parametrize("pair", [("a b", "a_b"), ("9x", "_9x"), ("größe", "gr-e"), ("a/b", "a b")])
def test_two_ids_of_one_topic_are_refused_and_both_named(pair):
    for first, second in itertools.permutations(pair):
        with pytest.raises(UserError) as error:
            topic_names(["other", first, second])
        for words in (f"'{first}'", f"'{second}'", PREFIX, "rename one"):
            assert words in str(error.value)


def test_the_same_id_twice_and_an_empty_one_are_no_fault():
    assert topic_names(["cup", "", "cup"]) == {"cup": "~/mask/cup"}


def test_each_output_has_topics_of_its_own_and_names_its_parameter():
    assert topic_names(["a b"], "pose") == {"a b": "~/pose/a_b"}
    with pytest.raises(
        UserError, match="parameter cloud_topics: the clouds of 'a b' and 'a_b' would both be on"
    ):
        topic_names(["a b", "a_b"], "cloud")


def test_more_topics_than_there_may_be_objects_are_refused():
    with pytest.raises(UserError, match=f"parameter pose_topics: got {MAX_TOPICS + 1} ids, expected at most"):
        topic_names([f"cup{number}" for number in range(MAX_TOPICS + 1)], "pose")
