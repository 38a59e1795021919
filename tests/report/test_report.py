"""The report is one page that needs nothing else, opens with request, forgetting and cost by group, and names
nobody."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright
from scipy import stats

from conftest import ROOT, TINY, key
from efface.experiment.run import run
from efface.measure_key import MeasureKey
from efface.plan.file import read_plan
from efface.report import wording, write
from efface.report.page import times_fewer
from efface.report.paired import nearer_to_retraining, paired_tables, student
from efface.report.strips import Axis, IntervalMark, strip
from efface.results import Cost, Evaluation, Headroom, MeasureRecord, Results, Summary

CHROMIUM = "/usr/bin/chromium"
ERROR = MeasureKey("score", "mse", split="forget", group="all")
TOW = MeasureKey("distance", "tow")
Ends = tuple[float | None, float | None]
WIDTH = 390
"""Pixels of a phone's screen, as the page sees them."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "plan.toml").write_text(TINY.replace("seeds = [0, 1]", "seeds = [0]"))
    run(read_plan(folder / "plan.toml"), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


def test_it_needs_nothing_else(page: str) -> None:
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "<script" not in page
    assert "@import" not in page
    assert "url(http" not in page


def test_it_is_well_formed(page: str) -> None:
    """Every tag that opens closes, in order."""

    class Nesting(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "br", "link", "img"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            pass

    parser = Nesting()
    parser.feed(page)
    assert not parser.open


def test_the_first_screen_has_request_forgetting_and_cost_by_group(page: str) -> None:
    top = page[: page.index("Evidence")]
    assert "trained people of group B" in top
    assert "What forgetting itself costs" in top
    for name in ("reference", "finetune", "ascent, rebalanced"):
        assert name in top


def test_it_shows_faces_with_predictions_and_with_hidden_eyes(page: str) -> None:
    assert page.count("data:image/png;base64,") > 20
    assert "hidden" in page


@pytest.fixture(scope="module")
def phone(out: Path) -> Iterator[Page]:
    """The report in a browser as wide as a phone, without a network."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": 844}, device_scale_factor=2, offline=True)
        page.goto((out / "report.html").as_uri())
        yield page
        browser.close()


def test_nothing_is_wider_than_a_phone_but_what_scrolls_in_its_frame(phone: Page) -> None:
    assert phone.evaluate("document.documentElement.scrollWidth") == WIDTH
    assert not phone.evaluate(
        """width => [...document.body.querySelectorAll("*")]
            .filter(one => one.getBoundingClientRect().right > width + 1)
            .filter(one => !one.closest(".wide, .plot, .strip-of-faces, .strip, pre, details:not([open])"))
            .map(one => one.outerHTML.slice(0, 200))""",
        WIDTH,
    )


def test_no_text_is_smaller_than_eleven_pixels_on_a_phone(phone: Page) -> None:
    sizes: dict[str, float] = phone.evaluate(
        """() => {
            const found = {}, texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (texts.nextNode()) {
                const around = texts.currentNode.parentElement, said = texts.currentNode.textContent.trim();
                if (!said || !around.getClientRects().length || ["STYLE", "TITLE"].includes(around.tagName)) continue;
                const turned = around instanceof SVGGraphicsElement ? around.getScreenCTM() : {a: 1, b: 0};
                const size = parseFloat(getComputedStyle(around).fontSize);
                found[said.slice(0, 60)] = Math.hypot(turned.a, turned.b) * size;
            }
            return found;
        }"""
    )
    assert len(sizes) > 50
    assert {text: size for text, size in sizes.items() if size < 11} == {}


def test_the_table_at_a_glance_reads_on_a_phone(phone: Page) -> None:
    """Every row names its model, every number has its label, and no cell is cut or lies over another."""
    rows = phone.locator(".row:visible")
    names = [name.strip() for name in rows.locator(".name b").all_inner_texts()]
    assert names == ["retrained reference", "finetune", "ascent", "rebalanced", "constant-prediction control"]
    for name, row in zip(names, rows.all(), strict=True):
        cells: list[dict[str, Any]] = row.evaluate(
            """row => [...row.querySelectorAll(".cell")].map(cell => {
                const {left, right, top, bottom} = cell.getBoundingClientRect();
                const label = getComputedStyle(cell, "::before").content;
                const cut = cell.scrollWidth > cell.clientWidth;
                return {left, right, top, bottom, label, text: cell.innerText, cut};
            })"""
        )
        assert all(cell["left"] >= 0 and cell["right"] <= WIDTH and not cell["cut"] for cell in cells)
        assert all(above["bottom"] <= below["top"] + 1 for above, below in pairwise(cells))
        numbers = [cell for cell in cells if re.search(r"\d", cell["text"]) and cell is not cells[0]]
        assert len(numbers) >= (1 if name == "constant-prediction control" else 3)
        assert sum(cell["label"] not in ("none", "normal") for cell in cells) >= 3


def test_it_prints(phone: Page) -> None:
    phone.emulate_media(media="print")
    printed = phone.pdf(format="A4")
    phone.emulate_media(media="screen")
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") >= 1


def test_it_names_nobody(page: str) -> None:
    assert not re.search(r"\bp\d{5}\b", page), "a person's name of the synthetic set"


def test_it_is_the_same_every_time(out: Path, page: str) -> None:
    write(out)
    assert (out / "report.html").read_text(encoding="utf-8") == page


def record(value: float | None, low: float | None = None, high: float | None = None) -> MeasureRecord:
    return MeasureRecord(value=value, low=low, high=high, aim="low", about="")


def row_of(gap: Ends, way: Ends, attack: Ends = (0.4, 0.6), error: Ends = (1.0, 3.0)) -> Summary:
    measures = {
        key("forgotten/signal_to_reference"): record(0.0, *gap),
        key("forgotten/percent"): record(50.0, *way),
        wording.ATTACK_AUC: record(None if attack[0] is None else 0.5, *attack),
        ERROR: record(2.0, *error),
    }
    return Summary(arm="", method="m", seeds=[0], measures=measures)


@pytest.mark.parametrize(
    ("row", "standing"),
    [
        (row_of((-2.0, -1.0), (20, 60)), "remembered"),
        (row_of((0.1, 0.5), (130, 180)), "overshot"),
        (row_of((-0.1, 0.1), (90, 110)), "as retrained"),
        (row_of((-0.1, 0.1), (90, 110), attack=(None, None)), "as retrained"),
        (row_of((-0.1, 0.1), (90, 110), error=(1.9, 2.1)), "contradicted"),
        (row_of((-1.0, 0.5), (12, 120)), "unknown"),
        (row_of((-1.0, 0.5), (None, None)), "unknown"),
        (row_of((None, None), (None, None)), "unknown"),
    ],
)
def test_standing_follows_from_the_intervals(row: Summary, standing: str) -> None:
    same = {wording.ATTACK_AUC: record(0.5, 0.4, 0.6), ERROR: record(2.5, 2.4, 2.6)}
    reference = Summary(arm="", method="reference", seeds=[0], measures=same)
    assert wording.forgetting_status(row, reference, "mse") == standing


def rows_of_seeds(method: str, values: list[float], metric: str = "tow") -> list[Evaluation]:
    cost = Cost(seconds=1, faces=1, peak_memory_mib=0, faces_of_retraining=1)
    return [
        Evaluation(
            arm="",
            method=method,
            stages=[],
            seed=seed,
            settings={},
            cost=cost,
            measures={MeasureKey("distance", metric): record(value, 0, 1).model_copy(update={"aim": "high"})},
        )
        for seed, value in enumerate(values)
    ]


def test_times_fewer_are_of_faces_and_cpu_seconds_and_never_of_the_wall() -> None:
    made = [*rows_of_seeds("reference", [1.0, 1.0]), *rows_of_seeds("a", [0.9, 0.8])]
    took = {
        "reference": {"faces": 1000, "cpu_seconds": 60.0, "seconds": 1.0},
        "a": {"faces": 50, "cpu_seconds": 5.0, "seconds": 900.0, "rte": 99.0},
    }
    counted = [one.model_copy(update={"cost": one.cost.model_copy(update=took[one.method])}) for one in made]
    assert times_fewer(results_with(counted, None), "", "a") == ["20×", "12×"]
    assert times_fewer(results_with(counted, None), "", "reference") == ["1.0×", "1.0×"]
    earlier = [one.model_copy(update={"cost": one.cost.model_copy(update={"cpu_seconds": None})}) for one in counted]
    assert times_fewer(results_with(earlier, None), "", "a") == ["20×", "–"], "nobody counted them"
    none = [
        one.model_copy(update={"cost": one.cost.model_copy(update={"faces_of_retraining": None})}) for one in counted
    ]
    assert times_fewer(results_with(none, None), "", "a") == ["–", "–"]


def test_a_bill_of_earlier_results_is_read() -> None:
    earlier = {"seconds": 9, "faces": 5, "peak_memory_mib": 0, "seconds_of_retraining": 0.5, "faces_of_retraining": 0.5}
    assert Cost.model_validate(earlier | {"rte": 2}).cpu_seconds is None


def results_with(made: list[Evaluation], room: float | None) -> Results:
    parts: dict[str, Any] = {"evaluations": made, "headroom": [Headroom(arm="", measure=TOW, value=room)]}
    return Results.model_construct(**parts)


def test_two_methods_are_compared_seed_by_seed() -> None:
    """Both wander from seed to seed; what is between them does not, and scipy's paired t interval finds it."""
    first, second = [0.90, 0.80, 0.95, 0.85], [0.80, 0.72, 0.84, 0.77]
    made = [*rows_of_seeds("reference", [1.0] * 4), *rows_of_seeds("a", first), *rows_of_seeds("b", second)]
    results = results_with(made, 9.0)
    gaps = nearer_to_retraining(results, "", TOW, "a", "b")
    oracle = stats.ttest_rel(second, first).confidence_interval()
    assert student(gaps)[1:] == pytest.approx((oracle.low, oracle.high))
    (table,) = paired_tables(results, "")
    assert table.methods == ["a", "b"]
    assert [[told for _, told in cells] for _, cells in table.rows] == [[False, True], [True, False]]
    assert table.rows[0][1][1][0].startswith("−0.0925 [") or table.rows[0][1][1][0].startswith("−0.092 [")


def test_seeds_in_which_a_measure_could_be_told_do_not_speak_for_those_in_which_it_could_not() -> None:
    """A model that never relearns in a seed has no number there, and is no nearer for that."""
    made = [*rows_of_seeds("reference", [1.0] * 4), *rows_of_seeds("a", [0.9] * 4), *rows_of_seeds("b", [0.8] * 4)]
    assert len(nearer_to_retraining(results_with(made, 9.0), "", TOW, "a", "b")) == 4
    untold = made[-1].measures[TOW].model_copy(update={"value": None})
    last = made[-1].model_copy(update={"measures": {TOW: untold}})
    assert nearer_to_retraining(results_with([*made[:-1], last], 9.0), "", TOW, "a", "b") == []
    not_measured = made[-1].model_copy(update={"measures": {}})
    assert len(nearer_to_retraining(results_with([*made[:-1], not_measured], 9.0), "", TOW, "a", "b")) == 3


def test_nothing_is_compared_where_a_measure_has_no_headroom() -> None:
    made = [*rows_of_seeds("reference", [1.0] * 3), *rows_of_seeds("a", [0.9] * 3), *rows_of_seeds("b", [0.8] * 3)]
    for room in (2.9, None):
        assert paired_tables(results_with(made, room), "") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.34, "+12%"), (-3.21, "−3.2%"), (0.0, "±0.0%"), (-0.04, "±0.0%"), (568.0, "+568%"), (None, "–")],
)
def test_changes_in_words(value: float | None, text: str) -> None:
    assert wording.signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (1234.5, "1234"), (0.0, "0"), (-0.5, "−0.5"), (None, "–")]
)
def test_numbers_in_words(value: float | None, text: str) -> None:
    assert wording.number(value) == text


