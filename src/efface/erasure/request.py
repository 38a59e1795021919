"""What a request for erasure says: which model, whose photos, who else is at hand, and what may be spent."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from efface.erasure.record import Controller, Deletion, NextStep, Request
from efface.errors import InputError, nearest, refusing
from efface.files import read_text
from efface.settings import AskedPrecision, Precision, Seed, Truth, first_complaint, validated
from efface.tasks import TASKS

Goal = Literal["influence removed", "unrecognisable", "removed from the gallery"]
Asked = Literal["recognition", "eyes", "classes", "attributes"]
Cosine = Annotated[float, Field(gt=-1, lt=1, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1)]

PATHS = (
    "model",
    "contract",
    "forget",
    "retain",
    "public",
    "detector",
    "second",
    "second_contract",
    "pairs",
    "pair_photos",
    "recipe",
)
"""Settings that are paths; in a file they are taken from where it lies."""
TABLES = ("request", "controller", "deletions", "answer", "head_rows")
"""Parts of a request file that are no settings of the run."""
UNITS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600}


@dataclass(frozen=True)
class ErasureRequest:
    """A request as `efface forget` takes it."""

    model: Path
    forget: Path
    """Photos of who is to be forgotten: a folder by person, a manifest, or a table of `efface find` with what was
    accepted."""
    public: Path
    """Photos of people that the model was not trained on."""
    retain: Path | None
    """Photos of people that the model must still know, or a part of them."""
    contract: Path | None
    arch: str | None
    size: tuple[int, int] | None
    second: Path | None
    """Weights of another recogniser that never saw who is to be forgotten."""
    second_contract: Path | None
    second_arch: str | None
    detector: Path | None
    pairs: Path | None
    """A verification set: LFW's `pairs.txt`, of photos below `pair_photos`, or an insightface set (.bin)."""
    pair_photos: Path | None
    task: Asked
    """What the model answers: an embedding, or what a column of the photos' manifests says."""
    label: tuple[str, ...]
    """Columns that say what is right: one of `classes`, or one for each of several `attributes`."""
    classes: tuple[str, ...]
    """Of the task `classes`, in the order of the network's outputs."""
    goal: Goal
    """`removed from the gallery` leaves the weights as they are: entries are deleted, and a block list is kept."""
    threshold: float | None
    """The cosine from which on the model in use takes two photos for one person's."""
    at_most_fmr: float | None
    at_most_fnmr: float | None
    at_most_error: float | None
    """Of everybody else, where the model answers no embeddings."""
    budget: float
    """Seconds."""
    without_evidence: bool
    """Whether people are unlearned of whom there is no sign that the model was trained on them."""
    skip_unreadable: bool
    seed: int
    reference: str | None
    """Weights retrained without the people who asked, or `train`: numbers that only it can give stand beside."""
    recipe: Path | None
    """How the model was trained (`efface.erasure.recipe`), for what is trained here beside it."""
    shadows: int
    """How many shadow models an attack is given; 0: there is none."""
    precision: AskedPrecision
    """What is trained here computes with; what judges, with 32 bits."""
    onnx: bool
    """Whether the model after is written as an ONNX file, too."""
    head_rows: Mapping[str, tuple[str, int]]
    """By person the head and the row that are theirs."""
    answer: Answer | None
    """What a record needs beside what was measured; None: no record is written."""

    @property
    def trained_in(self) -> Precision:
        """`precision`, once it was decided what `auto` is (`efface.erasure.precision`)."""
        assert self.precision != "auto"
        return self.precision

    @property
    def recognises(self) -> bool:
        """Whether the model answers with embeddings, by which people are told apart."""
        return TASKS[self.task].outputs == "embeddings"


@dataclass(frozen=True)
class Answer:
    """Who answers whom."""

    controller: Controller
    received: date
    request: Mapping[str, Any]
    """Fields of `efface.erasure.record.Request`, but for subjects, status and answered, which follow."""
    deletions: tuple[Deletion, ...]
    next_step: NextStep
    """What is done where the weights cannot be shipped."""


