"""What a run leaves for machines: `results.json`, its schema, and how it is written and read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from efface.errors import InputError
from efface.files import read_json, write_text
from efface.measure_key import MeasureKey
from efface.settings import Precision

SCHEMA = "efface.results/2"

ORIGINAL, REFERENCE, SECOND_REFERENCE, NONMEMBERS, CONSTANT = (
    "original",
    "reference",
    "second reference",
    "non-members",
    "constant prediction",
)
RESERVED = (ORIGINAL, REFERENCE, SECOND_REFERENCE, NONMEMBERS, CONSTANT)
"""Rows that every report has of its own. The last three are controls: another retrained model (the noise floor),
strangers in the place of the forgotten, and the best prediction that does not look at the picture."""
LEAST_HEADROOM = 3.0
"""Standard errors between the original and retrained models, below which a measure cannot separate methods."""
RENAMED_ROWS = {
    "reference, other seed": SECOND_REFERENCE,
    "nobody was trained on these": NONMEMBERS,
    "one answer for everybody": CONSTANT,
}
"""Rows of `efface.results/1` and what they are called now."""


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MeasureRecord(Part):
    """A number with its 95% interval over people, where it should be, and what it means."""

    value: float | None
    low: float | None
    high: float | None
    aim: Literal["low", "high", "as retrained", "none"]
    about: str
    people: int | None = None
    """How many people it is of, where they are too few for an interval."""

    @property
    def span(self) -> tuple[float, float, float] | None:
        """(value, low, high) where all are known."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return self.value, self.low, self.high


class KeyParts(Part):
    """The parts of a measure's name."""

    family: str
    metric: str = ""
    split: str = ""
    group: str = ""
    against: str = ""
    level: str = ""


class Cost(Part):
    """What one row cost, measured around the method's call alone; a stage's bill includes the stages before it."""

    seconds: float
    """By the clock on the wall, so whatever else ran on the machine is in them."""
    cpu_seconds: float | None = None
    """CPU seconds of all threads, and of processes that were started meanwhile. None in earlier results."""
    faces: int
    """How many faces were handed out, counted each time."""
    peak_memory_mib: float
    """Highest memory in use above what was in use before the call, where whatever earlier stages had freed was handed
    back first and pages of mapped files are not counted (the highest of its stages). In results without `cpu_seconds`
    memory was not handed back, so a stage could have any part of its memory from the one before it."""
    faces_of_retraining: float | None
    """Share of the reference's faces; None for the original."""
    cpu_of_retraining: float | None = None
    """Share of the reference's CPU seconds; None for the original, and in earlier results."""
    seconds_of_retraining: float | None = None
    """In earlier results: share of the reference's wall seconds."""
    rte: float | None = None
    """Run-time efficiency: retraining's CPU seconds over this row's; None for the original. In results without
    `cpu_seconds` these are wall seconds."""
    steps: int | None = None
    """Steps that optimisers of network weights took, helper networks' included; None where nobody counted."""
    passes: float | None = None
    """Retained faces handed out, to be learned or only to be asked about, over how many there are: passes over the
    retained. Of the original and the reference: over all that each was trained on. None where nobody counted."""
    folds_faces: int | None = None
    """Faces handed out to train the models that never met the forgotten, which this row learned from; not in `faces`,
    since they are made once and serve every later request. None where there are none."""
    folds_of_retraining: float | None = None
    """Share of the reference's faces that these are: what the first request pays on top of `faces_of_retraining`."""


class Evaluation(Part):
    """One model: the original, the reference, or what a method made with one seed."""

    arm: str
    method: str
    stages: list[str]
    """Names of the rows this one was made from, the original first."""
    seed: int
    settings: dict[str, Any]
    cost: Cost
    measures: dict[MeasureKey, MeasureRecord]
    diverged: bool = False
    """Whether the model answers with what is no number; then nothing was measured."""
    trained_on_nonmembers: bool = False
    """Whether it, or a stage it was made from, was handed the strangers that attacks are scored with."""
    reference_seed: int | None = None
    """Of a second retrained model (`seed` is its own): the seed of the original and the reference it is compared with.
    """


