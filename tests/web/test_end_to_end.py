"""A request served by the page alone, in a real browser: from upload to a record that verifies."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from deployments import deployed

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}: apt-get install chromium"),
]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
NOTHING = "nothing to unlearn in the weights"


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    deployment = deployed(tmp_path)
    (tmp_path / "serve.toml").write_text(
        'model = "deployed.pth"\ncontract = "contract.toml"\nretain = "retain"\npublic = "public"\nbudget = "15s"\n'
        '[controller]\nname = "Example Ltd"\ncontact = "privacy@example.org"\n[search]\nphotos = "forget"\n',
        encoding="utf-8",
    )
    return sorted(str(one) for one in (deployment.folder / "forget").glob("*/*.png"))[:6]


@pytest.fixture
def links(tmp_path: Path, photos: list[str]) -> Iterator[list[str]]:
    """Where the two people sign in."""
    command = [sys.executable, "-m", "efface", "serve", str(tmp_path / "serve.toml"), "--folder", str(tmp_path / "f")]
    served = subprocess.Popen(
        [*command, "--threads", "1", "--port", str(free_port())], stdout=subprocess.PIPE, text=True
    )
    assert served.stdout is not None
    yield [re.search(r"http\S+", served.stdout.readline())[0] for _ in range(2)]  # type: ignore[index]
    served.terminate()
    served.wait()
    served.stdout.close()


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Browser, link: str, size: str) -> tuple[Page, list[str]]:
    """A page of a person's own, and what it complains of."""
    width, height = SIZES[size]
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for attempt in range(50):
        try:
            page.goto(link)
            break
        except Exception:
            if attempt == 49:
                raise
            page.wait_for_timeout(100)
    return page, complaints


def fits_and_is_accessible(page: Page) -> None:
    """Nothing is cut off at the side, and axe-core finds nothing to complain of."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("size", SIZES)
def test_from_upload_to_a_verified_record(
    browser: Browser, links: list[str], photos: list[str], size: str, tmp_path: Path
) -> None:
    enters, wrong = opened(browser, links[0], size)
    fits_and_is_accessible(enters)
    enters.get_by_role("link", name="New request").click()
    fits_and_is_accessible(enters)
    enters.get_by_label("Reference").fill("2026-117")
    enters.get_by_label("Name of the person").fill("Ann Smith")
    enters.get_by_label("Photos of the person").set_input_files(photos)
    enters.get_by_role("button", name="Enter the request").click()

    boxes = enters.get_by_role("checkbox")
    expect(boxes).to_have_count(6)
    boxes.first.focus()
    for key in ("ArrowRight", "r"):
        enters.keyboard.press(key)
    assert [box.is_checked() for box in boxes.all()] == [True, False, True, True, True, True]
    fits_and_is_accessible(enters)
    for key in ("ArrowLeft", "k"):
        enters.keyboard.press(key)
    assert all(box.is_checked() for box in boxes.all())
    enters.get_by_role("button", name="These photos are right").click()

    enters.get_by_role("button", name="Look for more photos of this person").click()
    save = enters.get_by_role("button", name="Save what is accepted")
    expect(save).to_be_visible(timeout=60_000)
    fits_and_is_accessible(enters)
    found = enters.locator("input[name=accept]")
    assert not any(box.is_checked() for box in found.all())
    found.first.focus()
    enters.keyboard.press("k")
    save.click()
    expect(enters.get_by_text("found among yours and accepted: 1")).to_be_visible()

    approves, also_wrong = opened(browser, links[1], size)
    approves.get_by_role("link", name="2026-117").click()
    fits_and_is_accessible(approves)
    approves.get_by_role("button", name="Approve, and make the model forget").click()
    expect(approves.get_by_role("heading", name="At work")).to_be_visible()
    fits_and_is_accessible(approves)
    expect(approves.get_by_role("heading", name=re.compile("Do not ship|Nothing to unlearn|Forgotten"))).to_be_visible(
        timeout=100_000
    )
    fits_and_is_accessible(approves)
    with approves.expect_download() as download:
        approves.get_by_role("link", name="Signed record").click()
    download.value.save_as(tmp_path / "record.json")
    verified = subprocess.run(
        [sys.executable, "-m", "efface", "verify", str(tmp_path / "record.json")], capture_output=True, text=True
    )
    assert verified.returncode == 0, verified.stderr
    assert "Ann" not in (tmp_path / "record.json").read_text(encoding="utf-8")

    approves.get_by_label("Reason").fill("checked by hand")
    approves.get_by_role("button", name="Note the answer").click()
    expect(approves.get_by_text("Answered:")).to_be_visible()
    approves.get_by_role("link", name="Letter to the person").click()
    expect(approves.get_by_text("Example Ltd").first).to_be_visible()
    enters.get_by_role("link", name="Ledger").click()
    expect(enters.get_by_text("Nothing was changed")).to_be_visible()
    fits_and_is_accessible(enters)
    assert wrong == []
    assert also_wrong == []
