"""Age and attributes: classes that are not people. One of several (`classes`), or several yes or no (`attributes`).

Forgetting here is about people whose label everybody shares: a model that never saw them still answers most of them
rightly, so accuracy on the forgotten has no zero to go to, and the reference says where it belongs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from efface.data.faces import Array, Faces, Splits
from efface.errors import InputError
from efface.measure_key import MeasureKey
from efface.measures import distances
from efface.measures.benchmark import benchmark_measures
from efface.measures.bootstrap import Bootstrap, Measure
from efface.measures.predictions import Predictions
from efface.tasks.task import Difference, Score, Task, nothing_wrong

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from efface.data.batches import Batch

YES, NO = ("1", "1.0", "true", "yes"), ("-1", "-1.0", "0", "0.0", "false", "no")


def one_label(table: pd.DataFrame, columns: Sequence[str]) -> Array:
    """(n,) str: what stands in the one column, until `number_the_classes` gives each value a number."""
    return table[columns[0]].astype(str).to_numpy(str)


def yes_or_no(table: pd.DataFrame, columns: Sequence[str]) -> Array:
    """(n, a) float32: 1 for yes, 0 for no.

    Raises InputError for a value that is neither 1, -1, 0, true, false, yes nor no.
    """
    words = np.stack([table[name].astype(str).str.strip().str.lower() for name in columns], axis=1)
    yes, no = np.isin(words, YES), np.isin(words, NO)
    for row, column in np.argwhere(~yes & ~no)[:1]:
        raise InputError(
            f"face '{table['key'].iloc[row]}': {columns[column]} is '{words[row, column]}', neither yes "
            "nor no (1, -1, 0, true, false, yes, no); for a label of several values use task 'classes'"
        )
    return yes.astype(np.float32)


def in_order(values: Sequence[str]) -> list[str]:
    """Class names by the first number in each, then by the alphabet: 7-12 before 13-19."""

    def place(value: str) -> tuple[float, str]:
        number = re.search(r"\d+", value)
        return (float(number[0]) if number else np.inf, value)

    return sorted(values, key=place)


def number_the_classes(splits: Splits, _columns: Sequence[str]) -> tuple[Splits, tuple[str, ...]]:
    """Give each value that a model is trained on a number, in order.

    Raises InputError for fewer than two classes, and for a face nobody trained on whose class nobody trained on has.
    """
    trained = np.concatenate([splits.forget.targets, splits.retain.targets])
    names = in_order(np.unique(trained).tolist())
    if len(names) < 2:
        raise InputError(
            f"every trained face has the label '{names[0]}': there is nothing to tell apart; give another "
            "label, or select other faces"
        )
    number = {name: place for place, name in enumerate(names)}

    def numbered(name: str, faces: Faces) -> Faces:
        for key, label in zip(faces.keys, faces.targets, strict=True):
            if label not in number:
                raise InputError(
                    f"face '{key}' in {name} has the label '{label}', which no trained face has: leave it "
                    "out with data.only, or divide the people otherwise (split.seed)"
                )
        return replace(faces, targets=np.array([number[label] for label in faces.targets.tolist()], np.int64))

    return Splits(**{name: numbered(name, faces) for name, faces in splits.items()}), tuple(names)


def attributes_as_they_are(splits: Splits, columns: Sequence[str]) -> tuple[Splits, tuple[str, ...]]:
    """An attribute is its own column."""
    return splits, tuple(columns)


def cross_entropy(model: nn.Module, faces: Batch) -> Tensor:
    """Cross-entropy of the classes."""
    from torch.nn import functional

    return functional.cross_entropy(model(faces.images), faces.targets, reduction="none")


def binary_cross_entropy(model: nn.Module, faces: Batch) -> Tensor:
    """Cross-entropy of each attribute, their mean."""
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(model(faces.images), faces.targets, reduction="none").mean(1)


def kullback_leibler(outputs: Tensor, others: Tensor) -> Tensor:
    """KL(softmax(others) || softmax(outputs)): zero where both answer alike, unbounded."""
    ours, theirs = outputs.log_softmax(1), others.log_softmax(1)
    return (theirs.exp() * (theirs - ours)).sum(1)


def binary_kullback_leibler(outputs: Tensor, others: Tensor) -> Tensor:
    """The same for each attribute, their mean."""
    import torch
    from torch.nn import functional

    sign = torch.tensor([1.0, -1.0], device=outputs.device)
    ours, theirs = functional.logsigmoid(outputs[..., None] * sign), functional.logsigmoid(others[..., None] * sign)
    return (theirs.exp() * (theirs - ours)).sum(2).mean(1)


def class_loss(predictions: Predictions) -> Array:
    """As `cross_entropy`, on arrays."""
    from scipy import special

    logs = special.log_softmax(np.asarray(predictions.outputs, np.float64), axis=1)
    loss: Array = -logs[np.arange(len(logs)), predictions.targets]
    return loss


def attribute_loss(predictions: Predictions) -> Array:
    """As `binary_cross_entropy`, on arrays."""
    loss: Array = np.logaddexp(0, -signed(predictions)).mean(1)
    return loss


def signed(predictions: Predictions) -> Array:
    """(n, a) the logits towards what is true."""
    towards: Array = np.asarray(predictions.outputs, np.float64) * (2 * predictions.targets - 1)
    return towards


def among_first(predictions: Predictions, places: int) -> Array:
    """(n,) 1.0 where fewer than `places` other classes were found at least as likely as the true one."""
    outputs = np.asarray(predictions.outputs, np.float64)
    own = outputs[np.arange(len(outputs)), predictions.targets]
    right: Array = ((outputs >= own[:, None]).sum(1) <= places).astype(np.float64)
    return right


def attributes_right(predictions: Predictions) -> Array:
    """(n,) share of the attributes answered rightly."""
    share: Array = (signed(predictions) > 0).mean(1)
    return share


def unsure_of_class(predictions: Predictions) -> Array:
    """Minus the logit-scaled confidence, log p(true) - log(1 - p(true)) (Carlini et al., S&P 2022, section IV.B)."""
    from scipy import special

    outputs = np.asarray(predictions.outputs, np.float64)
    rows = np.arange(len(outputs))
    others = outputs.copy()
    others[rows, predictions.targets] = -np.inf
    unsure: Array = special.logsumexp(others, axis=1) - outputs[rows, predictions.targets]
    return unsure


def unsure_of_attributes(predictions: Predictions) -> Array:
    """The same for each attribute, which is minus its logit towards the truth; their mean."""
    unsure: Array = -signed(predictions).mean(1)
    return unsure


def class_chances(predictions: Predictions) -> Array:
    """(n, 1, k) softmax."""
    from scipy import special

    chances: Array = special.softmax(np.asarray(predictions.outputs, np.float64), axis=1)[:, None]
    return chances


def attribute_chances(predictions: Predictions) -> Array:
    """(n, a, 2) probabilities of no and yes for each attribute."""
    from scipy import special

    yes = special.expit(np.asarray(predictions.outputs, np.float64))
    return np.stack([1 - yes, yes], axis=2)


def unsure_of_itself(chances: Array) -> Array:
    """(n,) one minus the probability of the most likely answer; the mean over a."""
    unsure: Array = 1 - chances.max(2).mean(1)
    return unsure


def entropy(chances: Array) -> Array:
    """(n,) in nats; the mean over a."""
    from scipy import special

    spread: Array = special.entr(chances).sum(2).mean(1)
    return spread


def modified_entropy(chances: Array, targets: Array) -> Array:
    """(n,) entropy that is small only where the *true* answer is sure (Song and Mittal, USENIX Security 2021, section
    3.3); the mean over a. truth (n, a): places of the true ones."""
    true = np.arange(chances.shape[2]) == targets[..., None]
    kept = np.where(true, 1 - chances, chances)
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(np.where(true, chances, 1 - chances), 1e-30))
    spread: Array = -(kept * logs).sum(2).mean(1)
    return spread


def signals_of(chances: Callable[[Predictions], Array], targets: Callable[[Predictions], Array]) -> dict[str, Score]:
    """What an attacker may read off probabilities, with or without the label."""
    return {
        "confidence": Score(
            lambda predictions: unsure_of_itself(chances(predictions)),
            "as retrained",
            "lack of confidence, whatever is true",
        ),
        "entropy": Score(lambda predictions: entropy(chances(predictions)), "as retrained", "entropy of the answer"),
        "modified entropy": Score(
            lambda predictions: modified_entropy(chances(predictions), targets(predictions)),
            "as retrained",
            "entropy around the true answer",
        ),
    }


def differences_of(chances: Callable[[Predictions], Array]) -> dict[str, Difference]:
    """How far two models' probabilities are apart."""

    def between(measured: Callable[[Array, Array], Array]) -> Callable[[Predictions, Predictions], Array]:
        return lambda now, other: measured(chances(now), chances(other))

    return {
        "js": Difference(
            between(distances.jensen_shannon), "Jensen-Shannon divergence of the two models' answers, in bits"
        ),
        "kl": Difference(
            between(distances.kullback_leibler),
            "Kullback-Leibler divergence of the answers from the other model's, in nats",
        ),
        "activation": Difference(between(distances.activation_distance), "distance of the two models' probabilities"),
        "agreement": Difference(between(distances.same_answer), "share of answers that are the same"),
    }


