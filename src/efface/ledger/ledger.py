"""An append-only file of events, each chained to the one before by SHA-256: SQLite in WAL mode, for many processes.

`verify` notices any event that was changed, left out, put in or moved, and an end that was cut off as long as the head
file beside it, or a head that somebody wrote down, is not cut off as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from efface.data.names import words_of
from efface.erasure.record import subject_hmac
from efface.errors import InputError, refusing
from efface.files import create_private, read_text, write_bytes
from efface.ledger.cases import EVENT, AnyEvent, Case, Event, Received, after, cases_of
from efface.settings import first_complaint

APPLICATION = 0xEFFACE
"""SQLite's application_id of a ledger."""
VERSION = 1
WAIT = 60
"""Seconds to wait for another process."""
START = "0" * 64
"""What the first event follows."""
LONGEST_NAME = 8
"""Words of a name."""
TABLE = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY CHECK (number > 0),
    written TEXT NOT NULL,
    body TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE
) STRICT;
CREATE TRIGGER no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


@dataclass(frozen=True)
class Head:
    """Where a ledger ends: how many events it has, and the hash of the last one, which follows from all of them."""

    count: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.count} {self.sha256}"


@dataclass(frozen=True)
class Entry:
    """An event as the ledger holds it."""

    number: int
    written: str
    """When, by the clock of the machine that wrote it (ISO 8601, UTC)."""
    body: str
    sha256: str


