"""What the README says can be done: its plan binds, its verbs and files exist, its table is complete."""

import re
import tomllib

import pytest
from typer.testing import CliRunner

from conftest import ROOT
from efface.cli import app
from efface.experiment.resolve import resolve
from efface.methods import METHODS
from efface.plan.file import parse_plan

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_plans_in_it_can_be_run() -> None:
    eyes, recognition, ages, proof, groups = map(tomllib.loads, re.findall(r"```toml\n(.*?)```", README, re.DOTALL))
    assert resolve(parse_plan(eyes, "README"), "README").stages
    plan = {**eyes, "task": "recognition", "methods": {"cure": {}}, **recognition}
    assert resolve(parse_plan(plan, "README"), "README").plan.verify
    plan = {**eyes, "task": "classes", "methods": {"piu_fr": {}}, **ages}
    assert resolve(parse_plan(plan, "README"), "README").plan.forget.rounds == 3
    assert resolve(parse_plan({**eyes, **proof}, "README"), "README").plan.audit
    assert resolve(parse_plan({**eyes, **groups}, "README"), "README").stages[0].reweight


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"`efface (\w+)", README))))
def test_every_verb_in_it_exists(verb: str) -> None:
    assert CliRunner().invoke(app, [verb, "--help"]).exit_code == 0


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_file_it_links_exists(link: str) -> None:
    assert (ROOT / link).exists()


def test_it_names_every_method() -> None:
    assert {name for name in METHODS if f"`{name}`" not in README} == set()


def test_it_opens_with_what_it_is_a_picture_and_two_commands() -> None:
    first = README.splitlines()[:20]
    text = "\n".join(first)
    assert "forget someone" in first[2]
    assert "docs/report.png" in text
    assert text.index("docs/report.png") < text.index("make demo") < text.index("make test")


def test_the_makefile_has_what_it_promises() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", README):
        if target in ("demo", "test", "eyes"):
            assert f"\n{target}:" in makefile