TIE = 1e-6
"""Decides between answers that are equally common; one that does not decide counts as wrong."""


def class_rates(predictions: Predictions) -> Array:
    """(k,) how common each class is, as logits; of equally common ones the first."""
    counts = np.bincount(predictions.targets[predictions.rows("retain")], minlength=predictions.outputs.shape[1])
    logits: Array = np.log(counts / counts.sum() + 1e-9) - TIE * np.arange(len(counts))
    return logits


def attribute_rates(predictions: Predictions) -> Array:
    """(a,) how common each attribute is, as logits; yes where it is had as often as not."""
    from scipy import special

    rates = predictions.targets[predictions.rows("retain")].mean(0)
    logits: Array = special.logit(np.clip(rates + TIE, TIE, 1 - TIE))
    return logits


def class_measures(now: Predictions, _original: Predictions, bootstrap: Bootstrap) -> dict[MeasureKey, Measure]:
    """The benchmark's measures of one-of-several."""
    return benchmark_measures(now, class_loss(now), among_first(now, 1), bootstrap)


def attribute_measures(now: Predictions, _original: Predictions, bootstrap: Bootstrap) -> dict[MeasureKey, Measure]:
    """The benchmark's measures of yes-or-no."""
    return benchmark_measures(now, attribute_loss(now), attributes_right(now), bootstrap)


