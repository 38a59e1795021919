"""What was asked, done and measured when people were erased from a model: the predicate `erasure/v0.1`."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from efface.data.names import words_of
from efface.errors import InputError, refusing
from efface.files import create_private, read_bytes
from efface.results import Environment, VerdictWord

PREDICATE: Final = "urn:efface:erasure/v0.1"
"""The type of the predicate; its JSON Schema is `record_schema`."""

NO_PROOF_OF_ORIGIN = "does not prove which data these weights came from"
"""The limit that every record states."""

OVERCLAIM = re.compile(r"\b(anonymous|compliant)\b", re.IGNORECASE)
"""What no measurement of a model shows."""


def _no_overclaim(text: str) -> str:
    if found := OVERCLAIM.search(text):
        raise ValueError(f"'{found[0]}' is more than a measurement shows: say what was measured")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_no_overclaim)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]

Ground = Literal[
    "no longer needed",
    "consent withdrawn",
    "objection",
    "unlawful processing",
    "legal obligation",
    "collected from a child",
    "other law",
]
IdentityCheck = Literal["account", "document", "in person", "representative", "other"]
Status = Literal[
    "RequestAccepted", "RequestRequiresAction", "RequestActionDelayed", "RequestFulfilled", "RequestUnfulfilled"
]
Store = Literal[
    "photos",
    "crops",
    "caches",
    "templates",
    "gallery",
    "backups",
    "recipients",
    "downstream models",
    "block list",
]
State = Literal["deleted", "nothing found", "told", "expires", "to do", "kept"]
Goal = Literal["influence removed", "unrecognisable", "removed from the gallery"]
OutcomeWord = Literal["forgotten", "do not ship", "nothing to unlearn in the weights", "delete from gallery and block"]
NextStep = Literal["train again without them", "try other methods", "withdraw the model", "block in the application"]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class Controller(Part):
    """Who answers: an organisation."""

    name: Text
    """Its name, as the letter has it."""
    contact: Text
    """Whom to ask: an address of the office, such as privacy@example.org."""
    authority: Text | None = None
    """The supervisory authority where a complaint can be lodged, with its address."""


class Request(Part):
    """What was asked, by whom and when."""

    reference: Annotated[str, StringConstraints(pattern=r"^[\w./-]{1,40}$")]
    """The number of the case; it names nobody."""
    subjects: Annotated[list[Sha256], Field(min_length=1)]
    """HMAC-SHA256 of each person's name, under a key of this request alone; once that key is destroyed, nobody can tell
    whose they are."""
    received: date
    """The day it came."""
    due: date
    """The day by which it must be answered."""
    extended: date | None = None
    """The later day, where the request could not be answered in time and the person was told why."""
    answered: date
    """The day of this answer."""
    ground: Ground
    """Why the data must go: Article 17(1) a to f of the GDPR in their order, or another law."""
    identity_check: IdentityCheck
    """How it was made sure that the request came from the person."""
    status: Status
    """Where the request stands, in the words of the Data Privacy Vocabulary (`dpv:RequestStatus`)."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.received <= min(self.due, self.answered):
            raise ValueError("due and answered must not be before received")
        if (self.status == "RequestActionDelayed") != (self.extended is not None):
            raise ValueError("extended is the day of a request whose status is RequestActionDelayed, and of no other")
        return self


class Scope(Part):
    """What the run was given of the people."""

    people: Annotated[int, Field(ge=1)]
    """As many as subjects of the request."""
    photos: Count
    """Photos of them that were handed in or found."""
    held_back: Count
    """Of those, photos that no method saw and that everything was measured on."""


class Deletion(Part):
    """One place where data of the people lay, and what became of them."""

    store: Store
    """What lay there. A block list holds descriptions of faces, kept so that nobody is named by them."""
    where: Text
    """The system or folder; never the name of a person."""
    count: Count | None = None
    """How many things were there; of recipients, how many were told."""
    state: State
    """What became of it: deleted; looked for and not found; recipients told; expires by itself on a day; to do by a
    day; kept for a reason."""
    day: date | None = None
    """When it was done; when backups expire; by when it will be done."""
    why: Text | None = None
    """Why something is kept."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.day is None) != (self.state in ("nothing found", "kept")):
            raise ValueError(f"state '{self.state}' goes {'without a' if self.day else 'with a'} day")
        if (self.why is None) == (self.state == "kept"):
            raise ValueError("what is kept, and nothing else, has a why")
        if self.state == "told" and self.store not in ("recipients", "downstream models"):
            raise ValueError("only recipients and those who hold downstream models are told")
        return self


class ModelFile(Part):
    """A file of weights."""

    name: Text
    """The file's own name, without its folder."""
    sha256: Sha256
    """Of the whole file."""
    bytes: Count
    """Its size."""
    architecture: Text
    """The network, by a name of efface or as "module:factory"."""
    contract: dict[str, JsonValue] = {}
    """What the network expects: size, template, mean, standard deviation, colour order."""


