"""The pages: who may do what, what a browser is told, and everything that a form or an upload may try."""

from __future__ import annotations

import io
import stat
import struct
import tomllib
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from conftest import refusal
from efface.web.app import application
from efface.web.office import Office, folder_name, served_tables
from efface.web.search import Search
from efface.web.security import Guard, tokens_of

BASE = "http://127.0.0.1"
SETTINGS = '[controller]\nname = "Example Ltd"\ncontact = "privacy@example.org"\n'
Fields = dict[str, Any]
begun: list[tuple[str, list[str]]] = []
"""What would have been started: step and command."""


def photo(shade: int = 90, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (24, 24), (shade, 40, 60)).save(content, kind)
    return content.getvalue()


def bomb(side: int = 30_000) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    for name in ("retain", "public"):
        (tmp_path / name).mkdir()
    (tmp_path / "model.pth").write_bytes(b"weights")
    file = tmp_path / "serve.toml"
    file.write_text(f'model = "model.pth"\nretain = "retain"\npublic = "public"\n{SETTINGS}', encoding="utf-8")
    return file


@pytest.fixture
def office(tmp_path: Path, settings: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    """An office whose runs are not begun."""
    monkeypatch.setattr(Office, "_start", lambda self, number, step, command: begun.append((step, list(command))))
    begun.clear()
    return Office(tmp_path / "office", settings)


@pytest.fixture
def site(office: Office) -> Starlette:
    return application(office)


def signed_in(site: Starlette, office: Office, role: str) -> TestClient:
    client = TestClient(site, base_url=BASE)
    client.get("/login", params={"token": tokens_of(office.folder)[role]})
    return client


@pytest.fixture
def enters(site: Starlette, office: Office) -> Iterator[TestClient]:
    with signed_in(site, office, "enter") as client:
        yield client


@pytest.fixture
def approves(site: Starlette, office: Office) -> Iterator[TestClient]:
    with signed_in(site, office, "approve") as client:
        yield client


def token_of(client: TestClient, page: str = "/requests/new") -> str:
    text = client.get(page).text
    return text.split('name="form" value="')[1].split('"')[0]


def fields(client: TestClient, **more: Any) -> Fields:
    usual = {
        "form": token_of(client),
        "reference": "2026-117",
        "name": "Ann Smith",
        "received": str(date.today()),
        "ground": "consent withdrawn",
        "identity_check": "account",
    }
    return usual | more


def entered(client: TestClient, contents: list[bytes] | None = None, name: str = "a.png", **more: Any) -> Any:
    uploads = [("photos", (name, one, "image/png")) for one in contents or [photo(), photo(120)]]
    return client.post("/requests/new", data=fields(client, **more), files=uploads, follow_redirects=False)


@pytest.fixture
def album(tmp_path: Path, office: Office) -> list[Path]:
    """Photos that the organisation keeps, and where an office looks for people among them."""
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(photo(60 * number))
    office.search = Search(folder)
    return sorted(folder.iterdir())


def found(office: Office, album: list[Path]) -> None:
    """What a search leaves behind: two photos that may show the person, and one that does not."""
    folder = office.place(folder_name("2026-117")) / "found"
    folder.mkdir()
    rows = zip(album, (0.9, 0.5, 0.1), ("yes", "unsure", "no"), strict=True)
    lines = [f"{row},{path},{score},{why}," for row, (path, score, why) in enumerate(rows, start=2)]
    (folder / "candidates.csv").write_text("row,path,score,suggested,accept\n" + "\n".join(lines), encoding="utf-8")


PAGE = f"/requests/{folder_name('2026-117')}"
PAGES = [
    "/",
    "/requests/new",
    "/ledger",
    PAGE,
    f"{PAGE}/progress",
    f"{PAGE}/photos/0001.png",
    f"{PAGE}/files/letter.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_nobody_sees_anything_without_signing_in(site: Starlette, enters: TestClient, page: str) -> None:
    entered(enters)
    stranger = TestClient(site, base_url=BASE)
    answer = stranger.get(page)
    assert answer.status_code == 401
    assert "2026-117" not in answer.text


def test_a_wrong_link_signs_nobody_in(site: Starlette) -> None:
    client = TestClient(site, base_url=BASE)
    for token in ("", "x", "é"):
        assert client.get("/login", params={"token": token}).status_code == 401
    assert client.get("/").status_code == 401


def test_cookies_and_headers_keep_to_this_site(site: Starlette, office: Office) -> None:
    client = TestClient(site, base_url=BASE)
    answer = client.get("/login", params={"token": tokens_of(office.folder)["enter"]}, follow_redirects=False)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    for page in ("/", "/login", "/nowhere", "/static/page.js", "/static/page.css"):
        headers = client.get(page).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_no_page_has_script_or_style_inside(enters: TestClient) -> None:
    entered(enters)
    for page in ("/", "/requests/new", "/ledger", PAGE):
        text = enters.get(page).text
        assert "style=" not in text
        assert "<style" not in text
        assert text.count("<script") == text.count('<script src="/static/page.js"')


def test_another_name_of_this_machine_is_refused(enters: TestClient) -> None:
    """What a page that has its own name point here would ask by (DNS rebinding)."""
    assert enters.get("/", headers={"host": "evil.example"}).status_code == 400
    assert enters.get("/", headers={"host": "localhost:8765"}).status_code == 200


@pytest.mark.parametrize("sent", [{"form": ""}, {"form": "x" * 43}])
def test_a_form_of_another_site_does_nothing(enters: TestClient, office: Office, sent: Fields) -> None:
    assert entered(enters, **sent).status_code == 403
    assert office.queue() == []


def test_a_form_that_another_site_sent_does_nothing(enters: TestClient, office: Office) -> None:
    enters.headers["sec-fetch-site"] = "cross-site"
    assert entered(enters).status_code == 403
    assert office.queue() == []


def test_a_form_of_an_earlier_session_does_nothing(site: Starlette, office: Office, enters: TestClient) -> None:
    old = token_of(enters)
    again = signed_in(site, office, "enter")
    assert entered(again, form=old).status_code == 403


def test_a_request_is_entered_reviewed_and_approved_by_two(
    enters: TestClient, approves: TestClient, office: Office
) -> None:
    answer = entered(enters, [photo(10), photo(20), photo(30)])
    assert (answer.status_code, answer.headers["location"]) == (303, PAGE)
    assert "Ann" not in enters.get(PAGE).text
    form = {"form": token_of(approves, PAGE), "do": "approve"}
    assert "look at the photos first" in approves.post(PAGE, data=form).text
    enters.post(PAGE, data={"form": token_of(enters), "do": "review", "keep": ["0001.png", "0003.png"]})
    assert enters.post(PAGE, data={"form": token_of(enters), "do": "approve"}).status_code == 403
    approves.post(PAGE, data=form)
    made = office.decision(folder_name("2026-117"))
    assert (made.entered_by, made.approved_by, made.rejected) == ("enter", "approve", ("0002.png",))
    asked = sorted(one.name for one in (office.place(folder_name("2026-117")) / "asked" / made.person).iterdir())
    assert asked == ["0001.png", "0003.png"]
    (case,) = office.queue()
    assert case.status == "RequestAccepted"
    late = enters.post(PAGE, data={"form": token_of(enters), "do": "review", "keep": ["0002.png"]})
    assert "approved already" in late.text, "a second tab that still shows the review"
    assert office.decision(folder_name("2026-117")) == made


def test_the_run_gets_a_request_that_can_be_read(enters: TestClient, approves: TestClient, office: Office) -> None:
    entered(enters)
    enters.post(PAGE, data={"form": token_of(enters), "do": "review", "keep": ["0001.png"]})
    approves.post(PAGE, data={"form": token_of(approves, PAGE), "do": "approve"})
    tables = tomllib.loads((office.place(folder_name("2026-117")) / "request.toml").read_text(encoding="utf-8"))
    assert tables["request"]["reference"] == "2026-117"
    assert tables["request"]["due"] == date.today() + timedelta(30)
    assert Path(tables["forget"]).is_dir()
    assert Path(tables["model"]).is_absolute()


def test_more_photos_are_looked_for_and_what_is_accepted_is_forgotten_too(
    enters: TestClient, approves: TestClient, office: Office, album: list[Path]
) -> None:
    entered(enters)
    form = {"form": token_of(enters)}
    assert "after the review" in enters.post(PAGE, data={**form, "do": "search"}).text
    enters.post(PAGE, data={**form, "do": "review", "keep": ["0001.png"]})
    enters.post(PAGE, data={**form, "do": "search"})
    (step, command) = begun[-1]
    assert step == "search"
    assert [one.name for one in Path(command[4]).iterdir()] == ["0001.png"], "only what was kept is an example"
    found(office, album)
    page = enters.get(PAGE).text
    assert page.count('name="accept"') == 2, "what is ruled out is not shown"
    assert 'name="accept" value="2" checked' not in page, "nothing is accepted by itself"
    enters.post(PAGE, data={**form, "do": "accept", "accept": ["3", "4", "../x", "99"]})
    assert office.decision(folder_name("2026-117")).found == (str(album[1]),)
    assert "found among yours and accepted: 1" in approves.get(PAGE).text
    approves.post(PAGE, data={"form": token_of(approves, PAGE), "do": "approve"})
    made = office.decision(folder_name("2026-117"))
    asked = {one.name: one.read_bytes() for one in (office.place(folder_name("2026-117")) / "asked").glob("*/*")}
    assert set(asked) == {"0001.png", "found-0001.png"}
    assert asked["found-0001.png"] == album[1].read_bytes()
    assert "search" not in tomllib.loads((office.place(folder_name("2026-117")) / "request.toml").read_text("utf-8"))
    late = enters.post(PAGE, data={**form, "do": "accept", "accept": ["2"]})
    assert "approved already" in late.text
    assert office.decision(folder_name("2026-117")) == made


def test_an_accepted_photo_that_is_gone_stops_the_approval_with_one_line(
    enters: TestClient, approves: TestClient, office: Office, album: list[Path]
) -> None:
    entered(enters)
    form = {"form": token_of(enters)}
    enters.post(PAGE, data={**form, "do": "review", "keep": ["0001.png"]})
    found(office, album)
    enters.post(PAGE, data={**form, "do": "accept", "accept": ["2"]})
    album[0].unlink()
    answer = approves.post(PAGE, data={"form": token_of(approves, PAGE), "do": "approve"})
    assert answer.status_code == 422
    assert "cannot be read" in answer.text
    assert office.decision(folder_name("2026-117")).approved_by is None
    assert enters.get(f"{PAGE}/found/2").status_code == 404


def test_photos_that_may_be_somebody_elses_are_shown_by_row_alone(
    enters: TestClient, office: Office, album: list[Path], site: Starlette
) -> None:
    entered(enters)
    found(office, album)
    assert enters.get(f"{PAGE}/found/2").headers["content-type"] == "image/jpeg"
    for row in ("4", "99", "-1", "x", "..%2fcase.json"):
        assert enters.get(f"{PAGE}/found/{row}").status_code == 404
    assert TestClient(site, base_url=BASE).get(f"{PAGE}/found/2").status_code == 401


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('search = "album"', "[search] is a table"),
        ("[search]\n", "photos"),
        ('[search]\nphotos = "nowhere"', "no folder"),
        ('[search]\nphotos = "public"\nfolder = "x"', "folder"),
    ],
)
def test_a_place_to_look_that_cannot_be_is_one_line(tmp_path: Path, settings: Path, text: str, said: str) -> None:
    before = settings.read_text(encoding="utf-8")
    top, table = (f"{text}\n", "") if "=" in text.splitlines()[0] else ("", f"\n{text}\n")
    settings.write_text(top + before + table, encoding="utf-8")
    assert said in refusal(lambda: Office(tmp_path / "office", settings))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be used"),
        (b"hello", "cannot be used"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "cannot be used"),
        (photo()[:60], "cannot be used"),
        (bomb(), "pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be used"),
    ],
)
def test_what_is_no_photo_is_one_line_and_nothing_is_kept(
    enters: TestClient, office: Office, content: bytes, said: str
) -> None:
    answer = entered(enters, [photo(), content])
    assert answer.status_code == 422
    assert said in answer.text
    assert office.queue() == []
    assert not list((office.folder / "cases").glob("*"))


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..\\x.png", "<img src=x onerror=alert(1)>.png", "a\x00b.png"])
def test_names_of_uploads_choose_no_path_and_are_shown_as_text(enters: TestClient, office: Office, name: str) -> None:
    assert entered(enters, name=name).status_code == 303
    kept = sorted(one.name for one in (office.place(folder_name("2026-117")) / "photos").iterdir())
    assert {Path(one).stem for one in kept} == {"0001", "0002"}
    assert {Path(one).suffix for one in kept} <= {".png", ".jpg"}
    answer = entered(enters, [b"x"], name=name, reference="2")
    assert "<img src=x" not in answer.text