def test_no_change_beyond_noise_is_said_so() -> None:
    measures = {key("increase/mse/against original/B"): record(2.0, -1.0, 5.0)}
    assert "no change beyond noise" in wording.harm(measures, "mse", "B")


def test_marks_beyond_the_ruler_become_arrows() -> None:
    axis = Axis(0, 10)
    assert "›" in strip([IntervalMark(99, 90, 110, "red")], axis)
    assert "‹" in strip([IntervalMark(-5, -6, -4, "red")], axis)
    assert "<circle" in strip([IntervalMark(5, 4, 6, "red")], axis)


def test_intervals_over_few_people_are_said_to_be_narrow() -> None:
    def said(forgotten: int, **test: int) -> str:
        return wording.narrow_intervals({"forget": {"A": 2, "B": forgotten - 2}, "test": test})

    assert said(500, A=200) == ""
    assert "84 to 92% of cases with 15 people" in said(17, A=200)
    assert said(17, A=200).endswith("Here: the forgotten (17 people).")
    assert "80 to 90% of cases with 8 people" in said(17, A=200, B=14), "the fewest speak"
    assert "80 to 90%" in said(3), "fewer were not simulated"


def test_what_is_said_of_narrow_intervals_is_what_was_simulated() -> None:
    saved = json.loads((ROOT / "results" / "coverage.json").read_text(encoding="utf-8"))
    table = next(one for one in saved["tables"] if one["name"] == "people")
    for column, name in enumerate(table["columns"][1:], start=1):
        shares = [float(row[column].rstrip("%")) for row in table["rows"]]
        assert wording.HELD[int(name.split()[0])] == (round(min(shares)), round(max(shares)))
