"""What can happen to a request, as events, and where it stands after them.

States are those of the Data Privacy Vocabulary (https://w3id.org/dpv, `dpv:RequestStatus`); days follow Article 12(3)
of the GDPR, with 30 days for its month.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from efface.erasure.record import Ground, IdentityCheck, Sha256
from efface.errors import InputError, nearest

DAYS = 30
"""From receipt to answer ..."""
MOST_EXTENSION = 60
"""... and by how many more it may be extended, in all."""

Status = Literal[
    "RequestAcknowledged",
    "RequestRequiresAction",
    "RequestRequiredActionPerformed",
    "RequestAccepted",
    "RequestRejected",
    "RequestActionDelayed",
    "RequestFulfilled",
    "RequestUnfulfilled",
]
FOLLOWS: Mapping[Status, tuple[Status, ...]] = {
    "RequestAcknowledged": ("RequestRequiresAction", "RequestAccepted", "RequestRejected"),
    "RequestRequiresAction": ("RequestRequiredActionPerformed", "RequestRejected"),
    "RequestRequiredActionPerformed": ("RequestRequiresAction", "RequestAccepted", "RequestRejected"),
    "RequestAccepted": ("RequestRequiresAction", "RequestFulfilled", "RequestUnfulfilled", "RequestRejected"),
    "RequestRejected": ("RequestAccepted",),
    "RequestActionDelayed": (
        "RequestRequiresAction",
        "RequestAccepted",
        "RequestFulfilled",
        "RequestUnfulfilled",
        "RequestRejected",
    ),
    "RequestUnfulfilled": ("RequestAccepted", "RequestFulfilled"),
    "RequestFulfilled": (),
}
"""What may come after each state. `extend` leads to RequestActionDelayed; a request that was fulfilled is not opened
again: new photos are a new request."""
ANSWERED: tuple[Status, ...] = ("RequestFulfilled", "RequestRejected", "RequestUnfulfilled")
"""States in which the person has an answer, and the request can be closed."""
WITH_REASON: tuple[Status, ...] = ("RequestRejected", "RequestUnfulfilled", "RequestRequiresAction")


def _shown(text: str) -> str:
    if any(unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp") for one in text):
        raise ValueError("give one line of text")
    return text


Line = Annotated[str, StringConstraints(min_length=1, max_length=300), AfterValidator(_shown)]
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,39}$")]


class Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    case: Reference
    day: date
    """When it happened; the ledger's own clock stands beside."""


class Received(Event):
    """A request came."""

    kind: Literal["received"] = "received"
    subjects: Annotated[tuple[Sha256, ...], Field(min_length=1, max_length=1000)]
    """HMAC-SHA256 of each person's name, under the key of this request."""
    due: date
    ground: Ground
    identity_check: IdentityCheck


class Extended(Event):
    """The person was told that it will take longer, and why."""

    kind: Literal["extended"] = "extended"
    due: date
    reason: Line


class Moved(Event):
    """The request went into another state."""

    kind: Literal["moved"] = "moved"
    status: Status
    reason: Line | None = None


class ModelStep(BaseModel):
    """From one model to the next, and what it did to everybody else at the threshold in use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    before: Sha256
    """Of the file of weights that a run began with ..."""
    after: Sha256
    """... and of the one it made."""
    people: Annotated[int, Field(ge=1)]
    false_match: tuple[float, float, float, float]
    """Rate before, the ends of its 95% interval, and the rate after."""
    false_non_match: tuple[float, float, float, float]
    seconds: Annotated[float, Field(ge=0)]


class Linked(Event):
    """A model, a place where data lie, or the folder of a run was put to the request."""

    kind: Literal["linked"] = "linked"
    what: Literal["model", "store", "run"]
    name: Line
    """Of the file or place; it names nobody."""
    sha256: Sha256 | None = None
    """Of a model's file, or of a run's outcome.json."""
    verdict: Line | None = None
    """Of a run."""
    step: ModelStep | None = None
    """Of a run that made a new model."""


class Closed(Event):
    """The key of the subjects was destroyed: whose the request was can no longer be told."""

    kind: Literal["closed"] = "closed"


AnyEvent = Annotated[Received | Extended | Moved | Linked | Closed, Field(discriminator="kind")]
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


@dataclass(frozen=True)
class Case:
    """Where a request stands."""

    reference: str
    received: date
    due: date
    first_due: date
    subjects: tuple[str, ...]
    ground: str
    identity_check: str
    status: Status = "RequestAcknowledged"
    reason: str = ""
    closed: bool = False
    links: tuple[Linked, ...] = field(default=())

    @property
    def answered(self) -> bool:
        """Whether nothing is due any more."""
        return self.status in ANSWERED

    def days_left(self, today: date) -> int:
        """Until it is due; below 0: overdue."""
        return (self.due - today).days


def after(case: Case | None, event: AnyEvent) -> Case:
    """Where a request stands after one more event; None: nothing is known of it yet.

    Raises InputError for an event that cannot follow.
    """
    if isinstance(event, Received):
        if case is not None:
            raise InputError(f"request {event.case} is in the ledger already: give another reference")
        if event.due < event.day:
            raise InputError(f"request {event.case}: due {event.due} is before it was received, {event.day}")
        return Case(event.case, event.day, event.due, event.due, event.subjects, event.ground, event.identity_check)
    if case is None:
        raise InputError(f"no request {event.case} in the ledger: enter it with `efface ledger add`")
    if case.closed:
        raise InputError(f"request {case.reference} is closed: what comes after it is a new request")
    if event.day < case.received:
        raise InputError(f"request {case.reference}: {event.day} is before it was received, {case.received}")
    match event:
        case Extended():
            return extended(case, event)
        case Moved():
            return moved(case, event)
        case Linked():
            return replace(case, links=(*case.links, event))
        case Closed():
            if not case.answered:
                raise InputError(f"request {case.reference} has no answer yet ({case.status}): it cannot be closed")
            return replace(case, closed=True)


def extended(case: Case, event: Extended) -> Case:
    """A request that will take longer."""
    latest = case.first_due + timedelta(MOST_EXTENSION)
    if case.answered:
        raise InputError(f"request {case.reference} is answered ({case.status}): nothing is due")
    if not case.due < event.due <= latest:
        raise InputError(
            f"request {case.reference} is due {case.due}: it can be extended to {latest} at most, not {event.due}"
        )
    if event.day > case.due:
        raise InputError(
            f"request {case.reference} was due {case.due}: an extension is told before that, not on {event.day}"
        )
    return replace(case, due=event.due, status="RequestActionDelayed", reason=event.reason)


def moved(case: Case, event: Moved) -> Case:
    """A request in another state."""
    if event.status not in FOLLOWS[case.status]:
        possible = FOLLOWS[case.status]
        raise InputError(
            f"request {case.reference} is at {case.status}, which {event.status} cannot follow"
            f"{nearest(event.status, possible) if possible else '; it is answered for good'}"
        )
    if event.status in WITH_REASON and event.reason is None:
        raise InputError(f"{event.status} needs a reason: give --reason")
    return replace(case, status=event.status, reason=event.reason or "")


def cases_of(events: Iterable[AnyEvent]) -> dict[str, Case]:
    """Every request by its reference, in the order they came."""
    cases: dict[str, Case] = {}
    for event in events:
        cases[event.case] = after(cases.get(event.case), event)
    return cases