class Estimate(Part):
    """A number with its 95% interval over people."""

    value: float
    """The estimate."""
    low: float | None = None
    """The interval's lower end; nothing where people are too few for an interval."""
    high: float | None = None
    """Its upper end."""


class Measurement(Part):
    """A number of the model before and of the model after."""

    name: Text
    """What is measured, and on whom."""
    before: Estimate | None = None
    """Of the model before."""
    after: Estimate | None = None
    """Of the model after."""
    about: Text
    """What it means, in a sentence."""
    smallest_effect: float | None = None
    """The smallest difference that so many photos and people would have shown in four of five repetitions."""


class GroupMeasurements(Part):
    """What was measured of one group of people."""

    group: Text
    """The group's name."""
    people: Count
    """People of it who were measured."""
    measurements: list[Measurement]
    """Of them alone."""


class Evidence(Part):
    """Whether the people were in the training of the model before."""

    conclusion: Literal["trained on", "no sign of training", "not enough data"]
    """What the measurements say."""
    about: Text
    """What was compared with what."""
    measurements: list[Measurement]
    """Their held-back photos against strangers'."""


class Tried(Part):
    """A candidate."""

    method: Text
    """Its name."""
    settings: dict[str, JsonValue] = {}
    """By name."""
    passed: bool
    """Whether it met all criteria."""
    why: Text
    """What decided."""


class Method(Part):
    """How the weights were changed, and what else was tried."""

    name: Text
    """Of what made the model after."""
    settings: dict[str, JsonValue] = {}
    """By name, defaults included."""
    tried: list[Tried] = []
    """All candidates, those that failed too."""


class Criterion(Part):
    """What had to hold."""

    measure: Text
    """What was to be measured."""
    asked: Text
    """What had to hold of it."""


class Criteria(Part):
    """What had to hold for the weights to be shipped, fixed before the run."""

    fixed: AwareDatetime
    """When, before the first model was made."""
    asked: list[Criterion]
    """All of them."""
    sha256: Sha256
    """Of `asked` as canonical JSON (RFC 8785)."""


class CriterionResult(Part):
    """What came of one criterion."""

    measure: Text
    """The criterion's."""
    verdict: VerdictWord
    """Whether it was met, by its whole interval."""


class Outcome(Part):
    """The answer."""

    verdict: OutcomeWord
    """Which of the four answers it is."""
    reasons: Annotated[list[Text], Field(min_length=1)]
    """Why, a sentence each."""
    results: list[CriterionResult] = []
    """What came of each criterion, in their order; empty where no weights were made."""
    re_enrol: bool | None = None
    """Whether the gallery must be enrolled again with the model after; nothing where there is none."""
    in_use_since: date | None = None
    """When the model after took the place of the one before; nothing where it has not."""
    next_step: NextStep | None = None
    """What is done instead, where the verdict is "do not ship" ..."""
    next_step_by: date | None = None
    """... and by when."""


class Cost(Part):
    """What the run took."""

    seconds: Annotated[float, Field(ge=0)]
    """From the first candidate to the verdict, by the clock on the wall."""
    cpu_seconds: Annotated[float, Field(ge=0)] | None = None
    """CPU seconds of all threads meanwhile."""
    faces: Count
    """Faces handed out, counted each time."""
    peak_memory_mib: Annotated[float, Field(ge=0)]
    """Highest memory in use above what was in use before."""


class Signer(Part):
    """The key that signed; that it stands here says nothing about whose it is."""

    keyid: Sha256
    """SHA-256 of the key as securesystemslib writes it down."""
    scheme: Literal["ed25519"] = "ed25519"
    """How it signs."""
    public: Sha256
    """The 32 bytes of the public key, in hexadecimal."""


