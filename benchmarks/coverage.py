"""How often do the intervals of this package contain a truth that is known? Nominal: 95%.

python benchmarks/coverage.py [--times 2000]

Every row simulates people, photos and models whose true mean, AUC or distance is known, asks the package's own
functions for an interval, and counts. Photos of one person share the person's own effect, of the same standard
deviation as the noise of a photo. "Very unequal" numbers of photos are 1 + exp(N(1, 1.2)), rounded: half of all people
have four or fewer, one in a hundred has over forty. "Skewed" values are exp(N(0, 1)), as errors in pixels are. Where
"who has more photos is easier", a person's effect falls with the logarithm of their photos, and the truth is that of
the population of photos. Seeds "vary as much as people do" where the deviation between seeds is the standard error over
people. Writes results/coverage.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reporting import COMMIT
from scipy import stats

from efface.evaluation.evaluate import over_pairs, over_seeds
from efface.measures.attacks import auc, membership_scores_of
from efface.measures.bootstrap import Bootstrap, measure, simultaneous_intervals
from efface.measures.predictions import Predictions
from efface.report.paired import student
from efface.results import MeasureRecord

OUT = Path(__file__).parents[1] / "results" / "coverage.json"
Rng = np.random.Generator
Span = tuple[float, float]


@dataclass(frozen=True)
class Cell:
    """One kind of interval under one truth, and where its share stands."""

    table: str
    row: str
    column: str
    once: Callable[[Rng], bool]
    """Simulates once: whether the interval held the truth."""
    cost: int = 1
    """How many times fewer simulations it gets, being so much slower."""


# People and their photos


def photo_counts(rng: Rng, people: int, unequal: bool) -> NDArray[np.int64]:
    """(p,) photos of each person."""
    if unequal:
        return 1 + np.rint(np.exp(rng.normal(1, 1.2, people))).astype(np.int64)
    return np.full(people, 6)


def answers(groups: Sequence[str], photos: NDArray[np.int64], split: str = "test", first: int = 0) -> Predictions:
    """Predictions of people with so many photos each; only who is on them matters here."""
    names = np.array([f"{split}{first + one}" for one in range(len(photos))])
    identity, group = np.repeat(names, photos), np.repeat(np.asarray(groups), photos)
    nothing = np.zeros((len(identity), 1))
    return Predictions(np.full(len(identity), split), np.arange(len(identity)), identity, group, nothing, nothing)


def both(one: Predictions, other: Predictions) -> Predictions:
    """The photos of both."""
    names = ("split", "key", "identity", "group", "outputs", "targets")
    return Predictions(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))


EASIER = 0.5
"""How much a person's effect falls per unit of log photos, where it does."""


def values_of(rng: Rng, photos: NDArray[np.int64], skewed: bool = False, easier: bool = False) -> NDArray[np.float64]:
    """(n,) a value per photo, of mean 0 (skewed: exp(0.5)) over people, if photos say nothing of it."""
    effect = rng.normal(size=len(photos)) - EASIER * np.log(photos) * easier
    value = np.repeat(effect, photos) + rng.normal(size=photos.sum())
    if skewed:
        value = np.exp(value / np.sqrt(2))
    return np.asarray(value, np.float64)


def truth_where_photos_tell() -> float:
    """Mean over the population of photos, where a person's effect falls with the logarithm of their photos."""
    photos = photo_counts(np.random.default_rng(0), 4_000_000, True)
    return float((photos * -EASIER * np.log(photos)).sum() / photos.sum())


def mean_over_people(people: int, unequal: bool, skewed: bool = False, easier: bool = False) -> Callable[[Rng], bool]:
    """The mean over photos, by `Bootstrap.means`."""
    truth = truth_where_photos_tell() if easier else float(np.exp(0.5)) if skewed else 0.0

    def once(rng: Rng) -> bool:
        photos = photo_counts(rng, people, unequal)
        predictions = answers([""] * people, photos)
        bootstrap = Bootstrap(predictions, seed=int(rng.integers(2**31)))
        span = measure(bootstrap.means(values_of(rng, photos, skewed, easier), predictions.rows("test")), "none", "")
        return held(truth, span.low, span.high)

    return once


