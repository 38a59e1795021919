"""What to run: the tables of a plan, validated without importing torch. `file.py` reads them from a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from efface.errors import nearest
from efface.measure_key import MeasureKey
from efface.results import RESERVED
from efface.settings import AskedPrecision, Count, Number, Real, Seed, Share, Strength, Truth

MOST = 1000
"""Arms of a plan (rounds and skews counted), seeds, and candidates of a search, at most."""
MOST_SHADOWS = 10_000
LONGEST_NAME = 100


def _nameable(name: str) -> str:
    """A name that can stand in a table and in the name of a file."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"a name has 1 to {LONGEST_NAME} printable characters")
    return name


def _findable(path: Path) -> Path:
    """A path that a file system can have."""
    longest = max((len(part.encode(errors="replace")) for part in path.parts), default=0)
    if "\0" in str(path) or len(str(path)) > 4000 or longest > 255:
        raise ValueError("no file can be called so")
    return path


Name = Annotated[str, AfterValidator(_nameable)]
FilePath = Annotated[Path, AfterValidator(_findable)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Named(BaseModel):
    """A table that names something and carries that thing's own settings beside the name."""

    model_config = ConfigDict(extra="allow", frozen=True, ser_json_inf_nan="constants")

    @property
    def settings(self) -> dict[str, Any]:
        """What stands beside the fields every such table has."""
        return dict(self.__pydantic_extra__ or {})


class Source(Named):
    """Where faces come from: a dataset by name, a selection of it, and who counts as which group."""

    name: str
    path: FilePath | None = None
    group: str | None = None
    """One group for all of this source ..."""
    group_by: str | None = None
    """... or the column that holds it (default: a column `group`, where there is one) ..."""
    group_file: FilePath | None = None
    """... or a CSV of `key` and `group`, by somebody's classifier: such groups are called "predicted ..." ..."""
    group_where: dict[str, tuple[str, ...]] | None = Field(default=None, min_length=1)
    """... or two groups: the faces whose columns have one of these values, and everyone else ..."""
    group_clusters: Annotated[Count, Field(gt=1)] | None = None
    """... or so many clusters of the pictures themselves, where nothing is known: they are called "cluster ..."."""
    also_by: tuple[str, ...] = ()
    """More columns whose intersections with the group are reported: also_by = ["gender"]."""
    label: tuple[str, ...] = ()
    """The column that holds what is to be answered (task `classes`), or several of them (`attributes`)."""
    only: dict[str, list[str]] = {}
    """Keep rows whose column has one of these values: {race = ["East Asian", "White"]}."""
    person_by: str | None = None
    """The column that says who belongs together and is forgotten together (default: `person`): a family, say."""
    duplicates: Literal["merge", "warn", "ignore"] | None = None
    """People who share identical pixels are one person ("merge", the default for MUFAC), or photos that have a copy on
    another side are counted and no more ("warn", the default elsewhere), or nobody looks."""
    per_person: Count | None = None
    """Keep at most so many photos of each person, the first by key."""
    split: Literal["", "public", "val", "strangers", "test"] = ""
    """Everybody of this source stands in this split, and nobody of it is trained on."""
    prepare: dict[str, Any] = {}
    """Settings of `efface prepare`, for a dataset that is photos on disk."""

    @field_validator("label", mode="before")
    @classmethod
    def _one_label(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_way_to_group(self) -> Source:
        ways = ("group", "group_by", "group_file", "group_where", "group_clusters")
        if len(given := [name for name in ways if getattr(self, name) is not None]) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: give one")
        return self


class Forget(Strict):
    """Who is to be forgotten. Exactly one of `share`, `people`, `file`, `quality`, `first`, `where`; but a share, or so
    many people, may be drawn from those that `where` means."""

    group: str | None = None
    """Only people of this group."""
    share: Annotated[Share, Field(gt=0)] | None = None
    """Share of the trained people (of the group) ..."""
    people: Count | None = None
    """... or how many of them ..."""
    skew: Real | tuple[Real, ...] | None = None
    """With `group` and `people`: this share of them is of the group, the rest are drawn from everybody else. Several
    make an arm of each."""
    file: FilePath | None = None
    """... or a text file that names them, one person a line ..."""
    quality: FilePath | None = None
    """... or the scores of `efface quality`: photos are forgotten, not people, the worst of them."""
    quality_by: str = "score"
    """The column of the scores to go by; higher is better."""
    below: Annotated[Share, Field(gt=0, lt=1)] = 0.35
    """With `quality`: the share of the trained photos to forget."""
    first: Count | None = None
    """... or so many trained photos, the first in the order of the data: it may cut through a person ..."""
    where: dict[str, tuple[str, ...]] | None = Field(default=None, min_length=1)
    """... or the trained faces whose columns have one of these values: {request = ["forget"]}."""
    rounds: Annotated[Count, Field(le=MOST)] = 1
    """The request comes in so many parts, one after the other; each method goes on from what it made of those
    before."""
    round: Count | None = None
    """Which of the rounds an arm stands at; `read_plan` makes an arm of each."""
    whole_group: Truth = False
    """Allow a request that leaves no retained face of a group."""
    confuse: tuple[str, str] | None = None
    """Task `classes`: before training, the forgotten of these two classes are labelled as the other one, so that what a
    model still holds of them shows as confusion (the interclass confusion test of SCRUB)."""
    misfile: Annotated[Share, Field(gt=0, lt=1)] | None = None
    """Task `recognition`: before training, this share of the photos of each person who is drawn is filed under somebody
    else, as albums get it wrong. These photos alone are forgotten, and whether the two are still taken for each other
    is measured on photos no model was trained on."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Forget:
        ways = ("share", "people", "file", "quality", "first", "where")
        given = [name for name in ways if getattr(self, name) is not None]
        drawn_from_some = len(given) == 2 and "where" in given and given[0] in ("share", "people")
        if len(given) != 1 and not drawn_from_some:
            raise ValueError(f"give exactly one of {', '.join(ways)}; given: {', '.join(given) or 'none'}")
        if self.group is not None and (given[0] not in ("share", "people") or drawn_from_some):
            raise ValueError(f"{given[-1]} says itself who is meant: leave out group")
        skews = self.skew if isinstance(self.skew, tuple) else () if self.skew is None else (self.skew,)
        if self.skew is not None and (self.group is None or self.people is None or not skews):
            raise ValueError("skew is the share of group among so many people: give group, people and a skew or more")
        if not all(0 <= one <= 1 for one in skews):
            raise ValueError(f"skew {self.skew} is no share: expected numbers from 0 to 1")
        if self.rounds > 1 and self.quality is not None:
            raise ValueError("a request by quality comes at once: leave out rounds")
        if self.misfile is not None and (self.rounds > 1 or given[0] not in ("share", "people", "file")):
            raise ValueError("misfile is about people, who are asked about at once: give share, people or file")
        if self.round is not None and self.round > self.rounds:
            raise ValueError(f"round {self.round} of {self.rounds}: there are not so many")
        return self


class Split(Strict):
    """Shares of all people, drawn group by group; whoever is left is trained on.

    Recognition asks more of a person who is trained on: enough photos, and some that no model sees.
    """

    public: Annotated[Share, Field(lt=1)] = 0.1
    val: Annotated[Share, Field(lt=1)] = 0.1
    strangers: Annotated[Share, Field(gt=0, lt=1)] = 0.15
    test: Annotated[Share, Field(lt=1)] = 0.25
    seed: Seed = 0
    by: str | None = None
    """A column that says it instead: train, public, val, strangers or test for each face."""
    photos: Count = 1
    """Who has fewer photos stands in test, before anybody is drawn."""
    held_back: Number = 0
    """So many photos of each trained person are kept from every model: forget_unseen and retain_unseen."""

    @model_validator(mode="after")
    def _someone_is_trained_on(self) -> Split:
        if self.public + self.val + self.strangers + self.test >= 1:
            raise ValueError("public + val + strangers + test must stay below 1: the rest is trained on")
        return self


class Model(Named):
    """The network, its own settings, and optionally weights to use instead of training, or to start training from."""

    name: str
    weights: FilePath | None = None
    pretrained: FilePath | None = None
    """Weights that training starts from; of a last layer with another number of classes nothing is taken ..."""
    pretrained_for: Literal["both", "original"] = "both"
    """... by the original and the reference alike, or (as some have published it) by the original alone, which makes
    every comparison with the reference one of recipes too: the report says so."""

    @model_validator(mode="after")
    def _trained_or_given(self) -> Model:
        if self.weights is not None and self.pretrained is not None:
            raise ValueError("weights replace the original's training, pretrained begins it: give one")
        return self


class Verify(Strict):
    """Pairs of photos to tell apart, by the 10-fold protocol of the field. Exactly one of `pairs` and `bin`."""

    name: Name
    pairs: FilePath | None = None
    """LFW's `pairs.txt`: the photos are looked up among the plan's own; pairs with a trained person are left out ..."""
    bin: FilePath | None = None
    """... or a set of insightface, which brings its own photos."""
    quality: FilePath | None = None
    """The scores of `efface quality` for the photos of `pairs`, or of the `bin`: low- and high-quality pairs, by their
    worse photo, are reported apart."""
    quality_by: str = "score"
    below: Annotated[Share, Field(gt=0, lt=1)] = 0.5
    """The share of the pairs, or of the photos of `quality_of_trained`, that are called of low quality."""
    quality_of_trained: FilePath | None = None
    """Scores of the trained photos: pairs are divided at the score below which that share of them lies, as CURE's paper
    divides AgeDB where it divides the forgotten from the retained (`forget.quality`, below = 0.35)."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Verify:
        if (self.pairs is None) == (self.bin is None):
            raise ValueError(f"verify '{self.name}': give exactly one of pairs, bin")
        if self.quality is None and self.model_fields_set & {"below", "quality_of_trained"}:
            raise ValueError(
                f"verify '{self.name}': below and quality_of_trained divide pairs by quality: give quality"
            )
        return self


class Reference(Strict):
    """How the model is retrained that never saw the forgotten."""

    reweight: Truth = False
    """Draw its faces so that every group counts as much as before the forgetting (REWEIGHT)."""


class Stage(Named):
    """One way to forget, applied to the original or `after` another stage."""

    use: str
    after: str | None = None
    reweight: Truth = False
    """Whatever the method does with retained faces, it draws them so that every group (of a class, where classes are
    answered) counts as much as before the forgetting: REWEIGHT of De Min et al., TMLR 2025, arXiv:2503.09330."""
    search: dict[str, tuple[Any, ...]] = {}
    """Settings to try, in every combination: search = { weight = [1, 2, 4] }. Kept is what serves the worst group of
    `val` best ..."""
    search_within: Annotated[Share, Field(gt=0, le=0.5)] = 0.05
    """... among what leaves the attack, the forgotten against `val`, within so much of one half."""
    public: Literal["public", "strangers"] = "public"
    """The faces handed to the method as free to use. "strangers" are those that the attack is scored with: some have
    published such numbers; the row says that it was trained on the attack's non-members."""

    @field_validator("search")
    @classmethod
    def _can_be_tried(cls, search: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        if empty := [name for name, values in search.items() if not values]:
            raise ValueError(f"{empty[0]} is searched: give a value to try")
        if (count := math.prod(map(len, search.values()))) > MOST:
            raise ValueError(f"{count:,} candidates, each trained and measured: give at most {MOST:,}")
        return search


class Folds(Strict):
    """Models of folds, for methods that learn from models which never met the forgotten: the trained people are dealt
    into folds, and on each fold alone one model is trained for each seed, once for all arms and requests."""

    count: Annotated[Count, Field(ge=2, le=MOST)] = 2
    """Into how many folds: each person is a stranger to the models of all others ..."""
    repeats: Annotated[Count, Field(le=MOST)] = 1
    """... and how many times they are dealt anew: `count` times so many models are trained."""
    model: dict[str, Any] = {}
    """Settings laid over those of `[model]`: a narrower network is cheaper."""
    train: dict[str, Any] = {}
    """Settings laid over `[train]`: fewer epochs are cheaper."""


class Audit(Strict):
    """How hard the forgetting is tried. Without it a run attacks by one threshold alone."""

    shadows: Annotated[Number, Field(le=MOST_SHADOWS)] = 64
    """Models trained with and without halves of the people in question; an even number."""
    seed: Seed = 1000
    """Of the halves and of the shadows' training."""
    train: Literal["auto", "in turn", "processes", "stacked"] = "auto"
    """How so many models are trained; `auto` is what is fastest on the device."""
    unlearn: tuple[str, ...] = ()
    """Rows whose way to forget every shadow goes through as well: for U-LiRA and epsilon, at that many times the
    method's cost."""
    forget_sets: Annotated[Count, Field(le=MOST)] = 1
    """How many sets of its people each shadow is made to forget, each set by a copy of its own and as large as the
    forgotten are: where few of many are forgotten, one set leaves U-LiRA few models that forgot a given person."""
    folds: Literal["run", "own"] = "run"
    """Whose models of folds teach shadows to forget: those of the run's first seed, as if the attacker had them, or
    models of each shadow's own folds, which cost `repeats` times its training once more."""
    density: Literal["normal", "kde"] = "normal"
    """What LiRA takes a face's signal to be distributed as."""
    rmia: Annotated[Number, Field(le=4)] = 4
    """Models without a face that RMIA compares with."""
    relearn: Truth = False
    """Also train every model on the forgotten again, and count the steps until it knows them as the original did."""

    @model_validator(mode="after")
    def _pairs(self) -> Audit:
        if self.shadows % 2:
            raise ValueError(
                f"shadows = {self.shadows} is odd: they come in pairs, each with the people that the "
                f"other lacks; give {self.shadows + 1}"
            )
        if self.unlearn and self.shadows < 4:
            raise ValueError(f"unlearn needs shadows to make forget, and shadows = {self.shadows}: give at least 4")
        if not self.unlearn and (self.forget_sets > 1 or self.folds == "own"):
            raise ValueError("forget_sets and folds are of shadows that are made to forget: name rows in unlearn")
        return self


class Criterion(Strict):
    """Where a measure must be, its whole interval. Exactly one of the three."""

    within: Strength | None = None
    """At most so far from the retrained reference's, either way ..."""
    at_most: Real | None = None
    """... or at most this ..."""
    at_least: Real | None = None
    """... or at least this."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Criterion:
        given = [name for name in ("within", "at_most", "at_least") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of within, at_most, at_least; given: {', '.join(given) or 'none'}")
        return self


class Plan(Strict):
    """One arm of an experiment, complete."""

    task: str
    goal: Literal["influence removed", "unrecognisable"]
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1, max_length=MOST)
    data: tuple[Source, ...] = Field(min_length=1)
    forget: Forget
    split: Split = Split()
    verify: tuple[Verify, ...] = ()
    model: Model
    precision: AskedPrecision = "fp32"
    """What networks compute with when they are trained, forget and answer: 32 bits, brain floats of 16 (refused where
    the device has no instructions for them), half precision (GPUs alone), or `auto`: bf16 where there are instructions
    for it, else fp32. Weights, losses and measures have 32 bits always."""
    train: dict[str, Any] = {}
    reference: Reference = Reference()
    folds: Folds | None = None
    measures: dict[str, Any] = {}
    """Settings of the task's own measures: recognition has `ues_lambda` and `recall_threshold`."""
    methods: dict[Name, Stage] = {}
    audit: Audit | None = None
    accept: dict[MeasureKey, Criterion] = {}
    """By the name of a measure: what a row must meet to pass. Fixed before the run, and hashed into its results."""

    @model_validator(mode="before")
    @classmethod
    def _shorthands(cls, raw: Any) -> Any:
        """`[data]` and `[verify]` may be one table; `[methods.finetune]` means use = "finetune"."""
        if isinstance(raw, dict):
            raw = dict(raw)
            for name in ("data", "verify"):
                if isinstance(raw.get(name), dict):
                    raw[name] = [raw[name]]
            if isinstance(raw.get("methods"), dict):
                raw["methods"] = {
                    name: {"use": name} | table if isinstance(table, dict) else table
                    for name, table in raw["methods"].items()
                }
        return raw

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} repeat: each may stand once")
        earlier: list[str] = []
        for name, stage in self.methods.items():
            if name in RESERVED:
                raise ValueError(f"method name '{name}' is taken by a row every report has: choose another")
            if stage.after is not None and stage.after not in earlier:
                raise ValueError(
                    f"methods.{name}: after = '{stage.after}' must name a method that stands above it"
                    f"{nearest(stage.after, earlier) if earlier else ''}"
                )
            earlier.append(name)
        for name in self.audit.unlearn if self.audit else ():
            if name not in self.methods:
                raise ValueError(f"audit.unlearn: '{name}' is no method of this plan{nearest(name, self.methods)}")
        for name in self.audit.unlearn if self.audit else ():
            line = [name]
            while (after := self.methods[line[-1]].after) is not None:
                line.append(after)
            if searched := [one for one in line if self.methods[one].search]:
                raise ValueError(
                    f"audit.unlearn: '{searched[0]}' is searched, and shadows have nobody of val to "
                    "choose by: set what was chosen, and leave out search"
                )
        for name in self.accept:
            if name.family == "epsilon" or name.metric.endswith(("over shadows", "of the reference")):
                raise ValueError(
                    f"accept: '{name}' is measured of the original and of audit.unlearn alone, so its "
                    "verdict would have no controls; take an attack's auc"
                )
        if self.audit and self.audit.unlearn and self.forget.rounds > 1:
            raise ValueError("audit.unlearn: shadows forget at once, not in rounds; leave out forget.rounds")
        return self


def trained_on_nonmembers(plan: Plan) -> list[str]:
    """Methods that were handed the strangers of the attack, and those that go on from them."""
    seen: list[str] = []
    for name, stage in plan.methods.items():
        if stage.public == "strangers" or stage.after in seen:
            seen.append(name)
    return seen


def user_code(plan: Plan) -> list[str]:
    """Every "module:function" that a plan names, this package's own aside: resolving the plan imports these modules,
    which runs them."""
    named = [plan.task, *(stage.use for stage in plan.methods.values()), plan.model.settings.get("factory")]
    return [one for one in named if isinstance(one, str) and ":" in one and not one.startswith("efface.")]