class Summary(Part):
    """One row over all seeds."""

    arm: str
    method: str
    seeds: list[int]
    diverged: list[int] = []
    """Seeds in which the row diverged; with any, it has no measures: a mean of the others would flatter it."""
    trained_on_nonmembers: bool = False
    """As of its evaluations."""
    measures: dict[MeasureKey, MeasureRecord]
    """Mean over seeds. The interval joins, in quadrature, the interval over people (the same in every seed) and,
    with two seeds or more, Student's 95% interval over seeds. Of the second retrained model: mean over all pairs of
    retrained models, with a jackknife over models."""
    differences: dict[MeasureKey, MeasureRecord] = {}
    """Of the second retrained model: the mean over pairs of its measure less its reference's."""


class Headroom(Part):
    """How far the original lies from retrained models, in standard errors of that difference: a distance from the noise
    floor, an attack from the same attack on the reference."""

    arm: str
    measure: MeasureKey
    value: float | None
    """None where there is no standard error."""


class Candidate(Part):
    """One setting that a search tried, measured on people of `val`."""

    settings: dict[str, Any]
    """What was tried, less what all candidates share."""
    worst_group: str
    worst_error: float | None
    """Mean of the task's error over the people of that group, the one that fares worst; None where the model answers
    with what is no number."""
    attack: float | None
    """AUC of the forgotten against people of the same groups; one half where nothing betrays them ..."""
    attack_low: float | None
    attack_high: float | None
    """... with its 95% interval over people."""
    faces: int
    seconds: float
    cpu_seconds: float | None = None
    """None in earlier results."""
    kept: bool
    """Whether the AUC is one half, give or take the margin."""
    chosen: bool = False


class Search(Part):
    """All that was tried for one row and seed."""

    arm: str
    method: str
    seed: int
    tried: list[Candidate]


VerdictWord = Literal["pass", "fail", "not enough data"]


class CriterionMet(Part):
    """One measure of one row held against its threshold."""

    measure: MeasureKey
    asked: str
    value: float | None
    """The measure or, where closeness to the reference is asked, how far it is from the reference's."""
    low: float | None
    high: float | None
    verdict: VerdictWord
    detectable: float | None
    """The smallest shift that so many photos, people and seeds would have shown in four of five repetitions."""
    why: str
    """Why nothing can be said, where that is so."""


class Verdict(Part):
    """What the thresholds of a plan say of one row, over all seeds."""

    arm: str
    method: str
    verdict: VerdictWord
    criteria: list[CriterionMet]
    must: VerdictWord | None = None
    """Of a control: what it has to come out as for any other verdict to count."""
    why: str = ""


class Thresholds(Part):
    """Proof of what was fixed beforehand."""

    sha256: str
    """Of the criteria of all arms."""
    first_sha256: str
    """Of those that stood in the plan when the first model of this folder was made."""


class Environment(Part):
    """Everything beside the plan that a number may depend on."""

    efface: str
    python: str
    platform: str
    processor: str
    versions: dict[str, str]
    device: str
    threads: int
    processes: int = 1
    """How many trained each model together."""
    blas: list[str] = []
    """The libraries of linear algebra, and with how many threads they were held."""
    deterministic: bool


class HeadlineColumn(Part):
    """What the field looks at first, and what a table calls it."""

    measure: MeasureKey
    title: str


class TaskCard(Part):
    """What a reader of results must know of a task: which scores stand for what, and what its outputs are."""

    name: str
    about: str
    outputs: Literal["points", "embeddings", "logits"]
    error: str
    distribution_score: str
    harm_score: str
    accuracy_score: str
    signal: str
    """What betrays a member, in words."""
    headline: list[HeadlineColumn] = []
    headline_title: str = ""
    headline_about: str = ""


class Request(Part):
    """What one arm was asked, in numbers: faces and people by split and group."""

    arm: str
    task: TaskCard
    goal: str
    precision: Precision = "fp32"
    """What its networks computed with."""
    forgotten_group: str
    """The group most of the forgotten are of."""
    faces: dict[str, dict[str, int]]
    people: dict[str, dict[str, int]]
    class_mix: dict[str, dict[str, int]] = {}
    """Faces by split and class or, where several attributes are answered, that have each attribute; empty where
    answers are something else."""
    image_shape: tuple[int, int, int]
    classes: list[str] = []
    """Of the answers, in their order; empty where answers are something else."""
    round: int | None = None
    """Of a request that comes in several: how many of them were asked so far."""
    skew: float | None = None
    """The share of the forgotten that was to be of the group, where the plan says it."""
    warnings: list[str] = []
    """What must be known before these numbers are believed."""
    pairs: dict[str, int] = {}
    """Pairs of each verification set ..."""
    pairs_left_out: dict[str, int] = {}
    """... and those of its protocol left out: a trained person is in them, or a photo is missing."""
    sources: list[dict[str, str]]
    """Name, licence and home of each dataset."""


