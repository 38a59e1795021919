"""Every attack on one model, and the same on the retrained reference; how complete its forgetting is, face by face.

Attacks come in three strengths. Thresholds on what a model shows, and classifiers fitted on all of it, need nothing
else. RMIA needs a few models that never saw a face. LiRA, U-LiRA and epsilon need dozens with and without it: the
shadows. Each gives a membership score per face, and `measures.attacks` asks the same questions of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from efface.data.faces import Array
from efface.evaluation.evaluate import Scored
from efface.measure_key import MeasureKey
from efface.measures.attacks import (
    advantage_over_reference,
    attack_measures,
    auc,
    membership_scores_of,
)
from efface.measures.bootstrap import Bootstrap, Measure, measure
from efface.measures.epsilon import challenge_score, epsilons, largest_epsilon
from efface.measures.likelihood_ratios import ShadowSignals, completeness, lira, lira_kde, one_against_the_others, rmia
from efface.measures.predictions import Predictions
from efface.results import ORIGINAL, RESERVED
from efface.tasks import Task


@dataclass(frozen=True)
class Knowledge:
    """What the attacks on n faces know beside the model; all of it is shared by every row of an arm."""

    without: NDArray[np.float64]
    """(k, n) likelihoods by models for RMIA, NaN where one was trained on the face."""
    shadows: ShadowSignals | None
    unlearned: Mapping[str, ShadowSignals] = field(default_factory=dict)
    """By the name of a row: shadows that went through its forgetting."""
    density: str = "normal"

    @classmethod
    def of_nothing_else(cls) -> Knowledge:
        """No model but the one attacked."""
        return cls(np.zeros((0, 0)), None)

    def ratio(self, signal: Array, seen: ShadowSignals) -> NDArray[np.float64]:
        """(n,) log likelihood ratio by the density that was asked for."""
        return (lira_kde if self.density == "kde" else lira)(signal, seen)


Attack = tuple[str, NDArray[np.float64]]
"""Who attacks, in words ("somebody who ..."), and (n,) membership scores: higher on those taken for members."""


@dataclass(frozen=True)
class AttackedModel:
    """A model, and what every attack makes of it that is the same for all rows."""

    scored: Scored
    attacks: Mapping[str, Attack]


def attack_model(model: Scored, known: Knowledge, task: Task) -> AttackedModel:
    """Attack a model in every way that does not depend on how it was made to forget."""
    abouts = {"loss": task.signal.about, **{name: score.about for name, score in task.signals.items()}}
    found: dict[str, Attack] = {
        name: (f"somebody who sees the {abouts[name]}", -np.asarray(signal, np.float64))
        for name, signal in model.signals.items()
    }
    for name, membership_score in model.population_attacks.items():
        kind = "logistic regression" if name == "logistic" else "random forest"
        found[name] = (f"a {kind} on all signals, fitted on other people,", membership_score)
    if len(known.without):
        found["rmia"] = (
            f"RMIA with up to {len(known.without)} models that never saw the face",
            rmia(model.likelihood, known.without, model.predictions.rows("test")),
        )
    if known.shadows is not None:
        found["lira"] = (
            f"LiRA with {len(known.shadows.signal)} shadow models",
            known.ratio(model.signal, known.shadows),
        )
    return AttackedModel(model, {name: attack for name, attack in found.items() if np.isfinite(attack[1]).any()})


def attacks_on(model: AttackedModel, known: Knowledge, row: str) -> dict[str, Attack]:
    """All attacks on a model; U-LiRA by shadows that were made to forget as this row was, where there are any, and on
    rows that went through no forgetting by those of the first way that has any, so that its verdicts have controls."""
    found = dict(model.attacks)
    way = row if row in known.unlearned else next(iter(known.unlearned), None) if row in RESERVED else None
    if way is not None:
        found["u-lira"] = (
            f"U-LiRA with {len(known.unlearned[way].signal)} shadow models that were made to forget as “{way}” was",
            known.ratio(model.scored.signal, known.unlearned[way]),
        )
    return found


def audit(
    model: AttackedModel, reference: AttackedModel | None, known: Knowledge, bootstrap: Bootstrap, row: str
) -> dict[MeasureKey, Measure]:
    """`attack/...`, `completeness` and `epsilon/...` of one model; with a reference also each attack's advantage over
    the same attack on it."""
    at_reference = attacks_on(reference, known, row) if reference else {}
    predictions = model.scored.predictions
    found: dict[MeasureKey, Measure] = {}
    for name, (about, membership_score) in attacks_on(model, known, row).items():
        found |= attack_measures(name, about, predictions, membership_score, bootstrap)
        if name in at_reference:
            found |= advantage_over_reference(name, predictions, membership_score, at_reference[name][1], bootstrap)
        if name == "u-lira" and name in at_reference and row in known.unlearned:
            found |= control_of(at_reference[name], predictions, bootstrap)
    if known.shadows is not None:
        found |= completeness_measure(model.scored, known.shadows, bootstrap)
        shown = known.unlearned.get(row, known.shadows if row == ORIGINAL else None)
        if shown is not None:
            found |= epsilon_measures(predictions, against_never_trained(shown, known.shadows), bootstrap)
            found |= procedure_attack(predictions, shown, bootstrap, row)
    return found


def control_of(at_reference: Attack, predictions: Predictions, bootstrap: Bootstrap) -> dict[MeasureKey, Measure]:
    """`attack/u-lira/auc of the reference`: the attack made for one row, on the retrained reference, which has nothing
    to give away: its control, one half up to chance."""
    about, membership_score = at_reference
    asked = {f"auc/{level}" for level in ("photo", "person")}
    measured = attack_measures("u-lira", about, predictions, membership_score, bootstrap, only=asked)
    return {
        MeasureKey("attack", f"{key.metric} of the reference", level=key.level): replace(
            one, about=f"{one.about}; asked of the retrained reference, as this attack's control"
        )
        for key, one in measured.items()
    }


def completeness_measure(model: Scored, shadows: ShadowSignals, bootstrap: Bootstrap) -> dict[MeasureKey, Measure]:
    """`completeness`: mean over the forgotten."""
    forgotten = model.predictions.rows("forget")
    way = completeness(model.signal, shadows)
    return {
        MeasureKey("completeness"): measure(
            bootstrap.means(way, forgotten),
            "as retrained",
            "how far a forgotten face went, on average, from how models answer that were trained on it (0) to how "
            "models answer that were not (1), by shadow models; a face that shows nothing counts a half",
        )
    }


def against_never_trained(shown: ShadowSignals, trained: ShadowSignals) -> ShadowSignals:
    """What models show that were trained on a face (and then made to forget it), beside models that were not trained on
    it and went through nothing: what the challenge compares."""
    never = np.where(trained.included, np.nan, trained.signal)
    had = np.where(shown.included, shown.signal, np.nan)
    return ShadowSignals(shown.included, np.where(shown.included, had, never))


def epsilon_measures(predictions: Predictions, shown: ShadowSignals, bootstrap: Bootstrap) -> dict[MeasureKey, Measure]:
    """`epsilon/...`: what any attack on single faces could show, over the forgotten; the challenge's score."""
    rows = predictions.rows("forget")
    faces = np.flatnonzero(rows)
    had = int(np.median(shown.included[:, faces].sum(0))) if len(faces) else 0
    if had < 4:
        return {}
    values = np.full((len(predictions), 2), np.nan)
    values[faces, 0] = epsilons(shown.signal[:, faces], shown.included[:, faces])
    values[faces, 1] = challenge_score(values[faces, 0], had)
    means = bootstrap.means(values, rows)
    limit = largest_epsilon(had)
    mixed = values.copy()
    never = replace(shown, included=swapped_at_random(shown.included))
    mixed[faces, 0] = epsilons(never.signal[:, faces], never.included[:, faces])
    floor = bootstrap.means(mixed[:, 0], rows)
    with_models = f"{had} models of each kind, with which no more than {limit:.2f} can be shown short of certainty"
    return {
        MeasureKey("epsilon", "mean"): measure(
            means[:, 0],
            "low",
            "mean over the forgotten of the largest epsilon that a threshold "
            f"on a face's signal shows; by {with_models}",
        ),
        MeasureKey("epsilon", "floor"): measure(
            floor,
            "none",
            "the same where models with and without a face are mixed at random: what so few models show of nothing",
        ),
        MeasureKey("epsilon", "score"): measure(
            means[:, 1],
            "high",
            f"the NeurIPS 2023 challenge's forgetting score, before it is multiplied with accuracies; by {with_models}",
        ),
    }


