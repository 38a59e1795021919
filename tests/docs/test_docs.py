"""The documentation: its links lead somewhere, its plans bind, its code runs, and what code prints is up to date."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT, predictions_of, refusal
from efface.erasure.recipe import read_recipe
from efface.erasure.request import erasure_request
from efface.experiment.resolve import resolve
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap
from efface.plan.file import overlaid, parse_plan
from efface.sweep.stores import read_stores
from efface.tasks import TASKS, Task
from efface.testing import check_method
from efface.web.office import served_tables

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
RESULTS = sorted((ROOT / "results").glob("*.json"))
GUIDES = [page for page in sorted((DOCS / "guide").glob("*.md")) if "```toml" in page.read_text(encoding="utf-8")]
PRIVATE = ("who paid", "who pays", "kitchen", "shelf", "witness", "suspicion", "crew", "handed to its judges")
"""Words that only this project ever used, or that are riddles to who reads them first."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors_of(page: Path) -> set[str]:
    """Where a link into a page may lead: its headings as the site names them, and what it names itself."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", one).strip().lower()) for one in headings}
    return slugs | set(re.findall(r"{ #([\w-]+) }", text))


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES], ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"\w+:", link):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors_of(target), link


def test_every_page_stands_in_the_navigation() -> None:
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert named == {page.relative_to(DOCS).as_posix() for page in PAGES}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name_of)
def test_no_page_has_words_of_its_own(page: Path) -> None:
    prose = re.sub(r"^\|.*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE).lower()
    assert not [word for word in PRIVATE if word in prose]


@pytest.mark.parametrize("script", ["print_reference.py", "print_results.py", "draw_packages.py"])
def test_what_is_printed_is_up_to_date(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / script), "--check"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("file", RESULTS, ids=name_of)
def test_every_table_of_results_is_printed_with_its_commands(file: Path) -> None:
    results = json.loads(file.read_text(encoding="utf-8"))
    opened = f"<!-- limits: {file.stem} -->"
    (page,) = (text for one in PAGES if opened in (text := one.read_text(encoding="utf-8")))
    assert len(results["commit"]) == 40
    assert results["limits"]
    for table in results["tables"]:
        assert f"<!-- table: {file.stem}/{table['name']} -->" in page
        assert table["command"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}
        assert "plan" not in table or (ROOT / table["plan"]).exists()


REQUESTS, STORES = ("forget.md", "serve.md"), ("sweep.md",)
"""Guides whose TOML is a request for erasure, settings of the page, or stores; all others show plans."""


@pytest.mark.parametrize("name", STORES)
def test_the_stores_of_a_guide_are_some(name: str, tmp_path: Path) -> None:
    file = tmp_path / "stores.toml"
    (text,) = re.findall(r"```toml\n(.*?)```", (DOCS / "guide" / name).read_text(encoding="utf-8"), re.DOTALL)
    file.write_text(text, encoding="utf-8")
    assert [store.name for store in read_stores(file)] == ["uploads", "search server"]


def toml_in(name: str, folder: Path, block: int = 0) -> Path:
    """A block of a guide's TOML as a file, beside everything that it names."""
    text = re.findall(r"```toml\n(.*?)```", (DOCS / "guide" / name).read_text(encoding="utf-8"), re.DOTALL)[block]
    file = folder / "file.toml"
    file.write_text(text, encoding="utf-8")
    for one in ("photos/stay", "photos/public", "backbone.pth", "contract.toml"):
        (folder / one).mkdir(parents=True)
    return file


def test_the_request_of_the_guide_is_one(tmp_path: Path) -> None:
    asked = erasure_request({}, toml_in("forget.md", tmp_path))
    assert asked.answer is not None
    assert asked.answer.deletions


def test_the_recipe_of_the_guide_is_what_is_meant_without_one(tmp_path: Path) -> None:
    written = read_recipe(toml_in("forget.md", tmp_path, block=1), TASKS["recognition"])
    assert replace(written, milestones=()) == read_recipe(None, TASKS["recognition"])


def test_the_settings_of_the_guide_serve(tmp_path: Path) -> None:
    assert served_tables(toml_in("serve.md", tmp_path))["budget"] == "10min"


@pytest.mark.parametrize(
    "page",
    [one for one in GUIDES if one.name not in REQUESTS + STORES and "```toml" in one.read_text(encoding="utf-8")],
    ids=name_of,
)
def test_plans_of_the_guide_can_be_run(page: Path) -> None:
    """The first plan of a page is whole, and every other block of it is laid over that one."""
    first, *others = map(tomllib.loads, re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
    for part in [{}, *others]:
        for arm in part.pop("arms", {"": {}}).values():
            plan = parse_plan(overlaid(overlaid(first, part), arm), page.name)
            assert "my_package" in str(part) or resolve(plan, page.name)


def code_of(page: str) -> ModuleType:
    """The block of code on a page that is a whole module."""
    (text,) = re.findall(r"```python\n(\"{3}.*?)```", (DOCS / "develop" / page).read_text(encoding="utf-8"), re.DOTALL)
    module = ModuleType(page.removesuffix(".md"))
    sys.modules[module.__name__] = module
    exec(compile(text, page, "exec", dont_inherit=True), module.__dict__)
    return module


def test_the_method_of_the_page_keeps_the_contract() -> None:
    blunt = code_of("method.md").blunt
    check_method(blunt)


def test_the_task_of_the_page_is_one() -> None:
    smile = code_of("task.md").SMILE
    assert isinstance(smile, Task)
    assert smile.name == "smile"


def test_the_measure_of_the_page_has_its_interval() -> None:
    module = code_of("measure.md")
    predictions = predictions_of(("forget", "A", 20, 3), ("test", "A", 5, 1))
    signal = np.arange(len(predictions.split), dtype=np.float64)
    found = module.median_signal(predictions, signal, Bootstrap(predictions))
    median = found[MeasureKey("measure", "median_signal", split="forget")]
    assert median.low <= median.value <= median.high
    assert abs(median.value - np.median(signal[:60])) <= 1


def test_the_dataset_of_the_page_reads_its_layout(tmp_path: Path) -> None:
    module = code_of("dataset.md")
    assert "holds no .jpg" in refusal(module.read, tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "0001_ann_35.jpg")
    assert module.read(tmp_path)[["key", "person", "age"]].to_numpy().tolist() == [["0001_ann_35", "ann", 35]]
    Image.new("RGB", (8, 8)).save(tmp_path / "portrait.jpg")
    assert "is not named like the others" in refusal(module.read, tmp_path)
