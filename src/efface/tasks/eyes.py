"""Eyes: where are the two eye centres?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from efface.anonymize.regions import covered
from efface.data.faces import EYES, Array, Splits
from efface.measures.predictions import Predictions
from efface.tasks.task import Difference, Score, Task

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from efface.data.batches import Batch


def eye_targets(table: pd.DataFrame, _labels: Sequence[str]) -> Array:
    """Eye centres (n, 2, 2) float32 in pixels."""
    return table[EYES].to_numpy(np.float32).reshape(-1, 2, 2)


def misplaced_eye(targets: Array, shape: tuple[int, ...]) -> tuple[int, str] | None:
    """The first face whose eyes are unknown, outside the picture, or one and the same point."""
    height, width = shape[-2:]
    outside = ~((targets >= -0.5) & (targets <= np.array([width, height]) - 0.5)).all((1, 2))
    same = (targets[:, 0] == targets[:, 1]).all(1)
    bad = np.flatnonzero(outside | same)
    if not len(bad):
        return None
    (left_x, left_y), (right_x, right_y) = targets[bad[0]].tolist()
    return int(bad[0]), (
        f"eyes at ({left_x:g}, {left_y:g}) and ({right_x:g}, {right_y:g}): expected two points inside "
        f"the {width}x{height} picture"
    )


def as_they_are(splits: Splits, _labels: Sequence[str]) -> tuple[Splits, tuple[str, ...]]:
    """Eyes are where they are, whoever is forgotten."""
    return splits, ()


def squared_distance(outputs: Tensor, others: Tensor) -> Tensor:
    """Mean squared difference of the four coordinates, px²."""
    return (outputs - others).square().mean((1, 2))


def squared_loss(model: nn.Module, faces: Batch) -> Tensor:
    """Mean squared error of the four coordinates, px²."""
    return squared_distance(model(faces.images), faces.targets)


def squared_error(predictions: Predictions) -> Array:
    """As `squared_loss`, on arrays."""
    squared: Array = np.square(np.asarray(predictions.outputs, np.float64) - predictions.targets).mean((1, 2))
    return squared


def normalised_error(predictions: Predictions) -> Array:
    """Distance of the worse eye over the distance between the true eyes (Jesorsky et al. 2001, the BioID measure)."""
    worst = np.linalg.norm(np.asarray(predictions.outputs, np.float64) - predictions.targets, axis=2).max(1)
    error: Array = worst / np.linalg.norm(predictions.targets[:, 0] - predictions.targets[:, 1], axis=1)
    return error


def within(limit: float) -> Score:
    """Share of faces whose normalised error is at most `limit`."""
    return Score(
        lambda predictions: (normalised_error(predictions) <= limit).astype(np.float64),
        "high",
        f"share of faces whose worse eye is off by at most {limit:g} of the distance between the eyes",
    )


def eyes_covered(predictions: Predictions) -> Array:
    """Share of the two true eye regions that a bar over the predicted eyes hides."""
    share: Array = covered(predictions.outputs, predictions.targets).mean(1)
    return share


def log_squared_error(predictions: Predictions) -> Array:
    """Logarithm of the squared error: near Gaussian over faces, lower on faces the model was trained on."""
    signal: Array = np.log(squared_error(predictions) + 1e-6)
    return signal


def log_worse_eye(predictions: Predictions) -> Array:
    """Logarithm of the normalised error."""
    signal: Array = np.log(normalised_error(predictions) + 1e-3)
    return signal


def log_scale_error(predictions: Predictions) -> Array:
    """Logarithm of how wrong the distance between the two eyes is, as a share of the true one."""
    found, true = (
        np.linalg.norm(np.asarray(points, np.float64)[:, 0] - points[:, 1], axis=1)
        for points in (predictions.outputs, predictions.targets)
    )
    signal: Array = np.log(np.abs(found / true - 1) + 1e-3)
    return signal


def near_likelihood(predictions: Predictions) -> Array:
    """1 / (1 + (e / 0.05)²) of the normalised error e: Cauchy's density on the field's narrowest limit, as a share of
    its highest."""
    likelihood: Array = 1 / (1 + np.square(normalised_error(predictions) / 0.05))
    return likelihood


def mean_centres(predictions: Predictions) -> Array:
    """(2, 2) where eyes are on average."""
    mean: Array = predictions.targets[predictions.rows("retain")].mean(0)
    return mean


def apart(now: Predictions, other: Predictions) -> Array:
    """(n,) mean distance of the two models' eyes, as a share of the true distance between the eyes."""
    moved = np.linalg.norm(np.asarray(now.outputs, np.float64) - other.outputs, axis=2).mean(1)
    share: Array = moved / np.linalg.norm(now.targets[:, 0] - now.targets[:, 1], axis=1)
    return share


EYE_CENTRES = Task(
    name="eyes",
    about="find the centres of both eyes",
    needs=tuple(EYES),
    labels="none",
    target_kind=np.float32,
    targets=eye_targets,
    complaint=misplaced_eye,
    settle=as_they_are,
    models=("eyenet",),
    loss=squared_loss,
    divergence=squared_distance,
    scores={
        "normalised_error": Score(
            normalised_error,
            "low",
            "distance of the worse eye from its true place, as a share of the distance between the eyes",
        ),
        "mse": Score(squared_error, "low", "mean squared error of the eye coordinates, in square pixels"),
        "within_0.05": within(0.05),
        "within_0.10": within(0.10),
        "within_0.25": within(0.25),
        "eyes_covered": Score(
            eyes_covered, "high", "share of the true eye regions that a black bar over the predicted eyes hides"
        ),
    },
    error="normalised_error",
    distribution_score="normalised_error",
    harm_score="mse",
    accuracy_score="within_0.10",
    signal=Score(log_squared_error, "as retrained", "log loss"),
    signals={
        "worse eye": Score(log_worse_eye, "as retrained", "log error of the worse eye"),
        "eye distance": Score(log_scale_error, "as retrained", "log error of the distance between the eyes"),
    },
    likelihood=near_likelihood,
    outputs="points",
    differences={
        "answers": Difference(apart, "distance of the two models' eyes, as a share of the distance between the eyes"),
        "agreement": Difference(
            lambda now, other: (apart(now, other) <= 0.05).astype(np.float64),
            "share of faces whose eyes the two models find within 0.05 of each other",
        ),
    },
    constant=mean_centres,
    pictured=("test", "forget"),
    stackable=True,
    smallest_model=("eyenet", {"widths": (4, 6, 8), "hidden": 8}),
)
