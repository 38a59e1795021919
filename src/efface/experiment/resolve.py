"""From the names in a plan to the functions they mean, every setting checked before any work starts."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from efface.data.names import normal
from efface.datasets import GENERATORS, READERS
from efface.errors import InputError, nearest
from efface.experiment.loading import PASSED_BY_CODE
from efface.experiment.measurable import check_thresholds
from efface.functions import Function, Functions, outline
from efface.methods import METHODS, NEEDS_CHECKPOINTS, Method, tasks_of, teacher_of, works_on
from efface.models import MODELS
from efface.plan.tables import Plan, Source
from efface.preparation.prepare import prepare
from efface.settings import validated
from efface.tasks import Task, task_named
from efface.user_code import function_named

if TYPE_CHECKING:
    from torch import nn

TRAIN = ("efface.training.train", "train")
"""The plan's recipe, as long as it is only asked what may be set."""


@dataclass(frozen=True)
class ResolvedMethod:
    """A way to forget with all its settings, and the name of the row it starts from."""

    name: str
    use: str
    settings: dict[str, Any]
    after: str
    public: str
    reweight: bool
    tried: tuple[dict[str, Any], ...]
    """What distinguishes each candidate of a search; none where nothing is searched."""
    within: float
    """How far from one half the attack on a candidate that is kept may be."""
    teacher: str
    """Which models it is handed as `data.teachers`: "folds", "reference", or ("") none."""

    @property
    def method(self) -> Method:
        """The function, imported when it is asked for."""
        return METHODS[self.use] if ":" not in self.use else function_named(self.use)


@dataclass(frozen=True)
class ResolvedPlan:
    """A plan whose names have become functions."""

    plan: Plan
    task: Task
    model_settings: dict[str, Any]
    train_settings: dict[str, Any]
    measure_settings: dict[str, Any]
    stages: tuple[ResolvedMethod, ...]
    of_folds: ResolvedPlan | None = None
    """The same plan as the models of its folds are made by; None where no method learns from such."""

    @property
    def build(self) -> Callable[..., nn.Module]:
        """What makes the network, imported when it is asked for."""
        return MODELS[self.plan.model.name]

    def filled(self) -> dict[str, Any]:
        """The plan as plain data, with every default filled in."""
        plain = self.plan.model_dump(mode="json", exclude_none=True)
        plain["train"] = self.train_settings
        plain["measures"] = self.measure_settings
        plain["model"] |= self.model_settings
        if self.of_folds:
            plain["folds"] |= {"model": self.of_folds.model_settings, "train": self.of_folds.train_settings}
        plain["methods"] = {
            stage.name: {
                "use": self.plan.methods[stage.name].use,
                "after": stage.after,
                "public": stage.public,
                "reweight": stage.reweight,
                **searching(stage),
                **stage.settings,
            }
            for stage in self.stages
        }
        return plain


def resolve(plan: Plan, where: str) -> ResolvedPlan:
    """Look up every name of a plan; `where` opens the message of an InputError."""
    for source in plan.data:
        _check_source(source, where)
    build = outline_of(MODELS, plan.model.name, f"{where}: model")
    task = task_named(plan.task, f"{where}: task")
    if plan.model.name not in task.models:
        raise InputError(
            f"{where}: model '{plan.model.name}' does not answer task '{plan.task}': choose {' or '.join(task.models)}"
        )
    for source in plan.data:
        _check_labels(source, task, where)
    model_settings = validated(build, plan.model.settings, f"{where}: model '{plan.model.name}'")
    if "factory" in model_settings:
        function_named(model_settings["factory"])
    if plan.verify and task.outputs != "embeddings":
        raise InputError(f"{where}: verify is for tasks that answer with embeddings, not '{plan.task}': leave it out")
    if plan.forget.confuse and task.labels != "one":
        raise InputError(f"{where}: forget.confuse swaps classes, and task '{plan.task}' has none: leave it out")
    if plan.forget.misfile and task.outputs != "embeddings":
        raise InputError(
            f"{where}: forget.misfile files photos under other people, and task '{plan.task}' does not tell people "
            "apart: leave it out"
        )
    if plan.forget.group is not None:  # groups are under one spelling everywhere
        forget = plan.forget.model_copy(update={"group": normal(plan.forget.group)})
        plan = plan.model_copy(update={"forget": forget})
    check_thresholds(plan, task, where)
    train_settings = validated(outline(*TRAIN), plan.train, f"{where}: train")
    _check_checkpoints(plan, train_settings, where)
    measure_settings = validated(task.more, plan.measures, f"{where}: measures")
    resolved = ResolvedPlan(
        plan=plan,
        task=replace(task, more=partial(task.more, **measure_settings)),
        model_settings=model_settings,
        train_settings=train_settings,
        measure_settings=measure_settings,
        stages=tuple(_resolved_method(name, plan, task, where) for name in plan.methods),
    )
    return replace(resolved, of_folds=_of_folds(resolved, where))


def _of_folds(resolved: ResolvedPlan, where: str) -> ResolvedPlan | None:
    plan, asking = resolved.plan, [stage.name for stage in resolved.stages if stage.teacher == "folds"]
    if plan.folds is None:
        if asking:
            raise InputError(
                f"{where}: methods.{asking[0]} learns from models of folds, and the plan has no [folds]: add it "
                "(count = 2), or set teacher = 'public'"
            )
        return None
    if not asking:
        raise InputError(f"{where}: [folds] makes models that no method of this plan learns from: leave it out")
    return replace(
        resolved,
        model_settings=validated(
            MODELS.outline(plan.model.name),
            resolved.model_settings | plan.folds.model,
            f"{where}: folds.model '{plan.model.name}'",
        ),
        train_settings=validated(outline(*TRAIN), resolved.train_settings | plan.folds.train, f"{where}: folds.train"),
    )