def erasure_request(given: Mapping[str, Any], file: Path | None = None) -> ErasureRequest:
    """The request of a TOML file and of what is given beside it (by the same names; this goes before), checked.

    Raises InputError for what cannot be used: nothing has been read but the file.
    """
    tables, folder = (read_tables(file), file.parent) if file else ({}, Path())
    where = f"request {file}" if file else "request"
    plain = {name: value for name, value in tables.items() if name not in TABLES}
    if named := [name for name in ("arch", "second_arch") if name in plain]:
        option = named[0].replace("_", "-")
        raise InputError(
            f"{where}: {named[0]} names code, which is run, and a file does not choose that: if you trust it, give "
            f"--{option} on the command line"
        )
    for name in PATHS:
        if isinstance(plain.get(name), str):
            plain[name] = str(folder / plain[name])
    if isinstance(plain.get("reference"), str) and plain["reference"] != "train":
        plain["reference"] = str(folder / plain["reference"])
    plain |= {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    settings = validated(_settings, plain, where)
    for name in PATHS:
        settings[name] = Path(settings[name]) if settings[name] else None
    for name in ("arch", "second_arch", "reference"):
        settings[name] = settings[name] or None
    refuse_mixed(settings, where)
    settings["budget"] = seconds(settings["budget"], where)
    if settings["size"] is not None and settings["contract"] is not None:
        raise InputError(f"{where}: size stands in the contract: leave it out")
    if settings["second_contract"] is not None and settings["second"] is None:
        raise InputError(f"{where}: second_contract is of a second recogniser, and there is none: give second")
    who_answers = answer(tables, where)
    if settings["goal"] == "removed from the gallery" and who_answers is not None:
        stores = {one.store for one in who_answers.deletions}
        if missing := [one for one in ("gallery", "block list") if one not in stores]:
            raise InputError(
                f"{where}: goal 'removed from the gallery' needs [[deletions]] with store = \"{missing[0]}\": say what "
                "became of it"
            )
    return ErasureRequest(**settings, head_rows=head_rows(tables.get("head_rows"), where), answer=who_answers)


OF_RECOGNISERS = ("threshold", "at_most_fmr", "at_most_fnmr", "pairs", "pair_photos", "second_contract")
LABELS = {"none": (0, 0), "one": (1, 1), "several": (1, 1000)}
"""How many columns of labels a task has, at least and at most."""


def refuse_mixed(settings: Mapping[str, Any], where: str) -> None:
    """Raise InputError for settings of one task in a request of another."""
    task, labels = settings["task"], settings["label"]
    named = TASKS[task]
    least, most = LABELS[named.labels]
    if not least <= len(labels) <= most:
        wanted = "no label" if not most else "one label" if most == 1 else "the labels, in the order of the outputs"
        raise InputError(f"{where}: task '{task}' has {wanted}, {len(labels)} were given")
    classes_wanted = named.labels == "one"
    if classes_wanted != bool(settings["classes"]):
        raise InputError(
            f"{where}: give classes, the values of '{labels[0]}' in the order of the network's outputs"
            if classes_wanted
            else f"{where}: classes are of task 'classes', not of '{task}'"
        )
    if len(set(settings["classes"])) < len(settings["classes"]) or len(settings["classes"]) == 1:
        raise InputError(f"{where}: classes are two or more, each named once")
    if named.outputs == "embeddings":
        if settings["at_most_error"] is not None:
            raise InputError(f"{where}: a recogniser has no error: give at_most_fmr or at_most_fnmr")
        return
    if given := [name for name in OF_RECOGNISERS if settings[name]]:
        raise InputError(f"{where}: {given[0]} is of recognisers, the task is '{task}'")
    if settings["second"]:
        raise InputError(f"{where}: a second model is given for recognisers alone; for '{task}' one is trained here")
    if settings["goal"] != "influence removed":
        raise InputError(f"{where}: a model of task '{task}' recognises nobody: the goal is 'influence removed'")


def _settings(
    *,
    model: str,
    forget: str,
    public: str,
    retain: str = "",
    contract: str = "",
    arch: str = "",
    size: tuple[Annotated[int, Field(ge=8, le=1024)], Annotated[int, Field(ge=8, le=1024)]] | None = None,
    second: str = "",
    second_contract: str = "",
    second_arch: str = "",
    detector: str = "",
    pairs: str = "",
    pair_photos: str = "",
    task: Asked = "recognition",
    label: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
    goal: Goal = "influence removed",
    threshold: Cosine | None = None,
    at_most_fmr: Rate | None = None,
    at_most_fnmr: Rate | None = None,
    at_most_error: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None,
    budget: str = "4min",
    without_evidence: Truth = False,
    skip_unreadable: Truth = False,
    reference: str = "",
    recipe: str = "",
    shadows: Annotated[int, Field(ge=0, le=1000)] = 0,
    precision: AskedPrecision = "fp32",
    onnx: Truth = False,
    seed: Seed = 0,
) -> None:
    """The schema of a request."""


def read_tables(file: Path) -> dict[str, Any]:
    """What a TOML file says."""
    text = read_text(file, "request")
    with refusing(f"request {file} is not valid TOML"):
        return tomllib.loads(text)


def seconds(text: str, where: str) -> float:
    """A time such as `90s`, `4min` or `1.5h`."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) *([a-z]+)", text.strip(), re.ASCII)
    if not found or found[2] not in UNITS or not float(found[1]):
        raise InputError(f"{where}: budget '{text}' is no time: expected a number and s, min or h, such as 10min")
    return float(found[1]) * UNITS[found[2]]


def head_rows(table: Any, where: str) -> dict[str, tuple[str, int]]:
    """`[head_rows]`: by person { head = "head.weight", row = 17 }."""
    if table is None:
        return {}
    found = {}
    for person, one in table.items() if isinstance(table, dict) else [("", None)]:
        if not (
            isinstance(one, dict)
            and one.keys() == {"head", "row"}
            and isinstance(one["head"], str)
            and type(one["row"]) is int
        ):
            raise InputError(f'{where}: head_rows.{person}: expected {{ head = "head.weight", row = 17 }}')
        found[person] = (one["head"], one["row"])
    return found


def answer(tables: Mapping[str, Any], where: str) -> Answer | None:
    """What the tables say of who answers whom; None where neither [request] nor [controller] is there."""
    if not any(name in tables for name in ("request", "controller")):
        if wrong := [name for name in ("deletions", "answer") if name in tables]:
            raise InputError(f"{where}: [{wrong[0]}] goes into a record, which needs [request] and [controller] too")
        return None
    if missing := [name for name in ("request", "controller") if not isinstance(tables.get(name), dict)]:
        raise InputError(f"{where}: a record needs [{missing[0]}] too")
    asked, controller = dict(tables["request"]), tables["controller"]
    known = [name for name in Request.model_fields if name not in ("subjects", "status", "answered")]
    if unknown := [name for name in asked if name not in known]:
        raise InputError(f"{where}: request: unknown setting '{unknown[0]}'{nearest(unknown[0], known)}")
    rest = dict(tables.get("answer", {}))
    step = validated(_answer, rest, f"{where}: answer")["next_step"]
    made = {"subjects": ["0" * 64], "status": "RequestAccepted", "answered": asked.get("received")}
    checked(Request, asked | made | {"extended": None}, f"{where}: request")
    given = tables.get("deletions", [])
    if not isinstance(given, list):
        raise InputError(f"{where}: deletions: expected [[deletions]], one for each place")
    return Answer(
        checked(Controller, controller, f"{where}: controller"),
        asked["received"],
        asked,
        tuple(checked(Deletion, one, f"{where}: deletions[{place}]") for place, one in enumerate(given)),
        step,
    )


def _answer(*, next_step: NextStep = "block in the application") -> None:
    """The schema of [answer]."""


def checked(kind: Any, given: Any, where: str) -> Any:
    """A part of a record from plain data; InputError, one line, for what it cannot be."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise InputError(f"{where}: {first_complaint(error, kind)}") from None