def swapped_at_random(included: NDArray[np.bool_], seed: int = 0) -> NDArray[np.bool_]:
    """(s, n) of each face as many models as had it, but any."""
    rng = np.random.default_rng(seed)
    return rng.permuted(included, axis=0)


def procedure_attack(
    predictions: Predictions, shown: ShadowSignals, bootstrap: Bootstrap, row: str
) -> dict[MeasureKey, Measure]:
    """`attack/.../auc over shadows`: LiRA or U-LiRA on every shadow by all others. Of a way to train or to forget, not
    of one model, and so far more certain: each of s models is a target in which half of the people were trained on."""
    asked = predictions.rows("forget") | predictions.rows("strangers")
    scores = one_against_the_others(shown.of(np.flatnonzero(asked)))
    aucs = []
    for model, membership_score in enumerate(scores):
        split = np.where(shown.included[model], "forget", "strangers")
        mine = replace(predictions, split=np.where(asked, split, predictions.split))
        column = np.full(len(predictions), np.nan)
        column[asked] = membership_score
        membership_scores = membership_scores_of(mine, column, bootstrap, people=False, times=100)
        if membership_scores is not None:
            aucs.append(membership_scores.over_draws(auc))
    aucs = [(one + other) / 2 for one, other in zip(aucs[::2], aucs[1::2], strict=False)]
    if not aucs:
        return {}
    rng, count = np.random.default_rng(0), len(aucs)
    again = rng.multinomial(count, np.full(count, 1 / count), len(aucs[0]) - 1).T
    weights = np.concatenate([np.ones((count, 1)), again], axis=1) / count
    name = "lira" if row == ORIGINAL else "u-lira"
    return {
        MeasureKey("attack", f"{name}/auc over shadows", level="photo"): measure(
            (weights * np.stack(aucs)).sum(0),
            "as retrained",
            f"mean AUC of this attack over {2 * count} shadow models as targets, each attacked by all others but the "
            "one with the other half of the people (0.5: this way leaves nothing to tell by); intervals resample "
            "people and pairs of models",
        )
    }


def nonmember_control(scored: Scored, seed: int = 0) -> Scored:
    """The negative control: half of the strangers' people as if they were the forgotten, within their groups."""
    predictions, rng = scored.predictions, np.random.default_rng(seed)
    strangers = predictions.rows("strangers")
    people, first = np.unique(predictions.identity[strangers], return_index=True)
    groups = predictions.group[strangers][first]
    taken: list[str] = []
    for group in np.unique(groups):
        members = rng.permutation(people[groups == group])
        taken += members[: len(members) // 2].tolist()
    split = predictions.split.copy()
    split[predictions.rows("forget")] = "retain"
    split[strangers & np.isin(predictions.identity, taken)] = "forget"
    return replace(scored, predictions=replace(predictions, split=split))


def strongest(model: AttackedModel, known: Knowledge, row: str) -> tuple[str, Array]:
    """The strongest attack that can be made with what is known, and (n,) its membership scores."""
    found = attacks_on(model, known, row)
    name = next(name for name in ("u-lira", "lira", "rmia", "loss") if name in found)
    return name, found[name][1]