def _resolved_method(name: str, plan: Plan, task: Task, where: str) -> ResolvedMethod:
    stage = plan.methods[name]
    method = (
        function_named(stage.use, f"{where}: methods.{name}: use")
        if ":" in stage.use
        else outline_of(METHODS, stage.use, f"{where}: methods.{name}: method")
    )
    wanted = ["model", "task", "data", "loader"]
    if (given := list(inspect.signature(method).parameters)[:4]) != wanted:
        raise InputError(
            f"{where}: methods.{name}: {stage.use} takes {', '.join(given) or 'nothing'}: a way to forget "
            f"takes {', '.join(wanted)}, then settings"
        )
    settings = validated(method, stage.settings, f"{where}: methods.{name}")
    if not works_on(stage.use, task):
        raise InputError(
            f"{where}: methods.{name}: {stage.use} works on {' and '.join(tasks_of(stage.use))}, not on '{task.name}'"
        )
    teacher = teacher_of(stage.use, settings)
    for setting in stage.search:
        if setting == "teacher":
            raise InputError(f"{where}: methods.{name}: teacher cannot be searched: give each a row of its own")
        if setting in stage.settings:
            raise InputError(f"{where}: methods.{name}: {setting} is both set and searched: leave out one")
    tried = tuple(dict(zip(stage.search, values, strict=True)) for values in itertools.product(*stage.search.values()))
    for one in tried:
        validated(method, {**stage.settings, **one}, f"{where}: methods.{name}.search")
    return ResolvedMethod(
        name,
        stage.use,
        settings,
        stage.after or "original",
        stage.public,
        stage.reweight,
        tried if stage.search else (),
        stage.search_within,
        teacher,
    )


def searching(stage: ResolvedMethod) -> dict[str, Any]:
    """What a search is asked, as plain data."""
    return {"search": list(stage.tried), "search_within": stage.within} if stage.tried else {}


def _check_checkpoints(plan: Plan, train_settings: Mapping[str, Any], where: str) -> None:
    """Raise InputError for checkpoints beyond the training's end, and for methods that go back to missing ones."""
    keep, epochs = train_settings["keep"], train_settings["epochs"]
    if late := [epoch for epoch in keep if epoch > epochs]:
        raise InputError(f"{where}: train.keep: there is no epoch {late[0]} in a training of {epochs} epochs")
    asking = [name for name, stage in plan.methods.items() if stage.use in NEEDS_CHECKPOINTS]
    for name in asking:
        stage = plan.methods[name]
        if plan.model.weights is not None:
            raise InputError(
                f"{where}: methods.{name}: {stage.use} goes back to checkpoints of the original's training, and an "
                "original given as a file (model.weights) has none: leave the row out"
            )
        if not keep:
            raise InputError(
                f"{where}: methods.{name}: {stage.use} goes back to checkpoints of the original's training: set "
                f"train.keep = [epochs], up to {epochs}"
            )
        wanted = [*stage.search.get("epoch", ()), *([stage.settings["epoch"]] if "epoch" in stage.settings else [])]
        for epoch in wanted:
            if epoch not in keep:
                raise InputError(f"{where}: methods.{name}: epoch {epoch} is none of train.keep = {list(keep)}")
    for row in plan.audit.unlearn if plan.audit else ():
        before: str | None = row
        while before is not None:
            if before in asking:
                raise InputError(f"{where}: audit.unlearn: shadows keep no checkpoints for '{before}': leave it out")
            before = plan.methods[before].after


def _check_source(source: Source, where: str) -> None:
    check_name([*GENERATORS, *READERS, "packed"], source.name, f"{where}: dataset")
    if source.name in GENERATORS:
        validated(GENERATORS[source.name].make, source.settings, f"{where}: data '{source.name}'")
        return
    if source.path is None:
        raise InputError(f"{where}: data '{source.name}' needs a path: the folder it lies in")
    if source.name in READERS:
        validated(READERS[source.name].read, source.settings, f"{where}: data '{source.name}'")
        validated(prepare, source.prepare, f"{where}: data '{source.name}'.prepare", given_elsewhere=PASSED_BY_CODE)
    elif source.settings or source.prepare:
        extra = next(iter([*source.settings, *source.prepare]))
        raise InputError(f"{where}: data 'packed' is prepared already and takes no setting '{extra}'")


def _check_labels(source: Source, task: Task, where: str) -> None:
    if {"none": False, "one": len(source.label) != 1, "several": not source.label}[task.labels]:
        wanted = "one column" if task.labels == "one" else "one column or more"
        raise InputError(
            f"{where}: data '{source.name}': task '{task.name}' needs label = {wanted} to answer; given "
            f"{', '.join(source.label) or 'none'}"
        )
    if task.labels == "none" and source.label:
        raise InputError(f"{where}: data '{source.name}': task '{task.name}' takes no label: leave it out")


def outline_of(table: Functions[Function], name: str, where: str) -> Function:
    """What a function of a table takes. Raises InputError for a name that is not there."""
    check_name(table, name, where)
    return table.outline(name)


def check_name(table: Collection[str], name: str, where: str) -> None:
    """Raise InputError for a name that is not there."""
    if name not in table:
        raise InputError(f"{where} '{name}' is unknown{nearest(name, table)}")
