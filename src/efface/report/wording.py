"""Numbers in plain words: the same words for the same intervals, always."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from efface.audit.verdict import difference_to_reference
from efface.measure_key import ALL, MeasureKey
from efface.results import (
    CONSTANT,
    LEAST_HEADROOM,
    NONMEMBERS,
    REFERENCE,
    SECOND_REFERENCE,
    MeasureRecord,
    Summary,
)

ForgettingStatus = Literal["diverged", "remembered", "as retrained", "contradicted", "overshot", "unknown"]

FORGETTING_STATUS: Mapping[ForgettingStatus, str] = {
    "diverged": "diverged",
    "remembered": "incomplete forgetting",
    "as retrained": "as retrained",
    "contradicted": "measures disagree",
    "overshot": "over-forgetting",
    "unknown": "inconclusive",
}

ATTACK_AUC = MeasureKey("membership", "auc", level="photo")
FORGOTTEN_PERCENT = MeasureKey("forgotten", "percent")
SIGNAL_TO_REFERENCE = MeasureKey("forgotten", "signal_to_reference")

AS_RETRAINED = (75.0, 125.0)
"""Percent of the way within which the whole interval must lie to be called as retrained: that an interval touches the
reference is no evidence of equality when it also touches the original."""


def headroom(value: float | None, differing: str) -> str:
    """What stands under the name of a measure: how far the original is from retrained models, in standard errors, and
    how many models differ from these; or that it cannot tell."""
    if value is None:
        return differing
    said = f"headroom {value:.1f}"
    if value < LEAST_HEADROOM:
        return f"{said}: this measure cannot separate methods here"
    return f"{said}; {differing}" if differing else said


def forgetting_status(row: Summary, reference: Summary, error: str) -> ForgettingStatus:
    """Where the forgotten stand: their mean log loss against the retrained reference's, by its intervals; the attack
    and the error on them, a score of the task, may contradict it."""
    if row.diverged:
        return "diverged"
    measures = row.measures
    gap, way = measures.get(SIGNAL_TO_REFERENCE), measures.get(FORGOTTEN_PERCENT)
    if gap is not None and gap.high is not None and gap.high < 0:
        return "remembered"
    if gap is not None and gap.low is not None and gap.low > 0:
        return "overshot"
    if way is None or way.low is None or way.high is None:
        return "unknown"
    if not (AS_RETRAINED[0] <= way.low and way.high <= AS_RETRAINED[1]):
        return "unknown"
    others = (ATTACK_AUC, MeasureKey("score", error, split="forget", group=ALL))
    gaps = [difference_to_reference(key, row, reference) for key in others]
    spans = [one.span for one in gaps if one is not None and one.span is not None]
    return "as retrained" if all(low <= 0 <= high for _, low, high in spans) else "contradicted"


def forgotten(way: MeasureRecord | None, status: ForgettingStatus) -> str:
    """Percent of the way to the retrained reference; a dash where it is not known or other measures contradict it."""
    return "–" if way is None or way.value is None or status == "contradicted" else f"{way.value:.0f}%"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits and no exponent; a dash where there is none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return (f"{value:.0f}" if "e" in text else text).replace("-", "−")


def signed(value: float | None, unit: str = "%") -> str:
    """A change: +12%, −3%, ±0%."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 10 else 1
    rounded = round(value, digits)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else "±"
    return f"{sign}{abs(rounded):.{digits}f}{unit}"


def interval(record: MeasureRecord | None, percent: bool = False) -> str:
    """`value [low, high]`."""
    if record is None or record.value is None:
        return "–"
    say = (lambda v: signed(v)) if percent else number
    return f"{say(record.value)} [{say(record.low)}, {say(record.high)}]"


HELD: Mapping[int, tuple[int, int]] = {8: (80, 90), 15: (84, 92), 30: (86, 93), 100: (88, 95)}
"""By how many people a mean is of: in how many of 100 simulations its 95% interval holds the truth, from the worst case
simulated to the best (results/coverage.json)."""


def narrow_intervals(people: Mapping[str, Mapping[str, int]]) -> str:
    """What must be known of intervals over few people, by split and group; empty where there are many of everybody. Of
    a number of people that was not simulated, the next lower one speaks."""
    few = {
        "the forgotten": sum(people.get("forget", {}).values()),
        **{f"test faces of group {name}": count for name, count in people.get("test", {}).items() if name},
    }
    few = {who: count for who, count in few.items() if 0 < count < max(HELD)}
    if not few:
        return ""
    known = max((count for count in HELD if count <= min(few.values())), default=min(HELD))
    worst, best = HELD[known]
    return (
        "Intervals over few people are narrower than they should be: simulated, those called 95% held the truth in "
        f"{worst} to {best}% of cases with {known} people, least where numbers of photos are very unequal. Here: "
        f"{', '.join(f'{who} ({count} people)' for who, count in few.items())}."
    )


def value_and_span(record: MeasureRecord | None) -> tuple[str, str]:
    """`value` and `[low, high]`."""
    value, _, span = interval(record).partition(" ")
    return value, span


TIMES_FEWER = ("fewer faces than retraining", "fewer CPU seconds than retraining")


def times(ratio: float | None) -> str:
    """`12×`; a dash where it is not known."""
    return "–" if ratio is None else f"{ratio:.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def harm(measures: Mapping[MeasureKey, MeasureRecord], score: str, group: str, against: str = "original") -> str:
    """Whether a group's error grew beyond doubt: `+12%`, or `no change beyond noise`."""
    change = measures.get(MeasureKey("increase", score, against=against, group=group))
    if change is None or change.value is None or change.low is None or change.high is None:
        return "not measured"
    if change.low <= 0 <= change.high:
        return f"no change beyond noise ({signed(change.value)})"
    return signed(change.value)


HANDED = "handed the non-members: attacks on it say nothing"

ROW_TITLES: Mapping[str, str] = {
    REFERENCE: "retrained reference",
    SECOND_REFERENCE: "second retrained model (noise floor)",
    NONMEMBERS: "negative control: non-members",
    CONSTANT: "constant-prediction control",
}
"""How a report names the rows that it has of itself."""


def row_title(name: str) -> str:
    """A row's name in words."""
    return ROW_TITLES.get(name, name)


def title_of(row: Summary) -> str:
    """A row's name in words, with what must be known before its attack is believed."""
    return f"{row_title(row.method)} ({HANDED})" if row.trained_on_nonmembers else row_title(row.method)


def less(arm: str, ending: str) -> str:
    """An arm's name without what a plan adds to it for each skew or round."""
    return arm.removesuffix(ending).removesuffix(", ")


def listed(items: list[str]) -> str:
    """a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def quoted(items: list[str]) -> str:
    """“a”, “b, c” and “d”."""
    return listed([f"“{item}”" for item in items])


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """1 person, 1,200 people."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
