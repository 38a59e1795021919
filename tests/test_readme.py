"""What the README says can be done: its plan binds, its verbs, targets and files exist, and it stays short."""

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

import efface
from conftest import ROOT
from efface.cli import app
from efface.experiment.resolve import resolve
from efface.methods import METHODS
from efface.plan.file import parse_plan

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TELLING = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / ".ci" / "run",
    *sorted((ROOT / ".github").rglob("*.yml")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
"""Files that say what can be typed."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def made_by(makefile: str) -> set[str]:
    """Names of the targets of a Makefile; `.PHONY` and files are none."""
    return set(re.findall(r"^([a-z]\w*)\s*:(?!=)", makefile, re.MULTILINE))


def asked_of_make(text: str) -> set[str]:
    """Targets that a text tells its reader to make: in code, or at the start of a line of a script."""
    return set(re.findall(r"(?:`|^\s*(?:- run: )?)make ([a-z]\w*)", text, re.MULTILINE))


def verbs() -> set[str]:
    return set(get_command(app).commands)  # type: ignore[attr-defined]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 140
    assert len(README.encode()) <= 9 * 1024
    rows = [len(table.splitlines()) - 2 for table in re.findall(r"(?:^\|.*\n)+", README, re.MULTILINE)]
    assert max(rows, default=0) <= 6


def test_it_opens_with_what_it_is_a_picture_and_two_commands() -> None:
    opening = README.splitlines()[:20]
    text = "\n".join(opening)
    assert "forget someone" in opening[2]
    assert "docs/report.png" in text
    assert text.index("docs/report.png") < text.index("make demo") < text.index("make test")


def test_its_plan_can_be_run() -> None:
    (plan,) = blocks("toml")
    assert len(plan.splitlines()) <= 14
    resolved = resolve(parse_plan(tomllib.loads(plan), "README"), "README")
    assert [stage.name for stage in resolved.stages] == ["scrub", "finetune"]


def test_its_python_fits_the_library() -> None:
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 12
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert {ast.unparse(call.func) for call in calls} == {"efface.run", "efface.forget"}
    for call in calls:
        function = getattr(efface, ast.unparse(call.func).removeprefix("efface."))
        keywords = {one.arg: None for one in call.keywords if one.arg}
        inspect.signature(function).bind_partial(*call.args, **keywords)


def test_it_names_every_verb_and_no_other() -> None:
    assert set(re.findall(r"`efface ([\w-]+)", README)) == verbs()


@pytest.mark.parametrize("file", TELLING, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_can_be_typed_exists(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert asked_of_make(text) <= made_by(MAKEFILE)
    assert set(re.findall(r"(?:`|^)efface ([a-z][\w-]*)", text, re.MULTILINE)) <= verbs()


def test_a_made_up_target_would_be_noticed() -> None:
    assert made_by("x: y\n\tmake z\nBIN := b\n.PHONY: x\n") == {"x"}
    assert asked_of_make("`make nothing` and\nmake dust # or\n  - run: make air\nto make sure") == {
        "nothing",
        "dust",
        "air",
    }
    assert not {"nothing", "dust", "air"} & made_by(MAKEFILE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == made_by(MAKEFILE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)", README))))
def test_every_file_it_links_exists(link: str) -> None:
    assert (ROOT / link).exists()


def test_it_names_every_method() -> None:
    assert {name for name in METHODS if f"`{name}`" not in README} == set()