HEADLINE = (
    (MeasureKey("score", "accuracy", split="test", group="all"), "test accuracy"),
    (MeasureKey("score", "accuracy", split="retain", group="all"), "accuracy on the retained"),
    (MeasureKey("score", "accuracy", split="forget", group="all"), "accuracy on the forgotten"),
    (MeasureKey("benchmark", "attack"), "benchmark's attack"),
    (MeasureKey("benchmark", "forgetting"), "forgetting score"),
    (MeasureKey("benchmark", "nomus"), "NoMUS"),
    (MeasureKey("benchmark", "js"), "JS of losses, forgotten and strangers"),
)

EXPLAINED = (
    "NoMUS is the benchmark's score, the mean of test accuracy and 1 − 2·|attack − ½|. It never stands alone: an "
    "answer that treats everybody alike pleases its attack, so the reference's row is the goal, not the highest "
    "number. A difference smaller than the floor of the forgetting score (what two groups that nobody can tell apart "
    "would show) means nothing."
)

CLASSES = Task(
    name="classes",
    about="tell which class a face is of",
    needs=(),
    labels="one",
    target_kind=np.int64,
    targets=one_label,
    complaint=nothing_wrong,
    settle=number_the_classes,
    models=("resnet18",),
    loss=cross_entropy,
    divergence=kullback_leibler,
    scores={
        "error": Score(
            lambda predictions: 1 - among_first(predictions, 1), "low", "share of faces whose class is answered wrongly"
        ),
        "accuracy": Score(
            lambda predictions: among_first(predictions, 1), "high", "share of faces whose class is answered rightly"
        ),
        "top2": Score(
            lambda predictions: among_first(predictions, 2),
            "high",
            "share of faces whose class is among the two found most likely",
        ),
        "loss": Score(class_loss, "low", "cross-entropy"),
    },
    error="error",
    distribution_score="loss",
    harm_score="error",
    accuracy_score="accuracy",
    signal=Score(unsure_of_class, "as retrained", "logit-scaled loss"),
    signals=signals_of(class_chances, lambda predictions: predictions.targets[:, None]),
    likelihood=lambda predictions: np.exp(-class_loss(predictions)),
    outputs="logits",
    differences=differences_of(class_chances),
    constant=class_rates,
    pictured=("test", "forget"),
    stackable=True,
    smallest_model=("resnet18", {"width": 4, "stem": "small"}),
    headline=HEADLINE,
    headline_title="By the benchmark's measures",
    headline_about=EXPLAINED,
    more=class_measures,
)

ATTRIBUTES = replace(
    CLASSES,
    name="attributes",
    about="tell which attributes a face has",
    labels="several",
    target_kind=np.float32,
    targets=yes_or_no,
    settle=attributes_as_they_are,
    loss=binary_cross_entropy,
    divergence=binary_kullback_leibler,
    scores={
        "error": Score(
            lambda predictions: 1 - attributes_right(predictions), "low", "share of attributes answered wrongly"
        ),
        "accuracy": Score(attributes_right, "high", "share of attributes answered rightly"),
        "loss": Score(attribute_loss, "low", "mean cross-entropy of the attributes"),
    },
    signal=Score(unsure_of_attributes, "as retrained", "logit-scaled loss"),
    signals=signals_of(attribute_chances, lambda predictions: predictions.targets.astype(np.int64)),
    likelihood=lambda predictions: np.exp(-attribute_loss(predictions)),
    differences=differences_of(attribute_chances),
    constant=attribute_rates,
    more=attribute_measures,
)
