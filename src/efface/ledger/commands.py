"""`efface ledger`: its verbs on the command line. Heavy imports stand inside each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from efface.errors import InputError, one_line

if TYPE_CHECKING:
    from datetime import date

    from efface.ledger.cases import AnyEvent, Case

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Requests, by when they must be answered, and what was done; no name or photo stands in it.",
)

File = Annotated[Path, typer.Option("--ledger", help="The ledger's file; made on first use.", envvar="EFFACE_LEDGER")]
Which = Annotated[str, typer.Argument(metavar="REFERENCE", help="The number of the case; it names nobody.")]
Day = Annotated[str | None, typer.Option(help="When it happened, as 2026-11-27 (default: today).")]
Reason = Annotated[str | None, typer.Option(help="A line that names nobody.")]
Subjects = Annotated[
    list[str], typer.Option("--subject", help="Name of a person, several times; - reads a line for each.")
]
LEDGER = Path("ledger.db")


@app.command()
def add(
    reference: Which,
    subject: Subjects,
    ground: Annotated[str, typer.Option(help="Why the data must go, such as 'consent withdrawn'.")],
    identity_check: Annotated[str, typer.Option(help="account, document, in person, representative or other.")],
    received: Day = None,
    due: Annotated[str | None, typer.Option(help="By when it must be answered (default: 30 days later).")] = None,
    ledger: File = LEDGER,
) -> None:
    """Enter a request that came. Of names only an HMAC is kept, under a key of this request."""
    from datetime import timedelta

    from efface.ledger.cases import DAYS, Received
    from efface.ledger.ledger import Ledger

    day = day_of(received, "received")
    event = event_from(
        Received,
        case=reference,
        day=day,
        due=day_of(due, "due") if due else day + timedelta(DAYS),
        ground=ground,
        identity_check=identity_check,
        subjects=("0" * 64,),
    )
    opened = Ledger(ledger)
    case = opened.enter(event, names_of(subject))
    typer.echo(f"{case.reference}: due {case.due}; key of its subjects: {opened.key_of(reference)}")


@app.command("list")
def list_(ledger: File = LEDGER, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Every request and where it stands."""
    from efface.ledger.ledger import Ledger

    shown(list(Ledger(ledger).cases().values()), as_json)


@app.command()
def due(
    within: Annotated[int | None, typer.Option(help="Only what is due within so many days.")] = None,
    ledger: File = LEDGER,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """What is not answered yet, the most urgent first; exit code 3 where something is overdue."""
    from datetime import date

    from efface.ledger.ledger import Ledger

    today = date.today()
    waiting = [one for one in Ledger(ledger).cases().values() if not one.answered]
    waiting = sorted(waiting, key=lambda one: (one.due, one.reference))
    shown([one for one in waiting if within is None or one.days_left(today) <= within], as_json)
    if any(one.days_left(today) < 0 for one in waiting):
        raise typer.Exit(3)


@app.command()
def show(reference: Which, ledger: File = LEDGER) -> None:
    """All that happened to a request."""
    from efface.ledger.ledger import Ledger

    opened = Ledger(ledger)
    shown([opened.case(reference)], as_json=False)
    for entry, event in opened.events(reference):
        parts = event.model_dump(mode="json", exclude={"case", "kind", "day", "subjects"}, exclude_none=True)
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in parts.items())
        typer.echo(f"{event.day}  {event.kind:8}  {one_line(said)}  (entered {entry.written}, event {entry.number})")


@app.command()
def find(subject: Subjects, ledger: File = LEDGER) -> None:
    """References of the requests of a person, as long as their keys exist."""
    from efface.ledger.ledger import Ledger

    for reference in Ledger(ledger).of_person(names_of(subject)):
        typer.echo(reference)


@app.command()
def state(
    reference: Which,
    status: Annotated[str, typer.Argument(help="In the words of the Data Privacy Vocabulary: RequestAccepted, ...")],
    reason: Reason = None,
    day: Day = None,
    ledger: File = LEDGER,
) -> None:
    """Say where a request stands now: accepted, rejected (with the reason), fulfilled."""
    from efface.ledger.cases import Moved

    noted(ledger, event_from(Moved, case=reference, day=day_of(day, "day"), status=status, reason=reason))


@app.command()
def extend(
    reference: Which,
    until: Annotated[str, typer.Option(help="The later day, at most 60 days after the first.")],
    reason: Annotated[str, typer.Option(help="Why, as the person was told; a line that names nobody.")],
    day: Day = None,
    ledger: File = LEDGER,
) -> None:
    """Say that the person was told that it takes longer, and why."""
    from efface.ledger.cases import Extended

    later = day_of(until, "until")
    noted(ledger, event_from(Extended, case=reference, day=day_of(day, "day"), due=later, reason=reason))