@pytest.mark.parametrize("field", ["reference", "name", "received", "ground", "identity_check"])
def test_markup_in_any_field_is_text(enters: TestClient, office: Office, field: str) -> None:
    text = "\"><script>alert('x')</script>"
    answer = entered(enters, [b"no photo"], **{field: text})
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    assert office.queue() == []


def test_markup_in_a_reason_is_text(enters: TestClient, approves: TestClient, office: Office) -> None:
    entered(enters)
    answer = approves.post(
        PAGE, data={"form": token_of(approves, PAGE), "do": "answer", "status": "<b>x", "reason": "<script>1</script>"}
    )
    assert "<script>1" not in answer.text
    assert "<b>x" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        f"{PAGE}/photos/..%2fcase.json",
        f"{PAGE}/photos/case.json",
        f"{PAGE}/files/..%2f..%2f..%2ftokens.json",
        f"{PAGE}/files/request.toml",
        "/requests/..%2f..%2ftokens.json",
        "/static/..%2f..%2foffice.py",
        "/static/../security.py",
        "/tokens.json",
    ],
)
def test_no_path_leads_out_of_what_is_shown(enters: TestClient, path: str) -> None:
    entered(enters)
    assert enters.get(path).status_code == 404


def test_roles_keep_to_their_part(enters: TestClient, approves: TestClient, office: Office) -> None:
    assert approves.get("/requests/new").status_code == 403
    entered(enters)
    form = {"form": token_of(approves, PAGE), "do": "review", "keep": ["0001.png"]}
    assert approves.post(PAGE, data=form).status_code == 403
    assert not office.decision(folder_name("2026-117")).reviewed
    assert enters.post(PAGE, data={"form": token_of(enters), "do": "anything"}).status_code == 403