def joint(groups: int, people: int, unequal: bool) -> Callable[[Rng], bool]:
    """Means of several groups at once, all of them held."""

    def once(rng: Rng) -> bool:
        photos = photo_counts(rng, groups * people, unequal)
        names = [f"g{one}" for one in range(groups) for _ in range(people)]
        predictions = answers(names, photos)
        bootstrap, value = Bootstrap(predictions, seed=int(rng.integers(2**31))), values_of(rng, photos)
        means = {name: bootstrap.means(value, predictions.rows("test", name)) for name in sorted(set(names))}
        spans = simultaneous_intervals(means, "none", dict.fromkeys(means, ""))
        return all(held(0.0, one.low, one.high) for one in spans.values())

    return once


def attack(forgotten: int, strangers: int, unequal: bool, by_person: bool, apart: float) -> Callable[[Rng], bool]:
    """An attack's AUC, per photo or per person; apart: how much higher scores of the forgotten are on average."""
    spread = np.sqrt(2 * (1 + 1 / 6)) if by_person else 2.0
    truth = float(stats.norm.cdf(apart / spread))

    def once(rng: Rng) -> bool:
        sides = [photo_counts(rng, count, unequal) for count in (forgotten, strangers)]
        predictions = both(
            answers([""] * forgotten, sides[0], "forget"), answers([""] * strangers, sides[1], "strangers")
        )
        scores = np.concatenate([values_of(rng, sides[0]) + apart, values_of(rng, sides[1])])
        bootstrap = Bootstrap(predictions, 400, seed=int(rng.integers(2**31)))
        found = membership_scores_of(predictions, scores, bootstrap, people=by_person)
        assert found is not None
        span = measure(found.over_draws(auc), "none", "")
        return held(truth, span.low, span.high)

    return once


# Models


def record(value: float, low: float, high: float) -> MeasureRecord:
    """A number as a run saves it."""
    return MeasureRecord(value=value, low=low, high=high, aim="none", about="")


def seeds_and_people(seeds: int, people: int, of_seeds: float) -> Callable[[Rng], bool]:
    """A mean over seeds of means over the same people; of_seeds: the deviation between seeds, in that over people."""

    def once(rng: Rng) -> bool:
        photos = photo_counts(rng, people, False)
        predictions = answers([""] * people, photos)
        bootstrap, shared = Bootstrap(predictions, 400, seed=int(rng.integers(2**31))), values_of(rng, photos)
        spread = of_seeds * np.sqrt((1 + 1 / 6) / people)
        found = []
        for seed in rng.normal(0, spread, seeds):
            span = measure(bootstrap.means(shared + seed, predictions.rows("test")), "none", "")
            assert span.value is not None
            assert span.low is not None
            assert span.high is not None
            found.append(record(span.value, span.low, span.high))
        joined = over_seeds(found)
        return held(0.0, joined.low, joined.high)

    return once


def seeds_alone(seeds: int, skewed: bool) -> Callable[[Rng], bool]:
    """A difference paired by seed, by Student's t."""
    truth = float(np.exp(0.5)) if skewed else 0.0

    def once(rng: Rng) -> bool:
        values = rng.normal(size=seeds)
        _, low, high = student((np.exp(values) if skewed else values).tolist())
        return held(truth, low, high)

    return once


def floor(models: int, own: float) -> Callable[[Rng], bool]:
    """The mean distance of all pairs of retrained models, by the jackknife over models.

    A model is a point in 50 dimensions; own: how much farther from all others one model lies than another, as the
    deviation of its logarithm. Distances are between points, so pairs that share a model depend on each other.
    """
    dimensions = 50

    def distance(rng: Rng, count: int) -> NDArray[np.float64]:
        points = rng.normal(size=(count, dimensions)) * np.exp(own * rng.normal(size=(count, 1)))
        return np.array([np.linalg.norm(points[one] - points[other]) for one, other in combinations(range(count), 2)])

    truth = float(np.mean([distance(np.random.default_rng(one), 40).mean() for one in range(500)]))

    def once(rng: Rng) -> bool:
        found = over_pairs([record(one, one, one) for one in distance(rng, models)], [*combinations(range(models), 2)])
        return held(truth, found.low, found.high)

    return once


def held(truth: float, low: float | None, high: float | None) -> bool:
    """Whether an interval holds the truth."""
    return low is not None and high is not None and low <= truth <= high


