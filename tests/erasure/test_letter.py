"""The letter answers in plain language, differently for each verdict, and shows what it was given and runs nothing."""

import os
import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from records import VERDICTS, record_of

from efface.erasure.letter import letter_of, write_letter
from efface.erasure.record import Controller, Deletion, Record, Request

CHROMIUM = "/usr/bin/chromium"
JARGON = re.compile(
    r"rank|match|embedding|template|gallery|threshold|weights|model|metric|interval|epsilon|unlearn|hash|hmac|sha|ship|"
    r"data subject|controller|anonymous|compliant|%|\d\.\d",
    re.IGNORECASE,
)


def written(record: Record, out: Path) -> tuple[str, str]:
    """The Markdown and the HTML."""
    plain, page = write_letter(record, out)
    return plain.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")


def visible(page: str) -> str:
    """The text that a browser shows, on one line."""

    class Shown(HTMLParser):
        text = ""

        def handle_data(self, data: str) -> None:
            self.text += data

    shown = Shown()
    shown.feed(re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    return " ".join(shown.text.split())


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_letter_is_short_and_plain_and_says_the_same_in_both_files(tmp_path: Path, verdict: str) -> None:
    plain, page = written(record_of(verdict), tmp_path)
    text = visible(page)
    for part in (
        "On 3 November 2026 you asked us",
        "Your photos are deleted; the last backup copies are gone by 18 February 2027.",
        "ask us: privacy@example.org",
        "complain to the Data Protection Office",
        "2026-0042",
        "We cannot delete copies",
    ):
        assert part in plain
        assert part in text
    assert not JARGON.findall(re.sub(r"\S+@\S+", "", text))
    assert len(text.split()) < 420
    assert re.sub(r"[#*\s]+", "", plain) == re.sub(r"\s+", "", text.removeprefix("Our answer to your request"))


def test_each_verdict_has_its_own_answer() -> None:
    answers = {verdict: letter_of(record_of(verdict)).answer for verdict in VERDICTS}
    assert answers["forgotten"].startswith("Yes: we have changed the software")
    assert "in use since 22 November 2026" in answers["forgotten"]
    assert answers["do not ship"].startswith("Not yet")
    assert "found none" in answers["nothing to unlearn in the weights"]
    assert "told it not to name you" in answers["delete from gallery and block"]


def test_what_remains_stands_apart_from_what_was_done(tmp_path: Path) -> None:
    waiting = [
        Deletion(store="photos", where="store", count=3, state="to do", day=date(2027, 1, 2)),
        Deletion(store="downstream models", where="phone app", state="told", day=date(2026, 11, 20)),
        Deletion(store="templates", where="audit log", state="kept", why="a court asked for it."),
    ]
    request = Request(**(dict(record_of().request) | {"status": "RequestAccepted", "subjects": ["0" * 64]}))
    plain, _ = written(record_of("forgotten", deletions=waiting, request=request), tmp_path)
    done, remains = plain.split("## What is still there")
    assert "we told those who run it what you asked for" in done
    assert "not done yet; we will have done it by 2 January 2027." in remains
    assert "we keep this. The reason: a court asked for it.\n" in remains
    assert "are not deleted yet: see below" in done
    assert "Your photos are deleted" not in plain


def test_what_is_done_instead_and_when_the_answer_comes(tmp_path: Path) -> None:
    late = Request(
        **(dict(record_of("do not ship").request) | {"answered": date(2026, 12, 24), "subjects": ["0" * 64]})
    )
    plain, _ = written(record_of("do not ship", request=late), tmp_path)
    assert "again from the beginning, without your photos, by 31 January 2027" in plain
    assert "It is late, and we are sorry." in plain
    assert "may still carry what it learned" in plain


def test_a_changed_model_that_is_not_in_use_is_not_called_so() -> None:
    record = record_of()
    letter = letter_of(record.model_copy(update={"outcome": record.outcome.model_copy(update={"in_use_since": None})}))
    assert "not in use yet" in letter.answer
    assert "it has not forgotten you" in str(letter.sections)


def test_markup_from_outside_is_shown_and_not_run(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\n# [x](javascript:a) *b* \"'&\u202e"
    plain, page = written(record_of(controller=Controller(name=evil, contact=evil, authority=evil)), tmp_path)
    assert "<script" not in page
    assert r"\<script\>" in plain
    assert r"\[x\](javascript:a) \*b\*" in plain
    assert "\n# [" not in plain
    assert "\u202e" not in plain + page
    assert "<script>alert(1)</script>" in visible(page)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX")
def test_letters_are_their_owners_alone(tmp_path: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in write_letter(record_of(), tmp_path / "out")} == {0o600}


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no chromium")
def test_a_letter_fits_a_phone_and_a_sheet_of_paper(tmp_path: Path) -> None:
    pages = {
        verdict: write_letter(record_of(verdict), tmp_path / str(place))[1] for place, verdict in enumerate(VERDICTS)
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for verdict, path in pages.items():
            page = browser.new_page(viewport={"width": 390, "height": 800})
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, verdict
            sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True)))
            assert sheets == 1, verdict
        browser.close()
