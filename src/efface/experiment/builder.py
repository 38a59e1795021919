"""How each model of an arm is made: the stages of its original, its references, what a method makes, and shadows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from efface.data.batches import BatchLoader
from efface.data.faces import Faces, MethodData, Splits, TeacherModel, together
from efface.experiment.loading import LoadedFaces
from efface.experiment.resolve import ResolvedMethod, ResolvedPlan, searching
from efface.experiment.search import search
from efface.experiment.signatures import ASSESSING, TRAINING, code_of, code_of_packages
from efface.experiment.store import ModelStore, Network, Stage
from efface.files import sha256_of
from efface.models.load import lacks_head, load_weights, start_from
from efface.models.recogniser import Recogniser
from efface.results import Environment
from efface.training.reweight import reweighted
from efface.training.train import place_head, train
from efface.user_code import function_named


@dataclass(frozen=True)
class Teacher:
    """A model that methods may learn from, and everybody whom it met."""

    stage: Stage
    people: frozenset[str]


@dataclass(frozen=True)
class ModelBuilder:
    """What all models of an arm are made of, and where they are put."""

    resolved: ResolvedPlan
    loaded: LoadedFaces
    store: ModelStore
    machine: Environment

    def network(self, classes: int) -> Network:
        """The plan's network, for so many classes or people."""
        plan, shape = self.resolved.plan, self.loaded.faces.shape
        about = {
            "task": plan.task,
            "outputs": self.resolved.task.outputs,
            "model": plan.model.name,
            "model_settings": self.resolved.model_settings,
            "shape": shape,
            "classes": classes,
        }
        return Network(lambda: self.resolved.build(shape, classes, **self.resolved.model_settings), about)

    def signature_inputs(self, faces: Faces) -> list[Any]:
        """All that the weights of a model trained on these faces follow from, but for name, seed and settings."""
        resolved, machine = self.resolved, self.machine
        own = [function_named(resolved.model_settings["factory"])] if "factory" in resolved.model_settings else []
        return [
            self.loaded.signature,
            resolved.task.name,
            resolved.plan.model.name,
            resolved.model_settings,
            code_of_packages(*TRAINING),
            code_of(resolved.build, resolved.task.loss, resolved.task.divergence, *own),
            machine.versions["torch"],
            machine.device,
            faces_digest(faces),
            *([self.store.precision] if self.store.precision != "fp32" else []),
            *([f"{machine.processes} processes"] if machine.processes > 1 else []),
        ]

    def trained(
        self,
        name: str,
        seed: int,
        faces: Faces,
        network: Network,
        pretrained: Path | None,
        how: Any = None,
        keep: tuple[int, ...] = (),
    ) -> Stage:
        """A model trained by the plan's recipe on these faces; how: where that is not with all of the run's threads;
        keep: epochs after which its weights are kept."""
        recipe, task, store = {**self.resolved.train_settings, "keep": keep}, self.resolved.task, self.store

        def make(loader: BatchLoader, checkpoint: Path) -> nn.Module:
            loader.watch(faces)
            fresh = store.fresh(network)
            started = start_from(fresh, pretrained) if pretrained else fresh
            return train(started, task, faces, loader, checkpoint, keeping, **recipe)

        def keeping(epoch: int, model: nn.Module) -> None:
            store.keep(made, epoch, model)

        start = [digest_of_file(pretrained)] if pretrained else []
        made_of = [*self.signature_inputs(faces), how or self.machine.threads, *start]
        made = Stage(name, seed, recipe, made_of, network, make, keep=keep)
        return made

    def given(self, seed: int, everyone: Faces, network: Network, file: Path) -> Stage:
        """The original as a file of weights."""

        def make(loader: BatchLoader, checkpoint: Path) -> nn.Module:
            model = load_weights(self.store.fresh(network), file)
            if isinstance(model, Recogniser) and lacks_head(model, file):
                place_head(model, everyone, loader)
            return model

        made_of = [*self.signature_inputs(everyone), self.machine.threads, digest_of_file(file)]
        return Stage("original", seed, {"weights": file.name}, made_of, network, make)

    def unlearned(
        self,
        stage: ResolvedMethod,
        before: Stage,
        data: MethodData,
        splits: Splits,
        teachers: Sequence[Teacher],
        how: Any = None,
    ) -> Stage:
        """What a method makes of an earlier stage's model; splits: as they are at this round; teachers: the models that
        it asks to learn from; how: as above."""
        if stage.public == "strangers":
            data = replace(data, public=splits.strangers)
        if stage.reweight:
            data = replace(data, retain=reweighted(data.retain, data.gone, self.resolved.task))
        seen = [faces_digest(faces) for faces in (data.gone, data.forget, data.retain, data.public)]
        task, store = self.resolved.task, self.store

        def frozen(one: Stage) -> nn.Module:
            return store.model(one).requires_grad_(False).eval()

        def applied(loader: BatchLoader, settings: Mapping[str, Any]) -> nn.Module:
            handed = replace(
                data,
                original=frozen(before.line[0]),
                checkpoints=store.checkpoints(before.line[0]),
                teachers=tuple(TeacherModel(one.people, partial(frozen, one.stage)) for one in teachers),
            )
            return stage.method(store.model(before), task, handed, loader, **settings)

        def make(loader: BatchLoader, checkpoint: Path) -> nn.Module:
            loader.watch(data.retain)
            if not stage.tried:
                return applied(loader, stage.settings)
            return search(
                [stage.settings | one for one in stage.tried],
                stage.tried,
                applied,
                splits,
                task,
                loader,
                stage.within,
                store.path(made, "searches", ".json"),
            )

        made_of = [seen, stage.method.__name__, code_of(stage.method), *([how] if how else [])]
        if teachers:
            made_of.append([[one.stage.signature, sorted(one.people)] for one in teachers])
        if stage.tried:
            made_of += [
                searching(stage),
                code_of_packages(*ASSESSING),
                faces_digest(splits.forget),
                faces_digest(splits.val),
            ]
        searched = stage.tried[0] if stage.tried else {}
        settings = {name: value for name, value in stage.settings.items() if name not in searched}
        made = Stage(
            stage.name,
            before.seed,
            settings,
            made_of,
            before.network,
            make,
            before,
            searched=bool(stage.tried),
            teachers=tuple(one.stage for one in teachers),
        )
        return made


