"""Plans: what the short forms mean, how arms are laid over, and one line for whatever is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import plan_with, refusal
from efface.errors import InputError
from efface.plan.file import overlaid, parse_plan, read_plan
from efface.plan.tables import Forget, Plan, user_code
from efface.results import RESERVED

WHOLE = """
task = "eyes"
goal = "influence removed"
[data]
name = "synthetic"
people = 12
[forget]
share = 0.5
[model]
name = "eyenet"
"""


def written(folder: Path, text: str) -> Path:
    """A plan file."""
    file = folder / "plan.toml"
    file.write_text(text, encoding="utf-8")
    return file


# What is read


def test_a_plan_needs_no_torch() -> None:
    code = "import sys, efface.plan.file; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_plan_without_arms_has_one_arm_without_a_name(tmp_path: Path) -> None:
    (plan,) = read_plan(written(tmp_path, WHOLE)).values()
    assert list(read_plan(tmp_path / "plan.toml")) == [""]
    assert (plan.task, plan.goal, plan.forget.share, plan.model.name) == ("eyes", "influence removed", 0.5, "eyenet")
    assert plan.seeds == (0,)


def test_one_table_of_data_is_one_source_with_its_own_settings() -> None:
    plan = parse_plan(plan_with(data={"name": "synthetic", "people": 12, "group": "A"}), "plan")
    assert plan == parse_plan(plan_with(data=[{"name": "synthetic", "people": 12, "group": "A"}]), "plan")
    assert (plan.data[0].group, plan.data[0].settings) == ("A", {"people": 12})


def test_a_method_table_means_the_method_of_its_name_unless_it_says_which() -> None:
    methods = {"finetune": {"epochs": 3}, "gentle": {"use": "neggrad", "after": "finetune"}}
    plan = parse_plan(plan_with(methods=methods), "plan")
    assert [(name, stage.use, stage.after, stage.settings) for name, stage in plan.methods.items()] == [
        ("finetune", "finetune", None, {"epochs": 3}),
        ("gentle", "neggrad", "finetune", {}),
    ]


def test_reading_leaves_the_plain_data_as_given() -> None:
    raw = plan_with(methods={"finetune": {}})
    parse_plan(raw, "plan")
    assert raw == plan_with(methods={"finetune": {}})


def test_an_arm_merges_tables_and_replaces_everything_else(tmp_path: Path) -> None:
    arms = """
        [methods.finetune]
        [methods.neggrad]
        [arms.first]
        [arms.second]
        seeds = [3, 4]
        data.distance = 0
        [arms.second.methods.neggrad]
        epochs = 9
    """
    plans = read_plan(written(tmp_path, WHOLE + arms))
    first, second = plans["first"], plans["second"]
    assert list(plans) == ["first", "second"]
    assert (first.seeds, second.seeds) == ((0,), (3, 4))
    assert second.data[0].settings == {"people": 12, "distance": 0}
    assert (second.methods["finetune"].settings, second.methods["neggrad"].settings) == ({}, {"epochs": 9})
    assert first.methods["neggrad"].settings == {}


def test_laying_over_changes_neither_table() -> None:
    below, above = {"a": {"x": 1, "y": 2}, "b": [1, 2]}, {"a": {"y": 3}, "b": [4], "c": 5}
    assert overlaid(below, above) == {"a": {"x": 1, "y": 3}, "b": [4], "c": 5}
    assert below == {"a": {"x": 1, "y": 2}, "b": [1, 2]}
    assert above == {"a": {"y": 3}, "b": [4], "c": 5}


def test_a_list_of_sources_is_replaced_whole_by_an_arm(tmp_path: Path) -> None:
    text = WHOLE.replace("[data]", "[[data]]") + '[[arms.other.data]]\nname = "packed"\npath = "somewhere"\n'
    (source,) = read_plan(written(tmp_path, text))["other"].data
    assert (source.name, source.path, source.settings) == ("packed", Path("somewhere"), {})


# What is refused

COMPLAINTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"sedes": [1]}, ["unknown setting 'sedes'", "did you mean 'seeds'?"]),
    ({"forget": {"shrae": 0.5}}, ["unknown setting 'forget.shrae'", "did you mean 'share'?"]),
    ({"split": {"tset": 0.2}}, ["unknown setting 'split.tset'", "did you mean 'test'?"]),
    ({"seeds": "many"}, ["seeds", "'many'"]),
    ({"seeds": [1.5]}, ["seeds.0", "1.5"]),
    ({"seeds": []}, ["seeds"]),
    ({"seeds": [1, 2, 1]}, ["seeds [1, 2, 1] repeat"]),
    ({"goal": "forgiven"}, ["goal", "'influence removed'", "'forgiven'"]),
    ({"train": 3}, ["train", "3"]),
    ({"verify": {"name": "x", "bin": "x.bin", "below": 0.3}}, ["verify", "give quality"]),
    ({"verify": {"name": "x", "bin": "x.bin", "quality": "q.csv", "below": 1}}, ["verify.0.below", "given 1"]),
    ({"data": []}, ["data"]),
    ({"data": {"people": 3}}, ["data.0.name", "missing"]),
    ({"data": {"name": "synthetic", "group": "A", "group_by": "race"}}, ["data.0", "group and group_by"]),
    ({"data": {"name": "synthetic", "per_person": 0}}, ["data.0.per_person", "given 0"]),
    ({"data": {"name": "synthetic", "only": {"race": "A"}}}, ["data.0.only.race", "'A'"]),
    ({"forget": {}}, ["forget", "exactly one of share, people, file", "none"]),
    ({"forget": {"share": 0.5, "people": 3}}, ["forget", "exactly one", "given: share, people"]),
    ({"forget": {"file": "them.txt", "group": "A"}}, ["forget", "leave out group"]),
    ({"forget": {"share": 0}}, ["forget.share", "given 0"]),
    ({"forget": {"share": 1.01}}, ["forget.share", "given 1.01"]),
    ({"forget": {"share": float("nan")}}, ["forget.share", "nan"]),
    ({"forget": {"people": -1}}, ["forget.people", "-1"]),
    ({"forget": {"share": "half"}}, ["forget.share", "'half'"]),
    ({"split": {"test": -0.1}}, ["split.test", "given -0.1"]),
    ({"split": {"strangers": 0}}, ["split.strangers", "given 0"]),
    ({"split": {"seed": -1}}, ["split.seed", "-1"]),
    ({"split": {"test": 0.5, "strangers": 0.3}}, ["split", "below 1"]),
    ({"model": "eyenet"}, ["model", "'eyenet'"]),
    ({"methods": {"finetune": 3}}, ["methods.finetune", "3"]),
    ({"methods": ["finetune"]}, ["methods"]),
    ({"methods": {"original": {"use": "finetune"}}}, ["'original'", "choose another"]),
    ({"methods": {"retrain": {"after": "nobody"}}}, ["methods.retrain", "after = 'nobody'", "stands above"]),
    ({"methods": {"retrain": {"after": "finetune"}, "finetune": {}}}, ["methods.retrain", "after = 'finetune'"]),
    ({"methods": {"retrain": {"after": "retrain"}}}, ["methods.retrain", "after = 'retrain'"]),
    ({"methods": {"finetune": {}, "retrain": {"after": "finetuen"}}}, ["did you mean 'finetune'?"]),
]


@pytest.mark.parametrize(("changes", "words"), COMPLAINTS)
def test_bad_input_is_refused_in_one_line_that_names_it(changes: dict[str, Any], words: list[str]) -> None:
    message = refusal(parse_plan, plan_with(**changes), "plan x.toml")
    assert message.startswith("plan x.toml: ")
    for word in words:
        assert word in message


WHOLE_NUMBERS = [
    ("seeds", lambda value: {"seeds": [value]}),
    ("data.0.per_person", lambda value: {"data": {"name": "synthetic", "per_person": value}}),
    ("data.0.group_clusters", lambda value: {"data": {"name": "synthetic", "group_clusters": value}}),
    ("forget.people", lambda value: {"forget": {"people": value}}),
    ("forget.first", lambda value: {"forget": {"first": value}}),
    ("forget.rounds", lambda value: {"forget": {"share": 0.5, "rounds": value}}),
    ("split.photos", lambda value: {"split": {"photos": value}}),
    ("split.held_back", lambda value: {"split": {"held_back": value}}),
    ("split.seed", lambda value: {"split": {"seed": value}}),
    ("audit.shadows", lambda value: {"audit": {"shadows": value}}),
    ("audit.rmia", lambda value: {"audit": {"rmia": value}}),
    ("audit.seed", lambda value: {"audit": {"seed": value}}),
]
REALS = [
    ("forget.share", lambda value: {"forget": {"share": value}}),
    ("forget.below", lambda value: {"forget": {"quality": "q.csv", "below": value}}),
    ("forget.skew", lambda value: {"forget": {"group": "B", "people": 3, "skew": value}}),
    ("split.public", lambda value: {"split": {"public": value}}),
    ("split.test", lambda value: {"split": {"test": value}}),
    ("methods.finetune.search_within", lambda value: {"methods": {"finetune": {"search_within": value}}}),
    ("accept.mse/test/all.within", lambda value: {"accept": {"mse/test/all": {"within": value}}}),
    ("accept.mse/test/all.at_most", lambda value: {"accept": {"mse/test/all": {"at_most": value}}}),
    ("accept.mse/test/all.at_least", lambda value: {"accept": {"mse/test/all": {"at_least": value}}}),
]


@pytest.mark.parametrize(("name", "changes"), WHOLE_NUMBERS)
@pytest.mark.parametrize("value", [True, False, "3", 1.5, float("nan"), float("inf"), -1, 10**30, None, [3], {}])
def test_what_is_no_whole_number_is_refused_by_name(name: str, changes: Callable[[Any], Any], value: object) -> None:
    if value is None and name in ("data.0.per_person", "data.0.group_clusters"):
        return  # said to be left out
    assert name.partition(".")[0] in refusal(parse_plan, plan_with(**changes(value)), "plan")


@pytest.mark.parametrize(("name", "changes"), REALS)
@pytest.mark.parametrize("value", [True, "0.5", float("nan"), float("inf"), -float("inf"), 10**400, [[0.5]], {}])
def test_what_is_no_number_is_refused_by_name(name: str, changes: Callable[[Any], Any], value: object) -> None:
    assert name.rpartition(".")[2] in refusal(parse_plan, plan_with(**changes(value)), "plan")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": {"a" * 300: {"use": "finetune"}}}, "1 to 100 printable characters"),
        ({"methods": {" ": {"use": "finetune"}}}, "1 to 100 printable characters"),
        ({"methods": {"a\nb": {"use": "finetune"}}}, "1 to 100 printable characters"),
        ({"verify": {"name": "x" * 101, "pairs": "p.txt"}}, "1 to 100 printable characters"),
        ({"data": {"name": "packed", "path": "a\0b"}}, "no file can be called so"),
        ({"data": {"name": "packed", "path": "a" * 300}}, "no file can be called so"),
        ({"model": {"name": "eyenet", "weights": "x/" * 3000}}, "no file can be called so"),
        ({"forget": {"share": 0.5, "rounds": 10**6}}, "forget.rounds"),
        ({"audit": {"shadows": 10**6}}, "audit.shadows"),
        ({"methods": {"finetune": {"search": {name: list(range(100)) for name in "abcdef"}}}}, "candidates"),
        ({"methods": {"finetune": {"search": {"lr": []}}}}, "give a value to try"),
        ({"seeds": list(range(2000))}, "seeds"),
    ],
)
def test_work_is_bounded_before_it_begins(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(parse_plan, plan_with(**changes), "plan")


def test_arms_are_counted_before_they_are_laid_out(tmp_path: Path) -> None:
    many = "".join(f"[arms.a{number}]\n" for number in range(1001))
    assert "1,001 arms: expected at most 1,000" in refusal(read_plan, written(tmp_path, WHOLE + many))
    rounds = WHOLE.replace("share = 0.5", "share = 0.5\nrounds = 900") + "[arms.a]\n[arms.b]\n"
    assert "asks for 1,800 arms" in refusal(read_plan, written(tmp_path, rounds))
    for name in ("a" * 101, "", "a\\u0007"):
        assert "printable characters" in refusal(read_plan, written(tmp_path, f'{WHOLE}[arms."{name}"]\n'))


def test_a_plan_is_read_whatever_editor_saved_it(tmp_path: Path) -> None:
    expected = read_plan(written(tmp_path, WHOLE))
    for content in ("\ufeff" + WHOLE, WHOLE.replace("\n", "\r\n"), "\ufeff" + WHOLE.replace("\n", "\r\n")):
        (tmp_path / "plan.toml").write_bytes(content.encode())
        assert read_plan(tmp_path / "plan.toml") == expected


def test_code_of_somebodys_own_is_known_before_it_is_imported() -> None:
    methods = {"mine": {"use": "mine:forget"}, "theirs": {"use": "efface.testing.cheats:do_nothing"}, "finetune": {}}
    model = {"name": "own_backbone", "factory": "ours:network"}
    assert user_code(parse_plan(plan_with(methods=methods), "plan")) == ["mine:forget"]
    assert user_code(parse_plan(plan_with(methods=methods, model=model), "plan")) == ["mine:forget", "ours:network"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("module:function"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*Plan.model_fields, "nothing"])
BELOW = st.none() | st.sampled_from([*Forget.model_fields, "name", "use"])


@given(NAMES, BELOW, PLAIN)
def test_anything_in_the_place_of_anything_is_a_plan_or_refused(name: str, below: str | None, value: object) -> None:
    with suppress(InputError):
        parse_plan(plan_with(**{name: value if below is None else {below: value}}), "plan")


@pytest.mark.parametrize("name", ["task", "goal", "data", "forget", "model"])
def test_a_missing_field_is_named(name: str) -> None:
    raw = plan_with()
    del raw[name]
    assert f"'{name}' is missing" in refusal(parse_plan, raw, "plan")


@pytest.mark.parametrize("name", RESERVED)
def test_no_method_takes_the_name_of_a_row_every_report_has(name: str) -> None:
    assert repr(name) in refusal(parse_plan, plan_with(methods={name: {"use": "finetune"}}), "plan")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task = ", "not valid TOML"),
        ("task = 'a'\ntask = 'b'", "not valid TOML"),
        (WHOLE + "[arms]\nfirst = 3\n", "arms must be tables"),
        ("arms = 3\n" + WHOLE, "arms must be tables"),
        ("a = " + "[" * 100_000, "not valid TOML"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("a = 1\0", "NUL"),
        (WHOLE + "[arms.second]\nsedes = [1]\n", "arm 'second': unknown setting 'sedes'; did you mean 'seeds'?"),
    ],
)
def test_a_broken_file_is_refused_by_its_name(tmp_path: Path, text: str, words: str) -> None:
    message = refusal(read_plan, written(tmp_path, text))
    assert "plan.toml" in message
    assert words in message


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(read_plan, tmp_path / "absent.toml")
    assert "is a folder" in refusal(read_plan, tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in refusal(read_plan, tmp_path / "bytes.toml")
