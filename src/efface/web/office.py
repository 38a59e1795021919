"""The folder behind the page: a ledger, and for each request its photos, what a person decided, and its run."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from efface.data.photos import SUFFIXES, Unusable, load, size_of
from efface.erasure.record import OutcomeWord
from efface.erasure.request import PATHS, erasure_request
from efface.erasure.result import OUTCOME, ErasureResult, read_result
from efface.errors import InputError, refusing
from efface.files import read_json, read_text, toml_of, write_private
from efface.ledger.cases import Case, Linked, Moved, Received
from efface.ledger.ledger import Ledger
from efface.ledger.links import linked
from efface.web.search import Candidate, candidates, chosen, searched

MOST_PHOTOS = 300
"""Of a request."""
MOST_PHOTO_BYTES = 40 * 2**20
MOST_PHOTO_PIXELS = 50_000_000
THUMBNAIL = 240
DOWNLOADS: Mapping[str, str] = {
    "report.html": "text/html",
    "letter.html": "text/html",
    "letter.md": "text/markdown",
    "record.json": "application/json",
    "test-result.json": "application/json",
    "outcome.json": "application/json",
}
"""What may be fetched of a finished run."""


class Decision(BaseModel):
    """What people decided about a request, beside what the ledger says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str
    person: str
    """Stands for the person in folders and in the record: the beginning of the ledger's HMAC."""
    entered_by: str
    reviewed: bool = False
    rejected: tuple[str, ...] = ()
    """Photos that are not of the person."""
    found: tuple[str, ...] = ()
    """Photos of the person among those that the organisation keeps, which were accepted."""
    approved_by: str | None = None


Step = Literal["search", "run"]


@dataclass(frozen=True)
class Work:
    """A process at work for a request."""

    number: str
    step: Step
    process: subprocess.Popen[bytes]

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None


@dataclass(frozen=True)
class Upload:
    """A photo as it came."""

    name: str
    """What the sender called it: shown back in a complaint, never a path."""
    file: IO[bytes]
    size: int