class Ledger:
    """A ledger in a file, made on first use and readable by its owner alone.

    Beside it lie `NAME.head`, what its end was when this machine last wrote, and `NAME.keys/`, the keys of subjects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head_path = path.with_name(path.name + ".head")
        self.keys = path.with_name(path.name + ".keys")

    def enter(self, event: Received, names: Sequence[str]) -> Case:
        """Enter a request of these people; the HMACs of their names take the place of the event's subjects."""
        if self.path.exists() and self.path.stat().st_size and event.case in self.cases():
            raise InputError(f"request {event.case} is in the ledger already: give another reference")
        self.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        subjects = tuple(subject_hmac(compared(name), self.key_of(event.case)) for name in names)
        return self.append(event.model_copy(update={"subjects": subjects}))

    def append(self, event: AnyEvent) -> Case:
        """Add an event, and return where its request then stands.

        Raises InputError for one that cannot follow or that names a person, and leaves the ledger as it was.
        """
        return self.append_all([event])[-1]

    def append_all(self, events: Sequence[AnyEvent]) -> list[Case]:
        """Add events, all or none, and return where each request stands after its event."""
        create_private(self.path, b"")
        with self._lock(), self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._prepare(connection)
                entries = read_entries(connection)
                cases = cases_of(map(event_of, entries))
                last = Head(len(entries), entries[-1].sha256) if entries else Head(0, START)
                stand = []
                for event in events:
                    case = cases[event.case] = after(cases.get(event.case), event)
                    self._check_no_name(case, event)
                    stand.append(case)
                    number, written = last.count + 1, datetime.now(UTC).isoformat(timespec="seconds")
                    body = canonical(event)
                    last = Head(number, chained(last.sha256, number, written, body))
                    row = (number, written, body, last.sha256)
                    connection.execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            write_bytes(self.head_path, f"{last}\n".encode("ascii"), private=True)
        return stand

    def entries(self) -> list[Entry]:
        """Every event as it stands in the file; InputError where there is no ledger."""
        if not self.path.exists() or not self.path.stat().st_size:
            raise InputError(f"no ledger at {self.path}: enter a request with `efface ledger add`, or give --ledger")
        with self._connection() as connection:
            return read_entries(connection)

    def cases(self) -> dict[str, Case]:
        """Every request, by its reference."""
        return cases_of(map(event_of, self.entries()))

    def case(self, reference: str) -> Case:
        """One request; InputError where there is none of this reference."""
        known = self.cases()
        if reference not in known:
            raise InputError(f"no request {reference[:40]} in the ledger {self.path}")
        return known[reference]

    def events(self, reference: str) -> list[tuple[Entry, AnyEvent]]:
        """What happened to one request."""
        found = [(entry, event_of(entry)) for entry in self.entries()]
        return [(entry, event) for entry, event in found if event.case == reference]

    def head(self) -> Head:
        """Where it ends now."""
        entries = self.entries()
        return Head(len(entries), entries[-1].sha256) if entries else Head(0, START)

    def verify(self, known: Head | None = None) -> Head:
        """Where the ledger ends, once every event follows from the one before and none is missing.

        known: a head of before, from wherever it was written down. Raises InputError that names the first event which
        is not what was written.
        """
        previous, before = START, [START]
        cases: dict[str, Case] = {}
        beside = self._head_beside()  # before the events: another process may be adding some
        entries = self.entries()
        for place, entry in enumerate(entries, start=1):
            if entry.number != place:
                raise InputError(f"ledger {self.path}: event {place} is missing")
            if chained(previous, entry.number, entry.written, entry.body) != entry.sha256:
                raise InputError(f"ledger {self.path}: event {place} is not what was written")
            event = event_of(entry)
            cases[event.case] = after(cases.get(event.case), event)
            previous = entry.sha256
            before.append(previous)
        for head, whose in ((beside, f"{self.head_path} says"), (known, "the head that was given says")):
            if head is not None and (head.count >= len(before) or before[head.count] != head.sha256):
                said = f"{head.count:,} events that end in {head.sha256[:12]}"
                raise InputError(f"ledger {self.path} was cut off or written anew: {whose} {said}")
        return Head(len(entries), previous)

    def of_person(self, names: Sequence[str]) -> list[str]:
        """References of the requests of any of these people whose key still exists."""
        return [
            case.reference
            for case in self.cases().values()
            if self.key_of(case.reference).exists()
            and {subject_hmac(compared(name), self.key_of(case.reference)) for name in names} & {*case.subjects}
        ]

    def key_of(self, reference: str) -> Path:
        """Where the key of a request's subjects lies."""
        return self.keys / f"{hashlib.sha256(reference.encode()).hexdigest()[:24]}.key"

    def destroy_key(self, reference: str) -> None:
        """Overwrite and remove the key of a request: nobody can tell any more whose it was.

        A journalling file system, a flash disk or a backup may still hold it.
        """
        path = self.key_of(reference)
        with suppress(FileNotFoundError):
            with path.open("r+b") as file:
                file.write(bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()

    def _check_no_name(self, case: Case, event: AnyEvent) -> None:
        """Raise InputError where a line of an event has the name of one of the request's people in it."""
        key = self.key_of(case.reference)
        if not key.exists():
            return
        for field, line in event.model_dump(exclude={"case", "kind", "subjects"}).items():
            words = words_of(line) if isinstance(line, str) else []
            spans = {
                " ".join(words[i : i + length]) for i in range(len(words)) for length in range(1, LONGEST_NAME + 1)
            }
            if any(subject_hmac(span, key) in case.subjects for span in spans):
                raise InputError(f"{field} names a person of request {case.reference}: say it without the name")

    def _head_beside(self) -> Head | None:
        if not self.head_path.exists():
            return None if not self.path.exists() else _missing_head(self.head_path)
        return parse_head(read_text(self.head_path, "head of a ledger"))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = self.path.with_name(self.path.name + ".lock")
        try:
            with FileLock(lock, timeout=WAIT, mode=0o600):
                yield
        except Timeout:
            raise InputError(f"another process has been writing to {self.path} for {WAIT} s: try again") from None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with (
            refusing(f"ledger {self.path} cannot be read"),
            closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as connection,
        ):
            for setting in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF"):
                connection.execute(f"PRAGMA {setting}")
            yield connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            write_bytes(self.head_path, f"{Head(0, START)}\n".encode("ascii"), private=True)
            for statement in TABLE.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id={APPLICATION}")
            connection.execute(f"PRAGMA user_version={VERSION}")
        elif application != APPLICATION:
            raise InputError(f"{self.path} is a database of something else: give the path of a ledger, or a new one")


def compared(name: str) -> str:
    """A name as its HMAC is of it: its words without capitals and marks; InputError for a name without any."""
    words = words_of(name)
    if not 0 < len(words) <= LONGEST_NAME:
        raise InputError(f"a name has one to {LONGEST_NAME} words of letters or digits; given {len(words)}")
    return " ".join(words)


def read_entries(connection: sqlite3.Connection) -> list[Entry]:
    """All events, in order; none of a file that another process is just making a ledger of."""
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
        return []
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) != (APPLICATION, VERSION):
        raise InputError("it is no ledger of this version")
    rows = connection.execute("SELECT number, written, body, sha256 FROM events ORDER BY number").fetchall()
    return [Entry(*row) for row in rows]


def canonical(event: AnyEvent) -> str:
    """An event as one text: what its hash is of."""
    return json.dumps(event.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def chained(previous: str, number: int, written: str, body: str) -> str:
    """SHA-256 of an event and, through the hash before, of all before it."""
    parts = json.dumps([previous, number, written, body], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def event_of(entry: Entry) -> AnyEvent:
    """The event in an entry; InputError where it is none."""
    try:
        return EVENT.validate_json(entry.body)
    except ValidationError as error:
        raise InputError(f"event {entry.number} of the ledger is none: {first_complaint(error, Event)}") from None


def parse_head(text: str) -> Head:
    """A head as `str` writes it; InputError for any other text."""
    count, _, digest = text.strip().partition(" ")
    if not (count.isascii() and count.isdigit() and len(count) < 16 and len(digest) == 64):
        raise InputError(
            f"'{text[:80]}' is no head of a ledger: expected its number of events and 64 hexadecimal digits"
        )
    return Head(int(count), digest)


def _missing_head(path: Path) -> Head:
    raise InputError(f"{path} is missing: without it nobody can tell whether the ledger's end was cut off")