class Record(Part):
    """A whole record."""

    controller: Controller
    """Who answers."""
    request: Request
    """What was asked."""
    scope: Scope
    """What the run was given."""
    deletions: list[Deletion]
    """Every place where data of the people lay."""
    model_before: ModelFile
    """The model in use when the request came."""
    model_after: ModelFile | None
    """What was made of it; nothing where the weights were left as they are."""
    exported: list[ModelFile] = []
    """The model after in other formats."""
    evidence: Evidence
    """Whether they were trained on at all."""
    goal: Goal
    """What was to be reached: a photo of them is answered like a stranger's; nobody can match them; they have no
    entry."""
    method: Method | None
    """Nothing where no method was run."""
    criteria: Criteria | None
    """Nothing where no weights were to be made."""
    outcome: Outcome
    """The answer."""
    measurements: list[Measurement]
    """Of the forgotten, of strangers and of everybody else."""
    groups: list[GroupMeasurements] = []
    """The same by group."""
    cost: Cost
    """What it took."""
    limits: list[Text] = [NO_PROOF_OF_ORIGIN]
    """What the record does not say; always that it does not prove which data these weights came from."""
    tool: Text
    """The name and version of what wrote it."""
    machine: Environment
    """What it ran on."""
    signer: Signer | None = None
    """Filled in when the record is signed."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        complaints = [complaint for wrong, complaint in self._rules() if wrong]
        if complaints:
            raise ValueError(complaints[0])
        return self

    @property
    def in_use(self) -> ModelFile:
        """The model that the verdict leaves in use."""
        return (
            self.model_after
            if self.model_after is not None and self.outcome.verdict == "forgotten"
            else self.model_before
        )

    def _rules(self) -> Iterable[tuple[bool, str]]:
        verdict, results = self.outcome.verdict, self.outcome.results
        before, after = self.model_before, self.model_after
        asked = [one.measure for one in self.criteria.asked] if self.criteria else []
        stores = {one.store for one in self.deletions}
        step, by, in_use = self.outcome.next_step, self.outcome.next_step_by, self.outcome.in_use_since
        yield NO_PROOF_OF_ORIGIN not in self.limits, f"limits must say: {NO_PROOF_OF_ORIGIN}"
        yield self.scope.people != len(self.request.subjects), "scope.people must be as many as request.subjects"
        yield self.scope.held_back > self.scope.photos, "scope.held_back must not be more than scope.photos"
        yield bool(results) and [one.measure for one in results] != asked, "outcome.results must be those of criteria"
        yield (verdict == "do not ship") != (step is not None), "next_step goes with 'do not ship'"
        yield (step is None) != (by is None), "next_step goes with next_step_by"
        yield in_use is not None and verdict != "forgotten", "in_use_since goes with 'forgotten'"
        yield bool(self.exported) and after is None, "exported files are of model_after, and there is none"
        if self.request.status == "RequestFulfilled":
            yield any(one.state == "to do" for one in self.deletions), "RequestFulfilled, and something is to do"
            yield verdict == "do not ship", "RequestFulfilled, and the verdict is 'do not ship'"
            yield verdict == "forgotten" and in_use is None, "RequestFulfilled, and model_after is not in use"
        if verdict == "forgotten":
            yield (
                after is None or self.method is None or not asked,
                "'forgotten' needs model_after, method and criteria",
            )
            yield after is not None and after.sha256 == before.sha256, "'forgotten', and model_after is model_before"
            all_pass = [one.verdict for one in results] == ["pass"] * len(asked)
            yield not all_pass, "'forgotten', and not every criterion passed"
        elif verdict != "do not ship":
            yield after is not None, f"'{verdict}' leaves the weights as they are: model_after must be nothing"
        if verdict == "nothing to unlearn in the weights":
            no_sign = self.evidence.conclusion == "no sign of training"
            yield not no_sign, f"nothing to unlearn, and the evidence says '{self.evidence.conclusion}'"
        if verdict == "delete from gallery and block":
            yield not {"gallery", "block list"} <= stores, "deletions must tell of the gallery and of the block list"


def record_schema() -> dict[str, Any]:
    """JSON Schema of the predicate."""
    schema = Record.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": PREDICATE} | schema


def fix_criteria(asked: list[Criterion], now: AwareDatetime) -> Criteria:
    """Criteria as they stand now, with their digest; to be called before the run."""
    return Criteria(fixed=now, asked=asked, sha256=criteria_sha256(asked))


def criteria_sha256(asked: list[Criterion]) -> str:
    """SHA-256 of criteria as canonical JSON."""
    return hashlib.sha256(canonical_json([one.model_dump(mode="json") for one in asked])).hexdigest()


def canonical_json(plain: Any) -> bytes:
    """Plain data as canonical JSON (RFC 8785); InputError where it has none, or where efface[record] is missing."""
    try:
        import rfc8785
    except ImportError:
        raise InputError("records need two more packages: pip install 'efface[record]'") from None
    with refusing("the record cannot be written as canonical JSON"):
        return rfc8785.dumps(plain)


def subject_hmac(name: str, key: Path) -> str:
    """HMAC-SHA256 of a person's name under the key in a file, drawn on first use and readable by its owner alone.

    One file for each request, outside of what is handed on: once it is deleted nobody can tell whose the HMAC is.
    """
    create_private(key, secrets.token_bytes(32))
    secret = read_bytes(key, "subject key")
    if len(secret) != 32:
        raise InputError(f"subject key {key} has {len(secret)} bytes: expected 32; give the path of a new file")
    return hmac.new(secret, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def check_no_name(record: Record, names: Collection[str]) -> None:
    """Raise InputError where one of these names of people stands in what a record says of files and places; capitals,
    accents and punctuation aside, and names without a letter passed over."""
    said = {
        "model_before.name": record.model_before.name,
        "model_after.name": record.model_after.name if record.model_after else "",
        "request.reference": record.request.reference,
        **{f"deletions[{place}].where": one.where for place, one in enumerate(record.deletions)},
        **{f"deletions[{place}].why": one.why or "" for place, one in enumerate(record.deletions)},
    }
    known = {words for name in names if any(map(str.isalpha, words := _words(name)))}
    for field, text in said.items():
        if any(words in _words(text) for words in known):
            raise InputError(f"the record's {field} names a person: describe the place otherwise")


def _words(text: str) -> str:
    return f" {' '.join(words_of(text, accents=False))} "