def test_photos_are_blurred_until_asked_for(enters: TestClient, office: Office) -> None:
    checks = Image.effect_noise((200, 200), 90).convert("RGB")
    content = io.BytesIO()
    checks.save(content, "PNG")
    entered(enters, [content.getvalue()])
    seen = {}
    for way in ("", "?faces=clear"):
        answer = enters.get(f"{PAGE}/photos/0001.png{way}")
        seen[way] = Image.open(io.BytesIO(answer.content))
        assert answer.headers["content-type"] == "image/jpeg"
    spread = [np.ptp(np.asarray(one.convert("L"), int)) for one in seen.values()]
    assert spread[0] < spread[1] / 3


async def empty(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_bodies_that_are_too_large_are_refused_announced_or_not() -> None:
    client = TestClient(Guard(empty, most=1000), base_url=BASE)
    assert client.post("/", content=b"x" * 1000).status_code == 200
    assert client.post("/", content=b"x" * 1001).status_code == 413
    assert client.post("/", content=(b"x" * 100 for _ in range(11))).status_code == 413
    assert client.post("/", headers={"content-length": "x"}, content=b"").status_code == 413


def test_too_many_photos_are_refused(enters: TestClient, office: Office) -> None:
    answer = entered(enters, [b"x"] * 301)
    assert answer.status_code in (400, 422)
    assert office.queue() == []


def test_the_same_reference_twice_is_refused(enters: TestClient, office: Office) -> None:
    entered(enters)
    assert "already" in entered(enters).text
    assert len(office.queue()) == 1


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_many_at_once_lose_nothing(site: Starlette, office: Office, count: int) -> None:
    def one(number: int) -> int:
        with signed_in(site, office, "enter") as client:
            status: int = entered(client, reference=f"r-{number}").status_code
            for _ in range(8):
                assert client.get("/").status_code == 200
            return status

    with ThreadPoolExecutor(count) as pool:
        assert set(pool.map(one, range(count))) == {303}
    assert len(office.queue()) == count
    assert office.ledger.verify().count == count


def test_everything_is_its_owners_alone_and_survives_a_restart(
    enters: TestClient, office: Office, settings: Path
) -> None:
    entered(enters)
    open_to_others = [one for one in office.folder.rglob("*") if stat.S_IMODE(one.stat().st_mode) & 0o077]
    assert not stat.S_IMODE(office.folder.stat().st_mode) & 0o077
    assert {one.name for one in open_to_others} <= {"photos", folder_name("2026-117")}, "folders inside a shut one"
    again = Office(office.folder, settings)
    assert [one.reference for one in again.queue()] == ["2026-117"]
    assert tokens_of(again.folder) == tokens_of(office.folder)


def test_the_ledgers_page_tells_of_a_change(enters: TestClient, office: Office) -> None:
    entered(enters)
    assert "Nothing was changed" in enters.get("/ledger").text
    office.ledger.head_path.write_text(f"9 {'0' * 64}", encoding="ascii")
    assert "Not as it was written" in enters.get("/ledger").text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = ", "not valid TOML"),
        ('model = "m"', "[controller]"),
        (SETTINGS, "model"),
        (f'model = "m"\npublic = "p"\nforget = "f"\n{SETTINGS}', "leave it out"),
        (f'model = "m"\npublic = "p"\n{SETTINGS}', "does not exist"),
        (f'model = "m"\npublic = "p"\narch = "os:system"\n{SETTINGS}', "arch"),
        (f'model = "m"\npublic = "p"\ntask = "eyes"\n{SETTINGS}', "recognisers alone"),
    ],
)
def test_settings_that_serve_nothing_are_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text, encoding="utf-8")
    assert said in refusal(lambda: served_tables(file))