@app.command()
def link(
    references: Annotated[list[str], typer.Argument(metavar="REFERENCE", help="One request, or all of a run.")],
    model: Annotated[Path | None, typer.Option(help="A model's file that knows them.")] = None,
    store: Annotated[str | None, typer.Option(help="A place where their data lie; it names nobody.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of `efface forget` or `efface audit`.")] = None,
    day: Day = None,
    ledger: File = LEDGER,
) -> None:
    """Put a model, a store or a finished run to one request or several."""
    from efface.ledger.ledger import Ledger
    from efface.ledger.links import linked

    events = [
        event
        for reference in references
        for event in linked(reference, day_of(day, "day"), model=model, store=store, run=run)
    ]
    if not events:
        raise InputError("nothing to put to the request: give --model, --store or --run")
    for case in Ledger(ledger).append_all(events):
        typer.echo(standing(case))


@app.command()
def drift(
    retraining_hours: Annotated[float | None, typer.Option(help="How long it takes to train in full.")] = None,
    ledger: File = LEDGER,
) -> None:
    """What all runs that were put to requests add up to since a model was trained in full; exit code 3: train again."""
    from efface.ledger.drift import drifts
    from efface.ledger.ledger import Ledger

    again = False
    for one in drifts(Ledger(ledger).cases().values()):
        first, last = one.steps[0], one.steps[-1]
        typer.echo(
            f"model {first.before[:12]}, changed {len(one.steps)} times for {one.people} people in "
            f"{one.seconds / 3600:.2f} h, now {last.after[:12]}"
        )
        for name, then, now in (
            ("false matches", first.false_match, last.false_match),
            ("false non-matches", first.false_non_match, last.false_non_match),
        ):
            typer.echo(f"  {name} {then[0]:.3%} [{then[1]:.3%}, {then[2]:.3%}] when trained, {now[3]:.3%} now")
        advice = one.advice(None if retraining_hours is None else 3600 * retraining_hours)
        typer.echo(f"  {advice}")
        again = again or advice.startswith("train again")
    if again:
        raise typer.Exit(3)


@app.command()
def close(reference: Which, day: Day = None, ledger: File = LEDGER) -> None:
    """Destroy the key of an answered request: whose it was can no longer be told."""
    from efface.ledger.cases import Closed
    from efface.ledger.ledger import Ledger

    noted(ledger, event_from(Closed, case=reference, day=day_of(day, "day")))
    Ledger(ledger).destroy_key(reference)


@app.command()
def verify(
    head: Annotated[str, typer.Option(help="What verify printed before, from wherever you wrote it down.")] = "",
    ledger: File = LEDGER,
) -> None:
    """Whether any event was changed, left out, put in or moved; prints the head, to be kept elsewhere."""
    from efface.ledger.ledger import Ledger, parse_head

    found = Ledger(ledger).verify(parse_head(head) if head else None)
    typer.echo(f"nothing was changed in {found.count:,} events; head: {found}")


def noted(path: Path, event: AnyEvent) -> None:
    """Append an event and say where its request then stands."""
    from efface.ledger.ledger import Ledger

    typer.echo(standing(Ledger(path).append(event)))


def standing(case: Case) -> str:
    """Where a request stands, as a line."""
    from datetime import date

    left = case.days_left(date.today())
    urgent = (
        "closed"
        if case.closed
        else "answered"
        if case.answered
        else f"{left} days left"
        if left >= 0
        else (f"OVERDUE by {-left} days")
    )
    return f"{case.reference}  {case.status}  received {case.received}  due {case.due}  {urgent}"


def shown(cases: list[Case], as_json: bool) -> None:
    """Requests as lines, or as JSON without HMACs."""
    if not as_json:
        for case in cases:
            typer.echo(standing(case))
        return
    import json
    from dataclasses import asdict

    plain = [asdict(case) | {"links": [one.model_dump(mode="json") for one in case.links]} for case in cases]
    typer.echo(json.dumps(plain, indent=2, default=str))


def day_of(text: str | None, name: str) -> date:
    """A day, today where none is given; InputError for what is none."""
    from datetime import date

    if text is None:
        return date.today()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{name} '{text}' is no day: write it as 2026-11-27") from None


def names_of(given: list[str]) -> list[str]:
    """Names as they are compared; - stands for lines of standard input, where no list of processes shows them."""
    import sys

    from efface.data.names import normal

    lines = [line for one in given for line in (sys.stdin.read().splitlines() if one == "-" else [one])]
    names = [name for name in map(normal, lines) if name]
    if not names:
        raise InputError("--subject: no name was given")
    return names


def event_from(kind: Any, **parts: Any) -> Any:
    """An event; InputError for parts that it cannot have."""
    from pydantic import ValidationError

    from efface.settings import first_complaint

    try:
        return kind(**parts)
    except ValidationError as error:
        raise InputError(first_complaint(error, kind)) from None