class Office:
    """Requests in a folder, served with the settings of one file.

    settings: a request file of `efface forget` without `forget` and `[request]`: model, contract, people who stay,
    public people, threshold, budget, `[controller]`; and `[search]`, where each person is looked for.
    """

    def __init__(self, folder: Path, settings: Path, arch: str | None = None, threads: int = 2) -> None:
        self.folder, self.settings, self.arch, self.threads = folder, settings, arch, threads
        self.tables = served_tables(settings)
        self.search = searched(self.tables, settings)
        for one in (folder, folder / "cases"):
            one.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ledger = Ledger(folder / "ledger.db")
        self._work: Work | None = None
        self._lock = threading.Lock()

    # Requests

    def queue(self) -> list[Case]:
        """All requests: those without an answer first, the most urgent on top."""
        return sorted(self._cases().values(), key=lambda one: (one.answered, one.due, one.reference))

    def case(self, number: str) -> Case | None:
        """A request by the name of its folder."""
        return next((one for one in self._cases().values() if folder_name(one.reference) == number), None)

    def enter(self, event: Received, name: str, uploads: Sequence[Upload], entered_by: str) -> str:
        """Enter a request of one person with their photos, and return the name of its folder.

        Raises InputError, and keeps nothing, for a photo that cannot be used.
        """
        if not 0 < len(uploads) <= MOST_PHOTOS:
            raise InputError(f"{len(uploads)} photos were given: give 1 to {MOST_PHOTOS}")
        number = folder_name(event.case)
        place, new = self.folder / "cases" / number, self.folder / "cases" / f"{number}.new"
        if event.case in self._cases() or place.exists():
            raise InputError(f"request {event.case} is there already: give another reference")
        shutil.rmtree(new, ignore_errors=True)
        (new / "photos").mkdir(parents=True, mode=0o700)
        try:
            for turn, upload in enumerate(uploads, start=1):
                keep_photo(upload, new / "photos" / f"{turn:04d}")
            case = self.ledger.enter(event, [name])
            made = Decision(reference=event.case, person=case.subjects[0][:16], entered_by=entered_by)
            write_private(new / "case.json", made.model_dump_json().encode())
            new.rename(place)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        return number

    def decision(self, number: str) -> Decision:
        """What was decided about a request."""
        try:
            return Decision.model_validate(read_json(self.place(number) / "case.json", "case"))
        except ValidationError:
            raise InputError(f"{self.place(number) / 'case.json'} is not what was written") from None

    def photos(self, number: str) -> list[str]:
        """Names of a request's photos."""
        return sorted(one.name for one in (self.place(number) / "photos").glob("*"))

    def review(self, number: str, kept: Sequence[str]) -> None:
        """Keep these photos as the person's; all others are put aside."""
        before = self.decision(number)
        if before.approved_by is not None:
            raise InputError("the run was approved already: its photos stay as they are")
        if not (own := [one for one in self.photos(number) if one in {*kept}]):
            raise InputError("no photo is left: keep those that show the person")
        rejected = tuple(one for one in self.photos(number) if one not in own)
        self._decide(number, before.model_copy(update={"reviewed": True, "rejected": rejected}))

    def thumbnail(self, number: str, photo: str, *, clear: bool) -> bytes:
        """A photo small, as JPEG; blurred beyond recognition unless `clear`."""
        return small(load(self.place(number) / "photos" / photo, upright=True), clear=clear)

    # Photos of the person among those that the organisation keeps

    def look_for_more(self, number: str) -> None:
        """Start a search for more photos of the person; what an earlier one found is dropped."""
        made = self.decision(number)
        if self.search is None:
            raise InputError("the settings say nowhere to look: give [search] with photos")
        if not made.reviewed or made.approved_by is not None:
            raise InputError("more photos are looked for after the review and before the run")
        with self._lock:
            self._only_one()
            asked, out = self._keep(number, made), self.place(number) / "found"
            shutil.rmtree(out, ignore_errors=True)
            self._decide(number, made.model_copy(update={"found": ()}))
            self._start(number, "search", self.search.command(self.tables, self.arch, asked, out))

    def candidates(self, number: str) -> list[Candidate]:
        """Photos that may show the person, best first."""
        return [] if self.working(number) == "search" else candidates(self.place(number) / "found")

    def accept(self, number: str, rows: Sequence[str]) -> None:
        """Take these candidates, named by their rows, for photos of the person, and no others."""
        before = self.decision(number)
        if before.approved_by is not None:
            raise InputError("the run was approved already: its photos stay as they are")
        self._decide(number, before.model_copy(update={"found": chosen(self.candidates(number), rows)}))

    def found_thumbnail(self, number: str, row: int, *, clear: bool) -> bytes | None:
        """A candidate small, as JPEG; None where there is none of this row."""
        path = next((one.path for one in self.candidates(number) if one.row == row), None)
        try:
            return None if path is None else small(load(Path(path), upright=True), clear=clear)
        except Unusable:
            return None

    # Runs

    def approve(self, number: str, approved_by: str) -> None:
        """Start the run; whoever entered the request cannot approve it."""
        before, case = self.decision(number), self.case(number)
        assert case is not None
        if before.entered_by == approved_by:
            raise InputError("whoever entered a request cannot approve it: a second person does")
        if not before.reviewed:
            raise InputError("look at the photos first, and keep those that show the person")
        with self._lock:
            self._only_one()
            self._prepare(number, case)
            if case.status != "RequestAccepted":
                today = date.today()
                self.ledger.append(Moved(case=case.reference, day=today, status="RequestAccepted"))
            self._decide(number, before.model_copy(update={"approved_by": approved_by}))
            self._start(number, "run", self._forget_command(number))

    def working(self, number: str) -> Step | None:
        """What is at work for a request: a search, a run or nothing."""
        work = self._work
        return work.step if work is not None and work.number == number and work.alive else None

    def stop(self) -> None:
        """End what is at work; started again it goes on from there."""
        if self._work is not None and self._work.alive:
            self._work.process.terminate()
            self._work.process.wait()

    def log(self, number: str, step: Step) -> list[str]:
        """What a search or a run said."""
        path = self.place(number) / f"{step}.log"
        return read_text(path, "log").splitlines()[-400:] if path.exists() else []

    def result(self, number: str) -> ErasureResult | None:
        """What came of the run; None before it has ended well."""
        out = self.place(number) / "erasure"
        return read_result(out) if (out / OUTCOME).exists() and not self.working(number) else None

    def download(self, number: str, name: str) -> Path | None:
        """A file of a finished run that may be fetched."""
        path = self.place(number) / "erasure" / name
        return path if name in DOWNLOADS and path.is_file() else None

    def answer(self, number: str, status: str, reason: str) -> Case:
        """Note how the request was answered, with the run that the answer rests on."""
        case, result = self.case(number), self.result(number)
        assert case is not None
        if result is None:
            raise InputError("there is no verdict yet")
        fitting = answers_to(result.outcome.verdict)
        if status not in fitting:
            raise InputError(
                f"after “{result.outcome.verdict}” the answer is {' or '.join(fitting)}, not {status[:60]}"
            )
        today, events = date.today(), list[Linked | Moved]()
        if not any(one.what == "run" for one in case.links):
            events += linked(case.reference, today, run=self.place(number) / "erasure")
        events.append(Moved(case=case.reference, day=today, status=status, reason=reason or None))
        return self.ledger.append_all(events)[-1]

    # Files

    def place(self, number: str) -> Path:
        """The folder of a request."""
        return self.folder / "cases" / number

    def _cases(self) -> dict[str, Case]:
        path = self.ledger.path
        return self.ledger.cases() if path.exists() and path.stat().st_size else {}

    def _decide(self, number: str, made: Decision) -> None:
        write_private(self.place(number) / "case.json", made.model_dump_json().encode())

    def _keep(self, number: str, made: Decision) -> Path:
        """A folder of the photos that show the person, uploads and accepted candidates."""
        place = self.place(number)
        asked = place / "asked" / made.person
        shutil.rmtree(place / "asked", ignore_errors=True)
        asked.mkdir(parents=True, mode=0o700)
        for one in self.photos(number):
            if one not in made.rejected:
                shutil.copyfile(place / "photos" / one, asked / one)
        for turn, found in enumerate(made.found, start=1):
            try:
                shutil.copyfile(found, asked / f"found-{turn:04d}{Path(found).suffix.lower()}")
            except OSError as error:
                raise InputError(
                    f"{found} cannot be read ({error.strerror}): look for more photos again, or accept it no longer"
                ) from None
        return asked

    def _prepare(self, number: str, case: Case) -> None:
        """The request file, and the photos of the person alone."""
        asked = self._keep(number, self.decision(number))
        request = {
            "reference": case.reference,
            "received": case.received,
            "due": case.first_due,
            "ground": case.ground,
            "identity_check": case.identity_check,
        }
        if case.due != case.first_due:
            request["extended"] = case.due
        tables = self.tables | {"forget": str(asked.parent.resolve()), "request": request}
        write_private(self.place(number) / "request.toml", toml_of(tables).encode())

    def _forget_command(self, number: str) -> list[str]:
        place = self.place(number)
        command = [sys.executable, "-m", "efface", "forget", *(["--arch", self.arch] if self.arch else [])]
        return [*command, "--out", str(place / "erasure"), "--threads", str(self.threads), str(place / "request.toml")]

    def _only_one(self) -> None:
        if self._work is not None and self._work.alive:
            other = self.decision(self._work.number).reference
            raise InputError(f"a {self._work.step} of request {other} is at work: wait for it")

    def _start(self, number: str, step: Step, command: Sequence[str]) -> None:
        path = write_private(self.place(number) / f"{step}.log", b"")
        with path.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        self._work = Work(number, step, process)


