"""The ledger: what can follow what, what is noticed, and what survives two writers and a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from typer.testing import CliRunner

from conftest import refusal
from efface.cli import app
from efface.errors import InputError
from efface.ledger.cases import (
    FOLLOWS,
    AnyEvent,
    Closed,
    Extended,
    Linked,
    ModelStep,
    Moved,
    Received,
    Status,
    cases_of,
)
from efface.ledger.drift import Drift, drifts
from efface.ledger.ledger import Head, Ledger, parse_head

DAY = date(2026, 11, 1)


def received(case: str, **more: Any) -> Received:
    usual: dict[str, Any] = {
        "day": DAY,
        "due": DAY + timedelta(30),
        "ground": "consent withdrawn",
        "identity_check": "account",
        "subjects": ("0" * 64,),
    }
    return Received(case=case, **usual | more)


def moved(case: str, status: Status, reason: str | None = None) -> Moved:
    return Moved(case=case, day=DAY, status=status, reason=reason)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db")


@pytest.fixture
def two(ledger: Ledger) -> Ledger:
    """A ledger of two requests, the first of them answered."""
    ledger.enter(received("a/1"), ["Ann Smith", "Zoë Núñez"])
    ledger.enter(received("a/2"), ["Bob"])
    ledger.append(moved("a/1", "RequestAccepted"))
    ledger.append(moved("a/1", "RequestFulfilled"))
    return ledger


def test_a_request_is_due_and_answered(two: Ledger) -> None:
    first, second = two.cases().values()
    assert (first.status, first.answered, second.answered) == ("RequestFulfilled", True, False)
    assert second.days_left(DAY + timedelta(31)) == -1
    assert two.verify().count == 4


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (received("a/2"), "already"),
        (received("a/3", due=DAY - timedelta(1)), "before it was received"),
        (moved("b", "RequestAccepted"), "no request b"),
        (moved("a/2", "RequestFulfilled"), "cannot follow"),
        (moved("a/1", "RequestAccepted"), "answered for good"),
        (moved("a/2", "RequestRejected"), "--reason"),
        (Closed(case="a/2", day=DAY), "no answer yet"),
        (Extended(case="a/2", day=DAY, due=DAY + timedelta(91), reason="many"), "at most"),
        (Extended(case="a/2", day=DAY, due=DAY + timedelta(30), reason="many"), "at most"),
        (Extended(case="a/2", day=DAY + timedelta(31), due=DAY + timedelta(60), reason="many"), "told before that"),
        (Extended(case="a/1", day=DAY, due=DAY + timedelta(60), reason="many"), "nothing is due"),
        (Moved(case="a/2", day=DAY - timedelta(1), status="RequestAccepted"), "before it was received"),
    ],
)
def test_what_cannot_follow_is_one_line_and_changes_nothing(two: Ledger, event: AnyEvent, said: str) -> None:
    before = two.head()
    assert said in refusal(lambda: two.append(event))
    assert two.verify() == before


def test_events_are_added_all_or_none(two: Ledger) -> None:
    before = two.head()
    good, bad = Linked(case="a/2", day=DAY, what="store", name="bucket"), moved("nobody", "RequestAccepted")
    assert "no request" in refusal(lambda: two.append_all([good, bad]))
    assert two.verify() == before


def test_no_name_is_in_any_file_and_whose_a_request_is_can_be_told_until_it_is_closed(two: Ledger) -> None:
    held = b"".join(path.read_bytes() for path in two.path.parent.rglob("*") if path.is_file())
    for name in (b"Ann", b"Smith", "Zoë".encode(), b"Bob"):
        assert name not in held
    assert two.of_person(["ann  SMITH"]) == ["a/1"]
    assert two.of_person(["Smith"]) == []
    two.append(Closed(case="a/1", day=DAY))
    two.destroy_key("a/1")
    assert two.of_person(["Ann Smith"]) == []
    assert two.of_person(["Bob"]) == ["a/2"]


@pytest.mark.parametrize(
    "line",
    ["asked Ann Smith, twice", "ANN SMITH's photos", "for zoë núñez", "for zoe\u0308 nu\u0301n\u0303ez", "Ann-Smith"],
)
def test_a_line_that_names_a_person_of_the_request_is_refused(two: Ledger, line: str) -> None:
    event = Linked(case="a/1", day=DAY, what="store", name=line)
    assert "names a person" in refusal(lambda: two.append(event))


def test_everything_is_its_owners_alone(two: Ledger) -> None:
    for path in [two.path, two.head_path, two.keys, *two.keys.iterdir()]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def tampered(ledger: Ledger, *statements: str) -> None:
    connection = sqlite3.connect(ledger.path)
    for statement in ("DROP TRIGGER no_update", "DROP TRIGGER no_delete", *statements):
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["UPDATE events SET body = replace(body, 'account', 'document') WHERE number = 1"], "event 1 is not what"),
        (["UPDATE events SET written = '2026-01-01T00:00:00+00:00' WHERE number = 2"], "event 2 is not what"),
        (["DELETE FROM events WHERE number = 2"], "event 2 is missing"),
        (["DELETE FROM events WHERE number = 4"], "cut off"),
        (["UPDATE events SET number = -number", "UPDATE events SET number = 5 + number"], "is not what was written"),
    ],
)
def test_any_change_is_noticed(two: Ledger, statements: list[str], said: str) -> None:
    if "number = -number" in statements[0]:
        two.path.with_name("x").touch()
        statements = [
            "CREATE TABLE other AS SELECT * FROM events",
            "DROP TABLE events",
            "CREATE TABLE events (number INTEGER PRIMARY KEY, written TEXT, body TEXT, sha256 TEXT)",
            "INSERT INTO events SELECT 5 - number, written, body, sha256 FROM other",
        ]
    tampered(two, *statements)
    assert said in refusal(two.verify)


def test_an_end_cut_off_everywhere_is_noticed_by_a_head_that_was_written_down(two: Ledger) -> None:
    known = two.verify()
    tampered(two, "DELETE FROM events WHERE number = 4")
    two.head_path.write_text(str(two.head()), encoding="ascii")
    assert two.verify().count == 3
    assert "the head that was given" in refusal(lambda: two.verify(parse_head(str(known))))


def test_a_head_that_is_missing_or_none_is_one_line(two: Ledger) -> None:
    assert "is no head" in refusal(lambda: parse_head("12 abc"))
    two.head_path.unlink()
    assert "is missing" in refusal(two.verify)


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(84)])
def test_what_is_no_ledger_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(content)
    refusal(Ledger(path).entries)


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos (a)")
    connection.commit()
    connection.close()
    assert "something else" in refusal(lambda: Ledger(path).append(received("a")))
    assert "no ledger" in refusal(Ledger(path).entries)


def step(before: str, after: str, rate: float, people: int = 1, seconds: float = 60) -> ModelStep:
    """A run after which `rate` of all pairs of two people match, of 1.0% [0.8%, 1.2%] before the first."""
    return ModelStep(
        before=before * 64,
        after=after * 64,
        people=people,
        false_match=(0.010, 0.008, 0.012, rate),
        false_non_match=(0.02, 0.01, 0.03, 0.02),
        seconds=seconds,
    )


def linked_runs(ledger: Ledger, *steps: ModelStep) -> list[Drift]:
    for place, one in enumerate(steps):
        ledger.append(received(f"r{place}"))
        ledger.append(Linked(case=f"r{place}", day=DAY, what="run", name="erasure", verdict="forgotten", step=one))
    return drifts(ledger.cases().values())


def test_runs_add_up_until_the_rates_leave_the_first_models_interval(ledger: Ledger) -> None:
    (one,) = linked_runs(ledger, step("b", "c", 0.0115, 2), step("a", "b", 0.011, 3))
    assert [each.before[0] for each in one.steps] == ["a", "b"], "by their models, whenever they were entered"
    assert (one.people, one.left) == (5, [])
    assert one.advice(None).startswith("no need")
    assert one.advice(119).startswith("train again"), "two runs of a minute"
    ledger.append(Linked(case="r0", day=DAY, what="run", name="again", step=step("c", "d", 0.0125)))
    (one,) = drifts(ledger.cases().values())
    assert one.advice(None) == "train again: the false match rate left the interval of the model that was trained"


def test_a_model_that_was_trained_again_begins_anew(ledger: Ledger) -> None:
    first, second = linked_runs(ledger, step("a", "b", 0.02), step("e", "f", 0.01))
    assert (first.left, second.left) == (["false match rate"], [])


def test_a_run_of_several_requests_counts_once(ledger: Ledger) -> None:
    (one,) = linked_runs(ledger, step("a", "b", 0.01, 2), step("a", "b", 0.01, 2))
    assert one.people == 2


class Requests(RuleBasedStateMachine):
    """Any events in any order: the ledger takes exactly those that can follow, and what it says afterwards is what a
    model in memory says."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger(Path(self.folder.name) / "ledger.db")
        self.taken: list[AnyEvent] = []

    def teardown(self) -> None:
        self.folder.cleanup()

    cases = st.sampled_from(["a", "b", "c"])

    @rule(case=cases, days=st.integers(-1, 40))
    def receive(self, case: str, days: int) -> None:
        self.attempt(received(case, due=DAY + timedelta(days)))

    @rule(case=cases, status=st.sampled_from(sorted(FOLLOWS)), reason=st.sampled_from([None, "because"]))
    def move(self, case: str, status: Status, reason: str | None) -> None:
        self.attempt(moved(case, status, reason))

    @rule(case=cases, days=st.integers(0, 100))
    def extend(self, case: str, days: int) -> None:
        self.attempt(Extended(case=case, day=DAY, due=DAY + timedelta(days), reason="many"))

    @rule(case=cases)
    def close(self, case: str) -> None:
        self.attempt(Closed(case=case, day=DAY))

    def attempt(self, event: AnyEvent) -> None:
        expected = said = ""
        try:
            cases_of([*self.taken, event])
        except InputError as error:
            expected = str(error)
        try:
            self.ledger.append(event)
            self.taken.append(event)
        except InputError as error:
            said = str(error)
        assert said == expected

    @invariant()
    def same(self) -> None:
        if self.taken:
            assert self.ledger.cases() == cases_of(self.taken)
            assert self.ledger.verify().count == len(self.taken)


