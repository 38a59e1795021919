"""A model before and a model after, side by side, as a record and a report have it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from efface.data.faces import Array
from efface.erasure.criteria import ABOUT, FMR, FNMR, OF_PEOPLE, strangers_of
from efface.erasure.deployed import Judged, Rates, Reading, drift, mean_of, old_entries, rate_of
from efface.erasure.photos import RequestPhotos
from efface.erasure.record import Estimate, Evidence, GroupMeasurements, Measurement
from efface.erasure.trained_on import Signs, TrainedOn
from efface.measures.bootstrap import Measure

STRANGERS = {name: f"{name}: strangers" for name in OF_PEOPLE}
OLD_ENTRIES = "held-back photos accepted by entries made with the model before"
OLD_FNMR, OLD_FMR = f"{FNMR}, by entries made with the model before", f"{FMR}, by entries made with the model before"
DRIFT = "drift of everybody else's embeddings"
OF_BOTH = (OLD_ENTRIES, OLD_FNMR, OLD_FMR, DRIFT)
"""Measures that compare the two models with each other."""


def measurements_of(
    before: Reading,
    after: Reading | None,
    vectors: tuple[Array, Array | None],
    photos: RequestPhotos,
    judged: Judged,
    threshold: float,
) -> tuple[list[Measurement], bool | None]:
    """All measurements, and whether the gallery must be enrolled again; after: of the model after, if there is one."""
    both = (before, after)
    found = []
    for name, column in OF_PEOPLE.items():
        of_people = [None if one is None else mean_of(getattr(one.forgotten, column), ABOUT[name]) for one in both]
        normal = [None if one is None else strangers_of(one, name) for one in both]
        found += [paired(name, *of_people), paired(STRANGERS[name], *normal)]
    found += of_rates([before.rates, None if after is None else after.rates])
    old, new = vectors
    if new is None:
        return found, None
    shares, crossed = old_entries(old, new, photos.faces.identities, judged, threshold)
    now_shares, _ = old_entries(old, old, photos.faces.identities, judged, threshold)
    about = "share of pairs of a held-back photo by the model after and an entry of the person made before"
    found.append(paired(OLD_ENTRIES, mean_of(now_shares, about), mean_of(shares, about)))
    for name, vector, was in (
        (OLD_FMR, crossed.false_match, before.rates.false_match),
        (OLD_FNMR, crossed.false_non_match, before.rates.false_non_match),
    ):
        found.append(paired(name, rate_of(was, ABOUT[FMR if name == OLD_FMR else FNMR]), rate_of(vector, "")))
    moved = drift(old, new, photos.faces.identities, judged.others)
    found.append(paired(DRIFT, None, moved))
    worse = [
        bool(vector[0] > np.percentile(was[1:], 97.5))
        for vector, was in (
            (crossed.false_match, before.rates.false_match),
            (crossed.false_non_match, before.rates.false_non_match),
        )
    ]
    return found, any(worse)


def of_rates(both: list[Rates | None]) -> list[Measurement]:
    """The two rates of errors before and after."""
    return [
        paired(name, *(None if one is None else rate_of(getattr(one, field), ABOUT[name]) for one in both))
        for name, field in ((FMR, "false_match"), (FNMR, "false_non_match"))
    ]


def groups_of(before: Reading, after: Reading | None, photos: RequestPhotos, judged: Judged) -> list[GroupMeasurements]:
    """The rates by group."""
    faces, rows = photos.faces, judged.others
    return [
        GroupMeasurements(
            group=name,
            people=len(np.unique(faces.identities[rows][faces.groups[rows] == name])),
            measurements=of_rates([rates, None if after is None else after.groups[name]]),
        )
        for name, rates in before.groups.items()
    ]


def evidence_of(found: TrainedOn) -> Evidence:
    """Whether they were trained on, for the record."""
    return Evidence(
        conclusion=found.conclusion,  # type: ignore[arg-type]
        about="photos of the people who asked against photos of public people; photos of one occasion look compact too",
        measurements=[measurement_of(one) for one in found.signs],
    )


def measurement_of(sign: Signs) -> Measurement:
    """One comparison with strangers; before: the people who asked, after is none."""
    mean = float(sign.theirs.mean()) if len(sign.theirs) else None
    normal = float(sign.strangers.mean()) if len(sign.strangers) else None
    said = "" if normal is None else f"; strangers have {normal:.3f}"
    effect = sign.smallest_effect if np.isfinite(sign.smallest_effect) else None
    return Measurement(
        name=sign.name,
        before=None if mean is None else Estimate(value=mean),
        about=f"{sign.about}{said}; share of random draws as high: {sign.p:.4f}",
        smallest_effect=effect,
    )


def paired(name: str, before: Measure | None, after: Measure | None) -> Measurement:
    """One measurement of both models."""
    about = next((one.about for one in (before, after) if one is not None and one.about), name)
    return Measurement(name=name, before=estimate(before), after=estimate(after), about=about)


def estimate(measure: Measure | None) -> Estimate | None:
    """A measure as a record has it."""
    if measure is None or measure.value is None:
        return None
    return Estimate(value=measure.value, low=measure.low, high=measure.high)


def by_name(measurements: list[Measurement]) -> Mapping[str, Measurement]:
    """Measurements by their names."""
    return {one.name: one for one in measurements}