def folder_name(reference: str) -> str:
    """The name of a request's folder and of its page."""
    return hashlib.sha256(reference.encode()).hexdigest()[:16]


def answers_to(verdict: OutcomeWord) -> list[str]:
    """What may be answered after a verdict."""
    return ["RequestUnfulfilled"] if verdict == "do not ship" else ["RequestFulfilled", "RequestUnfulfilled"]


def keep_photo(upload: Upload, place: Path) -> None:
    """Write a photo under a name of ours; InputError for what is no photo."""
    shown = re.sub(r"[^\w. -]", "_", upload.name)[-60:] or "a file"
    if upload.size > MOST_PHOTO_BYTES:
        raise InputError(f"{shown} has {upload.size:,} bytes: at most {MOST_PHOTO_BYTES:,} are taken")
    ending = Path(shown).suffix.lower()
    path = write_private(place.with_suffix(ending if ending in SUFFIXES else ".jpg"), upload.file.read())
    try:
        width, height = size_of(path)
        if width * height > MOST_PHOTO_PIXELS:
            raise InputError(f"{shown} has {width:,} x {height:,} pixels: at most {MOST_PHOTO_PIXELS:,} are taken")
        load(path, upright=True)
    except Unusable as error:
        raise InputError(f"{shown} cannot be used ({error.reason}): leave it out") from None


def small(image: Image.Image, *, clear: bool) -> bytes:
    """A picture of at most `THUMBNAIL` pixels a side, as JPEG; unless clear, so coarse that nobody can be told."""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    if not clear:
        size = image.size
        image = image.resize((max(1, size[0] // 40), max(1, size[1] // 40))).resize(size, Image.Resampling.BICUBIC)
    content = io.BytesIO()
    image.convert("RGB").save(content, "JPEG", quality=85)
    return content.getvalue()


def served_tables(file: Path) -> dict[str, Any]:
    """What a settings file says, with its paths made whole; checked as a request would be.

    Raises InputError for a file that no request could be served with.
    """
    with refusing(f"settings {file} are not valid TOML"):
        tables = tomllib.loads(read_text(file, "settings"))
    if stray := [name for name in ("forget", "request") if name in tables]:
        raise InputError(f"settings {file}: {stray[0]} is different in each request: leave it out")
    if "arch" in tables or "second_arch" in tables:
        raise InputError(f"settings {file}: a file does not choose code: if you trust it, give --arch to efface serve")
    if "task" in tables:
        raise InputError(
            f"settings {file}: the page serves recognisers alone, since photos uploaded there have no labels: leave "
            "task out, and bring requests of other models to efface forget"
        )
    if "controller" not in tables:
        raise InputError(f"settings {file}: who answers? give [controller] with name and contact")
    for name in PATHS:
        if isinstance(tables.get(name), str):
            tables[name] = str((file.parent / tables[name]).resolve())
    plain = {name: value for name, value in tables.items() if not isinstance(value, dict | list) and name != "search"}
    erasure_request(plain | {"forget": "."})
    for name in PATHS:
        if name in tables and not Path(tables[name]).exists():
            raise InputError(f"settings {file}: {name} {tables[name]} does not exist")
    return tables