def test_any_events_in_any_order() -> None:
    few = settings(
        max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(Requests, settings=few)


WRITER = """
import sys
from datetime import date, timedelta
from pathlib import Path
from efface.ledger.cases import Received
from efface.ledger.ledger import Ledger
day = date(2026, 11, 1)
for number in range(int(sys.argv[3])):
    Ledger(Path(sys.argv[1])).append(Received(
        case=f"{sys.argv[2]}/{number}", day=day, due=day + timedelta(30), ground="other law",
        identity_check="other", subjects=("0" * 64,)))
    print(number, flush=True)
"""


def writer(ledger: Ledger, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(ledger.path), name, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_write_at_once_and_nothing_is_lost(ledger: Ledger) -> None:
    writers = [writer(ledger, name, 25) for name in ("one", "two")]
    assert [one.wait() for one in writers] == [0, 0]
    for one in writers:
        assert one.stdout is not None
        one.stdout.close()
    assert ledger.verify().count == 50
    assert len(ledger.cases()) == 50


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_was_said_to_be_written_survives_a_kill(ledger: Ledger) -> None:
    for turn in range(3):
        running = writer(ledger, f"turn{turn}", 1000)
        assert running.stdout is not None
        for _ in range(5 + turn):
            running.stdout.readline()
        time.sleep(0.003 * turn)
        running.send_signal(signal.SIGKILL)
        running.wait()
        said = 5 + turn + len(running.stdout.readlines())
        running.stdout.close()
        mine = [one for one in ledger.cases() if one.startswith(f"turn{turn}/")]
        assert len(mine) >= said
        ledger.verify()
    ledger.append(received("after"))
    assert ledger.verify() == ledger.head()


@pytest.mark.slow
def test_a_soak_of_two_writers_and_a_reader(ledger: Ledger) -> None:
    ledger.append(received("first"))
    writers = [writer(ledger, name, 400) for name in ("one", "two")]
    while any(one.poll() is None for one in writers):
        ledger.verify()
    for one in writers:
        assert one.stdout is not None
        one.stdout.close()
    assert ledger.verify().count == 801


def test_the_verbs(tmp_path: Path) -> None:
    def told(*words: str, code: int = 0, typed: str = "") -> str:
        done = CliRunner().invoke(app, ["ledger", *words, "--ledger", str(tmp_path / "l.db")], input=typed)
        assert done.exit_code == code, done.output
        return done.stdout

    today = date.today()
    told(
        *("add", "2026-1", "--subject", "-", "--ground", "consent withdrawn", "--identity-check", "account"),
        *("--received", str(today - timedelta(40))),
        typed="Ann Smith\n",
    )
    assert "OVERDUE by 10 days" in told("due", code=3)
    told("link", "2026-1", "--store", "photo bucket")
    told("state", "2026-1", "RequestAccepted")
    told("state", "2026-1", "RequestFulfilled")
    assert told("due") == ""
    assert "photo bucket" in told("show", "2026-1")
    assert '"RequestFulfilled"' in told("list", "--json")
    assert told("find", "--subject", "ann smith") == "2026-1\n"
    told("close", "2026-1")
    assert told("find", "--subject", "ann smith") == ""
    head = told("verify").split("head: ")[1].strip()
    assert Head(5, head.split()[1]) == parse_head(head)
    told("verify", "--head", head)