class Results(Part):
    """A whole run."""

    format: Literal["efface.results/2"] = Field("efface.results/2", alias="schema")
    signature: str
    """Changes when the plan, the data, the code or the environment does; a run that finds its own does no work."""
    plan: dict[str, Any]
    """The arms, with every default filled in."""
    environment: Environment
    requests: list[Request]
    evaluations: list[Evaluation]
    summaries: list[Summary]
    headroom: list[Headroom] = []
    """Of every distance and attack: below `LEAST_HEADROOM` it cannot separate methods."""
    searches: list[Search] = []
    """What was tried for rows whose settings were searched."""
    verdicts: list[Verdict] = []
    """Of every row, controls among them, where the plan says what to accept."""
    thresholds: Thresholds | None = None
    keys: dict[str, KeyParts] = {}
    """Of every measure named above, the parts of its name."""
    digest: str = ""
    """SHA-256 of all the rest as canonical JSON: what is read back is checked against it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def headroom_of(self, arm: str) -> dict[MeasureKey, float | None]:
        """The headroom of each distance and attack of an arm."""
        return {one.measure: one.value for one in self.headroom if one.arm == arm}

    @model_validator(mode="before")
    @classmethod
    def _keys_from_their_parts(cls, raw: Any) -> Any:
        """Names of measures as the file itself takes them apart: a group may be called like anything."""
        parts = raw.get("keys") if isinstance(raw, dict) else None
        if not isinstance(parts, dict):
            return raw
        keys = {name: MeasureKey(**KeyParts.model_validate(one).model_dump()) for name, one in parts.items()}
        named = {
            name: [_with_keys(row, keys) for row in raw[name]]
            for name in ("evaluations", "summaries")
            if isinstance(raw.get(name), list)
        }
        return raw | named


def _with_keys(row: Any, keys: Mapping[str, MeasureKey]) -> Any:
    if not isinstance(row, dict):
        return row
    return row | {
        name: {keys.get(key, key): record for key, record in row[name].items()}
        for name in ("measures", "differences")
        if isinstance(row.get(name), dict)
    }


def write_results(results: Results, folder: Path) -> Path:
    """`folder/results.json`, whole or not at all."""
    plain = results.model_dump(mode="json", by_alias=True)
    return write_text(folder / "results.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")


def sealed(results: Results) -> Results:
    """Results as they are written: with the parts of every measure's name, and the digest of it all."""
    measured = [one.measures for one in results.evaluations] + [one.measures for one in results.summaries]
    names = {key: KeyParts(**key.parts()) for measures in measured for key in measures}
    named = results.model_copy(update={"keys": names})
    return named.model_copy(update={"digest": _digest_of(named.model_dump(mode="json", by_alias=True))})


def _digest_of(plain: Mapping[str, Any]) -> str:
    rest = {name: part for name, part in plain.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_results(folder: Path) -> Results:
    """What `write_results` wrote; InputError for a folder without it or one of another schema."""
    return results_of(read_plain(folder), folder)


def read_plain(folder: Path) -> Any:
    """What stands in `folder/results.json`, as plain data."""
    path = folder / "results.json"
    if not path.exists():
        raise InputError(f"{folder} holds no results.json: give the folder of a finished `efface run`")
    return read_json(path, "results")


def results_of(plain: Any, folder: Path) -> Results:
    """Plain data as Results; InputError where they do not follow the schema, or are not what was written."""
    if isinstance(plain, dict) and plain.get("digest") and plain["digest"] != _digest_of(plain):
        raise InputError(f"{folder / 'results.json'} is not what was written: run the plan again into {folder}")
    try:
        return Results.model_validate(plain)
    except (ValidationError, ValueError) as error:
        complaint = str(error).splitlines()
        raise InputError(f"{folder / 'results.json'} does not follow {SCHEMA}: {' '.join(complaint[:2])}") from None


def results_schema() -> dict[str, Any]:
    """JSON Schema of `results.json`."""
    schema = Results.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA} | schema
