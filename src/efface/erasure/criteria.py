"""What must hold before changed weights are shipped, written down before the first candidate is made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from efface.erasure.deployed import Reading, as_strangers, mean_of, rate_of
from efface.erasure.record import Criterion
from efface.erasure.request import ErasureRequest
from efface.measures.bootstrap import Measure
from efface.results import VerdictWord

COMPACTNESS = "compactness of the people who asked"
RANK1 = "held-back photos found again, enrolled anew"
ACCEPTED = "held-back photos accepted, enrolled anew"
FMR = "false match rate of everybody else"
FNMR = "false non-match rate of everybody else"
OF_PEOPLE = {COMPACTNESS: "compactness", RANK1: "rank1", ACCEPTED: "accepted"}
UNRECOGNISABLE = 0.05
"""Share of photos of somebody unrecognisable that may still be matched."""
GROSS = 10
"""So many times the false matches that are allowed: a candidate is given up."""
ABOUT = {
    COMPACTNESS: "mean cosine between two photos of a person",
    RANK1: "share of photos that no method was handed whose nearest entry, in a gallery of everybody else and of the "
    "person enrolled by other such photos, is the person's",
    ACCEPTED: "share of pairs of such photos of one person that reach the threshold",
    FMR: "share of pairs of two people that reach the threshold",
    FNMR: "share of pairs of photos of one person that do not reach the threshold",
}


@dataclass(frozen=True)
class Checked:
    """One criterion and what came of it."""

    name: str
    value: float | None
    low: float
    """The values that are allowed, from here ..."""
    high: float
    """... to here."""
    aim: float
    """What strangers have, or the model before: the middle of what is allowed, or better."""

    @property
    def word(self) -> VerdictWord:
        """Whether it holds."""
        if self.value is None or not np.isfinite([self.low, self.high]).any():
            return "not enough data"
        return "pass" if self.low <= self.value <= self.high else "fail"

    @property
    def margin(self) -> float:
        """How far inside of what is allowed: 1 at the aim or beyond, 0 at the limit, below 0 outside."""
        if self.value is None or not np.isfinite([self.high, self.aim]).all():
            return -np.inf
        above = (self.high - self.value) / max(self.high - self.aim, 1e-9)
        below = (self.value - self.low) / max(self.aim - self.low, 1e-9) if np.isfinite(self.low) else 1.0
        return float(min(above, below, 1.0))


@dataclass(frozen=True)
class Verdict:
    """All criteria of one model."""

    checked: tuple[Checked, ...]

    @property
    def passed(self) -> bool:
        """Whether all of them hold."""
        return all(one.word == "pass" for one in self.checked)

    @property
    def harmful(self) -> bool:
        """Whether strangers are let in so much more often than was allowed that it will not come right again."""
        return any((one.value or 0) > GROSS * one.high for one in self.checked if one.name == FMR)

    @property
    def margin(self) -> float:
        """That of the criterion that is met by the least."""
        return min(one.margin for one in self.checked)

    @property
    def failed(self) -> list[str]:
        """Names of those that do not hold."""
        return [one.name for one in self.checked if one.word != "pass"]

    def summary(self) -> str:
        """On one line."""
        return "; ".join(
            f"{one.name} {'unknown' if one.value is None else f'{one.value:.3g}'} ({one.word})" for one in self.checked
        )


@dataclass(frozen=True)
class Limits:
    """Rates at the threshold that everybody else must keep to, and those of the model before."""

    fmr: float
    fnmr: float
    fmr_before: float
    fnmr_before: float


def limits_of(request: ErasureRequest, before: Reading) -> Limits:
    """What the user allows or, where nothing is said, the upper ends of the model's own intervals."""
    vectors = (before.rates.false_match, before.rates.false_non_match)
    given = (request.at_most_fmr, request.at_most_fnmr)
    own = [rate_of(vector, "") for vector in vectors]
    highs = [one.high if limit is None else limit for limit, one in zip(given, own, strict=True)]
    return Limits(*(np.nan if one is None else one for one in (*highs, *(rate.value for rate in own))))


def limits_of_choice(verdict: Limits, of_choice: Limits) -> Limits:
    """Limits for the photos of the choice: rates may grow there no more, in proportion, than on the verdict's."""
    fmr = min(of_choice.fmr, verdict.fmr / max(verdict.fmr_before, 1e-12) * of_choice.fmr_before)
    fnmr = min(of_choice.fnmr, verdict.fnmr / max(verdict.fnmr_before, 1e-12) * of_choice.fnmr_before)
    return replace(of_choice, fmr=fmr, fnmr=fnmr)


def asked_of(request: ErasureRequest, limits: Limits, people: int) -> list[Criterion]:
    """The criteria in words, for the record."""
    normal = f"as {people} {'stranger is' if people == 1 else 'strangers are'} by the same model, within 95% of draws"
    if request.goal == "unrecognisable":
        of_people = [
            Criterion(measure=RANK1, asked=f"no higher than {UNRECOGNISABLE:.0%}"),
            Criterion(measure=ACCEPTED, asked=f"no higher than {UNRECOGNISABLE:.0%}"),
        ]
    else:
        of_people = [
            Criterion(measure=COMPACTNESS, asked=f"neither higher nor lower than {normal}"),
            Criterion(measure=RANK1, asked=f"no higher than {normal}"),
            Criterion(measure=ACCEPTED, asked=f"no higher than {normal}"),
        ]
    return [
        *of_people,
        Criterion(measure=FMR, asked=f"at most {limits.fmr:.4g}"),
        Criterion(measure=FNMR, asked=f"at most {limits.fnmr:.4g}"),
    ]


def verdict_of(request: ErasureRequest, reading: Reading, limits: Limits) -> Verdict:
    """Check what one model was measured at."""
    found = []
    for name, column in OF_PEOPLE.items():
        value = mean_of(getattr(reading.forgotten, column), "").value
        if request.goal == "unrecognisable":
            if name != COMPACTNESS:
                found.append(Checked(name, value, -np.inf, UNRECOGNISABLE, 0.0))
            continue
        normal = strangers_of(reading, name)
        high = np.nan if normal.high is None else normal.high
        low = -np.inf if name != COMPACTNESS or normal.low is None else normal.low
        found.append(Checked(name, value, low, high, np.nan if normal.value is None else normal.value))
    for name, vector, limit, was in (
        (FMR, reading.rates.false_match, limits.fmr, limits.fmr_before),
        (FNMR, reading.rates.false_non_match, limits.fnmr, limits.fnmr_before),
    ):
        found.append(Checked(name, rate_of(vector, "").value, -np.inf, limit, was))
    return Verdict(tuple(found))


def strangers_of(reading: Reading, name: str) -> Measure:
    """What is normal of strangers, as many as the forgotten who were measured."""
    column = OF_PEOPLE[name]
    people = int(np.isfinite(getattr(reading.forgotten, column)).sum())
    about = f"{ABOUT[name]}, of strangers; interval: the mean of {people} of them in 95% of draws"
    return as_strangers(getattr(reading.strangers, column), max(people, 1), about)