TABLES = {
    "people": "Mean over people (bootstrap of people), by how many people",
    "joint": "Joint intervals of seven groups (max-t): all seven held, by how many people each has",
    "attack": "An attack's AUC against 85 strangers, by how many people are forgotten",
    "seeds": "Mean over seeds: the interval over people joined with Student's over seeds",
    "paired": "A difference paired by seed (Student), by how many seeds",
    "floor": "The noise floor over all pairs of retrained models (jackknife), by how many models",
}
PHOTOS = {False: "6 photos each", True: "very unequal numbers of photos"}


def cells() -> list[Cell]:
    """All that is simulated."""
    people, forgotten, models, seeds = (8, 15, 30, 100), (10, 15, 50), (3, 4, 5, 10), (3, 5, 10)
    return [
        *(
            Cell("people", f"{PHOTOS[unequal]}{said}", f"{count} people", mean_over_people(count, unequal, **how))
            for unequal, said, how in (
                (False, "", {}),
                (True, "", {}),
                (False, ", skewed values", {"skewed": True}),
                (True, ", who has more photos is easier", {"easier": True}),
            )
            for count in people
        ),
        *(
            Cell("joint", PHOTOS[unequal], f"{count} people", joint(7, count, unequal), 2)
            for unequal in (False, True)
            for count in (8, 15, 50)
        ),
        *(
            Cell(
                "attack",
                f"per {level}, {PHOTOS[unequal]}, true AUC {said}",
                f"{count} forgotten",
                attack(count, 85, unequal, level == "person", apart),
                2,
            )
            for level, unequal in (("photo", False), ("photo", True), ("person", False))
            for apart, said in ((0.0, "0.5"), (2.0, "0.84" if level == "photo" else "0.90"))
            for count in forgotten
        ),
        *(
            Cell(
                "seeds",
                f"{count} people, seeds vary {said} people do",
                f"{number} seed{'s' * (number > 1)}",
                seeds_and_people(number, count, of_seeds),
                2,
            )
            for count in (15, 100)
            for of_seeds, said in ((0.3, "a third of what"), (1.0, "as much as"))
            for number in (1, 3, 5)
        ),
        *(
            Cell("paired", said, f"{number} seeds", seeds_alone(number, skewed))
            for skewed, said in ((False, "normal differences"), (True, "skewed differences"))
            for number in seeds
        ),
        *(
            Cell("floor", said, f"{count} models", floor(count, own))
            for own, said in ((0.0, "all alike"), (0.2, "some farther from all others"))
            for count in models
        ),
    ]


def main() -> None:
    """Simulate, and write results/coverage.json."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--times", type=int, default=2000, help="simulations of a cell, half as many of slow ones")
    times = arguments.parse_args().times
    found: dict[str, dict[str, dict[str, str]]] = {name: {} for name in TABLES}
    for cell in cells():
        count, rng = max(1, times // cell.cost), np.random.default_rng(0)
        share = float(np.mean([cell.once(rng) for _ in range(count)]))
        found[cell.table].setdefault(cell.row, {})[cell.column] = f"{share:.1%}"
        print(cell.table, cell.row, cell.column, f"{share:.1%}", sep=" | ", flush=True)
    error = np.sqrt(0.9 * 0.1 / times)
    saved = {
        "title": "How often intervals hold a truth that is known",
        "commit": COMMIT,
        "note": "Simulated: no faces and no networks take part.",
        "machine": f"numpy {np.__version__}",
        "known": "How to read these shares:",
        "limits": [
            f"Nominal are 95%. At 90% a share of {times:,} simulations is known to {error:.1%} (standard error); joint "
            f"intervals, attacks and means over seeds have {times // 2:,} each.",
            (__doc__ or "").split("\n\n")[2].replace("\n", " ").strip().removesuffix(" Writes results/coverage.json."),
        ],
        "tables": [
            {
                "name": name,
                "caption": caption,
                "command": [f"python benchmarks/coverage.py --times {times}"],
                "columns": ["simulated", *next(iter(found[name].values()))],
                "rows": [[row, *shares.values()] for row, shares in found[name].items()],
            }
            for name, caption in TABLES.items()
        ],
    }
    OUT.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
