"""What there is, in words: the reference page of methods, tasks, datasets and measures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from efface.datasets import GENERATORS, READERS, Card
from efface.errors import InputError, nearest
from efface.methods import METHODS, tasks_of
from efface.settings import defaults, summary
from efface.tasks import TASKS

MEASURES = {
    "SCORE/SPLIT/GROUP": "mean of a task's score over the faces of a split and group",
    "membership/auc, membership/tpr_at_1%_fpr": "membership attack by the task's signal: the forgotten against "
    "strangers of their groups, per photo and per person",
    "attack/ATTACK/QUESTION/photo|person": "an audit: auc, balanced_accuracy, tpr_at_1%_fpr, tpr_at_0.1%_fpr and auc "
    "beyond reference of every attack (each signal, logistic, forest, rmia, "
    "lira, u-lira)",
    "attack/lira|u-lira/auc of the way/photo": "the same attack on every shadow by all others: of a way to train or to "
    "forget, not of one model",
    "completeness, epsilon/...": "an audit: how far each forgotten face went, by shadows; what any threshold on a face "
    "could show, its floor, and the NeurIPS challenge's score",
    "distance/...": "how far from the retrained reference: tow, tow_mia, avg_gap, wasserstein, nearer and its p-value; "
    "js, kl, activation, agreement (classes), answers (eyes), cka, neighbours (recognition)",
    "relearn/steps, relearn/ain": "an audit: steps until the forgotten are known again, and over the reference's",
    "confusion/...": "with forget.confuse: wrong labels still believed, and the two classes confused on test faces",
    "forgotten/percent": "how far the signal on the forgotten went from the original's to the reference's",
    "forgotten/signal_to_reference": "the same as a difference: below 0 remembered, above 0 overshot",
    "increase/SCORE/against BASE/GROUP": "growth of a group's test error, in percent, against the original, the "
    "reference or the stage before",
    "price/SCORE/of forgetting|of method/GROUP": "that growth in its two parts: what the reference pays, what the "
    "method added",
    "disparity_points, disparity_ratio": "the forgotten group's increase beside everyone else's",
    "fairness/SCORE/worst group|max over geomean|gap": "the worst group's error; over the geometric mean (NIST); "
    "minus the best's",
    "fairness/SHARE/equalised odds|forgotten's group": "widest difference between groups, mean over classes; the share "
    "in the group most of the forgotten are of (GA)",
    "intersection/SCORE/error|against original|of method/GROUP, TRAIT": "the same by group and trait (data.also_by)",
    "fmr/GROUP, fnmr/GROUP": "recognition: false matches and false non-matches at one threshold for all groups",
    "memorisation/LAYER": "with lookalikes: how well a layer's neighbours tell who was trained on",
    "benchmark/attack, benchmark/forgetting, benchmark/nomus": "classes and attributes: MUFAC's attack by logistic "
    "regression on losses, its forgetting score with the "
    "floor for so many faces, NoMUS; JS of the losses",
    "head/..., fresh head/..., rows deleted/...": "recognition: accuracy, UES and CURE's other measures through the "
    "model's head, through one fitted anew, and with rows deleted",
    "rank1/..., tar_at_RATE_far/...": "the forgotten, the retained and strangers found again by held-back photos",
    "relearn/prototype|linear/k=COUNT/...": "the same from 1 or 5 photos of each person",
    "verification/SET/...": "pairs of photos told apart by the 10-fold protocol; by quality where it is known",
    "weights/moved, weights/distance, weights/layers": "how much of the network is another one now",
}
"""Families of names in `results.json`; there every value carries its own sentence."""


def listing(what: str) -> str:
    """The page of one kind, of one name, or (for "") an overview."""
    pages = {"methods": methods, "tasks": tasks, "datasets": datasets, "measures": measures}
    if not what:
        short = pages | {"methods": methods_short, "datasets": datasets_short}
        return "\n\n".join(f"{name}\n{_indented(short[name]())}" for name in short)
    if what in pages:
        return pages[what]()
    if what in METHODS:
        return method(what)
    if what in READERS or what in GENERATORS:
        return dataset(what)
    if what in TASKS:
        return task(what)
    raise InputError(f"nothing is called '{what}'{nearest(what, [*pages, *METHODS, *READERS, *GENERATORS, *TASKS])}")


def methods_short() -> str:
    return _aligned({name: about_and_needs(name)[0] for name in METHODS})


def methods() -> str:
    """The reference page: who needs what and works where at a glance, then a page for each."""
    needs = _aligned({name: about_and_needs(name)[1] for name in METHODS})
    on = {name: " ".join(task if task in tasks_of(name) else "·" * len(task) for task in TASKS) for name in METHODS}
    return "\n\n".join(
        [
            f"What each needs\n{_indented(needs)}",
            f"Which tasks each works on\n{_indented(_aligned(on))}",
            *map(method, METHODS),
        ]
    )


def method(name: str) -> str:
    """A method's page: what it does, needs and cites, and its settings."""
    function = METHODS[name]
    about, needs = about_and_needs(name)
    settings = ", ".join(f"{key} = {value!r}" for key, value in defaults(function).items()) or "none"
    source = inspect.getdoc(inspect.getmodule(function)) or ""
    lines = [about, f"needs: {needs}", f"works on: {', '.join(tasks_of(name))}", f"settings: {settings}", "", source]
    return f"{name}\n" + _indented("\n".join(lines))


def about_and_needs(name: str) -> tuple[str, str]:
    """The two parts of a method's first paragraph."""
    about, _, needs = summary(METHODS[name]).partition(" Needs: ")
    if needs.startswith("both"):
        needs = needs.replace("both", "forgotten and retained faces", 1)
    return about, needs.removesuffix(".")


def tasks() -> str:
    return "\n".join(map(task, TASKS))


def task(name: str) -> str:
    """A task's page: what is asked and how it is scored."""
    known = TASKS[name]
    return f"{name}: {known.about}\n" + _indented(_aligned({key: score.about for key, score in known.scores.items()}))


def cards() -> dict[str, tuple[Card, Callable[..., Any]]]:
    """Every dataset: what it is, and the function that takes its settings."""
    generated = {name: (entry.card, entry.make) for name, entry in GENERATORS.items()}
    return generated | {name: (entry.card, entry.read) for name, entry in READERS.items()}


def datasets_short() -> str:
    return _aligned({name: card.about for name, (card, _) in cards().items()})


def datasets() -> str:
    return "\n\n".join(map(dataset, cards()))


def dataset(name: str) -> str:
    """A dataset's page: its licence, where its owner offers it, how it lies on disk, its settings."""
    card, make = cards()[name]
    settings = ", ".join(f"{key} = {value!r}" for key, value in defaults(make).items())
    lines = [
        f"{card.title}: {card.about}",
        f"licence: {card.licence}",
        f"offered at: {card.home}",
        f"layout: {card.layout}",
        *([f"settings: {settings}"] if settings else []),
    ]
    return f"{name}\n" + _indented("\n".join(lines))


def measures() -> str:
    return _aligned(MEASURES)


def _aligned(rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {about}" for name, about in rows.items())


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