def stages_of_seed(
    builder: ModelBuilder,
    rounds: Sequence[Splits],
    classes: int,
    materials: Sequence[MethodData],
    seed: int,
    teachers: Mapping[str, Sequence[Teacher]],
) -> list[Stage]:
    """The models of one seed: the original, the reference that never saw the forgotten, and one per method, which has
    been through the data of each round in turn; teachers: by what a method asks for."""
    model, resolved, network, splits = (
        builder.resolved.plan.model,
        builder.resolved,
        builder.network(classes),
        rounds[-1],
    )
    everyone = together(splits.forget, splits.retain)
    original = (
        builder.given(seed, everyone, network, model.weights)
        if model.weights
        else builder.trained(
            "original", seed, everyone, network, model.pretrained, keep=resolved.train_settings["keep"]
        )
    )
    made = {"original": original, "reference": reference(builder, splits, classes, seed)}
    before = dict.fromkeys([stage.name for stage in resolved.stages], original)
    for data, now in zip(materials, rounds, strict=True):
        for stage in resolved.stages:
            begin = before[stage.name] if stage.after == "original" else made[stage.after]
            made[stage.name] = builder.unlearned(stage, begin, data, now, teachers.get(stage.teacher, ()))
        before = {stage.name: made[stage.name] for stage in resolved.stages}
    return list(made.values())


def reference(builder: ModelBuilder, splits: Splits, classes: int, seed: int) -> Stage:
    """A model that never saw the forgotten."""
    plan = builder.resolved.plan
    start = plan.model.pretrained if plan.model.pretrained_for == "both" else None
    faces = (
        reweighted(splits.retain, splits.forget, builder.resolved.task) if plan.reference.reweight else splits.retain
    )
    return builder.trained("reference", seed, faces, builder.network(classes), start)


def chain_to(stages: Sequence[ResolvedMethod], name: str) -> list[ResolvedMethod]:
    """The stages that lead from the original to the one of this name, in order."""
    by_name: Mapping[str, ResolvedMethod] = {stage.name: stage for stage in stages}
    row = [by_name[name]]
    while row[0].after != "original":
        row.insert(0, by_name[row[0].after])
    return row


def digest_of_file(file: Path) -> str | None:
    """Hash of a file; None where there is none."""
    return sha256_of(file) if file.is_file() else None


def faces_digest(faces: Faces) -> str:
    """Which faces these are, in which order, whose, of which group, and what is to be answered of each."""
    digest = hashlib.sha256("\x1f".join([*faces.keys, *faces.identities, *faces.groups]).encode())
    digest.update(np.ascontiguousarray(faces.targets).tobytes())
    if faces.weights is not None:
        digest.update(faces.weights.tobytes())
    return digest.hexdigest()
