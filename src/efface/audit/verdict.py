"""Pass, fail, or not enough data to say: thresholds that were fixed before the run, held against whole intervals.

A value that meets its threshold while its interval does not proves nothing, so it passes nothing. And an instrument is
only believed when its controls come out as they must: the original has to fail, the negative control (non-members in
the place of the forgotten) and a second retrained model have to pass, and a constant prediction has to fail what is
asked for everybody else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from efface.evaluation.differences import difference
from efface.measure_key import ALL, MeasureKey
from efface.plan.tables import Criterion
from efface.results import (
    CONSTANT,
    NONMEMBERS,
    ORIGINAL,
    REFERENCE,
    SECOND_REFERENCE,
    CriterionMet,
    MeasureRecord,
    Summary,
    Verdict,
    VerdictWord,
)

ALPHA, POWER = 0.05, 0.8
UNDER_TRAINED = 0.1
"""How much worse a reference may answer the retained than the original does, as a share of the original's test error.
"""
MUST: Mapping[str, VerdictWord] = {ORIGINAL: "fail", SECOND_REFERENCE: "pass", NONMEMBERS: "pass", CONSTANT: "fail"}
"""What each control must come out as."""


def verdicts(
    rows: Sequence[Summary],
    accept: Mapping[MeasureKey, Criterion],
    error: str = "error",
    partial: Collection[str] = (),
) -> list[Verdict]:
    """One arm's rows, controls among them, against its criteria; none without criteria. error: name of the task's;
    partial: rows that were handed the strangers that the attack is scored with."""
    if not accept or not rows:
        return []
    for_others = any(key.concerns_others for key in accept)
    by_name = {one.method: one for one in rows if one.method != CONSTANT or for_others}
    found = {name: verdict_of(one, by_name[REFERENCE], accept) for name, one in by_name.items() if name != REFERENCE}
    wrong = {name: found[name].verdict for name, must in MUST.items() if name in found and found[name].verdict != must}
    if under_trained(by_name, error):
        wrong[REFERENCE] = "fail"
    doubts = [DOUBT[name][word] for name, word in wrong.items()]
    if not for_others:
        doubts.append("no threshold concerns utility for anybody else, so an untrained network would pass")
    return [
        given_controls(
            one,
            [*doubts, *(["it was trained on the attack's non-members"] if one.method in partial else [])],
            keeps=all(name == ORIGINAL or word != "fail" for name, word in wrong.items()),
        )
        for one in found.values()
    ]


def without_people(key: MeasureKey) -> bool:
    """Whether a measure is of a model as a whole, so that its interval comes from seeds alone."""
    return key.family == "weights" or (key.family, key.metric) in (
        ("relearn", "steps"),
        ("relearn", "ain"),
        ("distance", "nearer/p"),
    )


def applies_to(row: Summary, key: MeasureKey) -> bool:
    """Whether a criterion applies to a row: to the non-members what was measured of them, to a constant prediction what
    is asked for everybody else, to every other row all of it."""
    if row.method == CONSTANT:
        return key.concerns_others
    return row.method != NONMEMBERS or key in row.measures


def under_trained(rows: Mapping[str, Summary], error: str) -> bool:
    """Whether the reference answers the *retained* worse than the original does, beyond doubt: it had fewer faces to
    learn and should know these no worse, so it was not trained as well, and what is near it is near a poor model."""
    retained = MeasureKey("score", error, split="retain", group=ALL)
    first, without = (rows[row].measures.get(retained) for row in (ORIGINAL, REFERENCE))
    usual = rows[ORIGINAL].measures.get(MeasureKey("score", error, split="test", group=ALL))
    if not (first and without and usual and first.span and without.span and usual.span):
        return False
    return without.span[1] > first.span[2] and without.span[0] - first.span[0] > UNDER_TRAINED * usual.span[0]


def verdict_of(row: Summary, reference: Summary, accept: Mapping[MeasureKey, Criterion]) -> Verdict:
    """One row's verdict, whatever the controls say; a row that diverged fails."""
    if row.diverged:
        seeds = ", ".join(map(str, row.diverged))
        return Verdict(
            arm=row.arm,
            method=row.method,
            verdict="fail",
            criteria=[],
            must=MUST.get(row.method),
            why=f"diverged (seed {seeds}): it answers with what is no number",
        )
    met = [criterion_met(key, criterion, row, reference) for key, criterion in accept.items() if applies_to(row, key)]
    words = [one.verdict for one in met]
    word: VerdictWord = (
        "fail" if "fail" in words else "not enough data" if "not enough data" in words or not words else "pass"
    )
    return Verdict(
        arm=row.arm,
        method=row.method,
        verdict=word,
        criteria=met,
        must=MUST.get(row.method),
        why="" if words else "none of the criteria was measured",
    )


def criterion_met(key: MeasureKey, criterion: Criterion, row: Summary, reference: Summary) -> CriterionMet:
    """One measure of one row against one threshold."""
    record = difference_to_reference(key, row, reference) if criterion.within is not None else row.measures.get(key)
    asked = in_words(criterion)
    if record is None or record.span is None:
        return CriterionMet(
            measure=key,
            asked=asked,
            value=None,
            low=None,
            high=None,
            verdict="not enough data",
            detectable=None,
            why="not measured" if record is None else record.about,
        )
    value, low, high = record.span
    alone = len(row.seeds) <= (2 if row.method == SECOND_REFERENCE else 1)
    if low == high and alone and without_people(key):
        return CriterionMet(
            measure=key,
            asked=asked,
            value=None,
            low=None,
            high=None,
            verdict="not enough data",
            detectable=None,
            why="one pair of retrained models leaves no interval"
            if row.method == SECOND_REFERENCE
            else "one seed leaves no interval",
        )
    least, most = allowed(criterion)
    word: VerdictWord = (
        "pass" if least <= low and high <= most else "fail" if high < least or low > most else "not enough data"
    )
    return CriterionMet(
        measure=key,
        asked=asked,
        value=value,
        low=low,
        high=high,
        verdict=word,
        detectable=detectable(low, high),
        why="",
    )


def difference_to_reference(key: MeasureKey, row: Summary, reference: Summary) -> MeasureRecord | None:
    """A measure less the reference's; of the second retrained model the mean over all pairs of them."""
    return row.differences.get(key) or difference(key, row.measures, reference.measures)


def allowed(criterion: Criterion) -> tuple[float, float]:
    """Between what a value, or its distance to the reference's, may lie."""
    if criterion.within is not None:
        return -criterion.within, criterion.within
    return (
        criterion.at_least if criterion.at_least is not None else float("-inf"),
        criterion.at_most if criterion.at_most is not None else float("inf"),
    )


def in_words(criterion: Criterion) -> str:
    if criterion.within is not None:
        return f"within {criterion.within:g} of the reference's"
    return f"at most {criterion.at_most:g}" if criterion.at_most is not None else f"at least {criterion.at_least:g}"


def detectable(low: float, high: float) -> float:
    """The smallest shift that an interval like this one would have shown in four of five repetitions: its standard
    error times the sum of both normal quantiles (two-sided 5%, power 80%)."""
    from scipy import stats

    error = (high - low) / (2 * stats.norm.ppf(1 - ALPHA / 2))
    return float(error * (stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)))


def given_controls(verdict: Verdict, doubts: Sequence[str], keeps: bool) -> Verdict:
    """A verdict once the controls are known: where one came out wrong no row passes; and who fails, fails only as long
    as no control speaks against the instrument itself (`keeps`): too few people to see that a retrained model passes
    are no excuse for a leak that they were enough to see."""
    diverged = verdict.verdict == "fail" and not verdict.criteria
    if not doubts or diverged or verdict.method in MUST:
        return verdict
    word: VerdictWord = "fail" if keeps and verdict.verdict == "fail" else "not enough data"
    return verdict.model_copy(update={"verdict": word, "why": "; ".join(doubts)})


UNSURE = "there are too few people or seeds to say that {}"
DOUBT: Mapping[str, Mapping[VerdictWord, str]] = {
    ORIGINAL: {
        "pass": "the original passes as well: there is too little to forget here, or too little data to see it",
        "not enough data": UNSURE.format("the original fails"),
    },
    SECOND_REFERENCE: {
        "fail": "the second retrained model fails: these thresholds are tighter than the noise floor",
        "not enough data": UNSURE.format("the second retrained model passes"),
    },
    REFERENCE: {
        "fail": "the retrained reference is under-trained: its error on the retained is far above the original's"
    },
    NONMEMBERS: {
        "fail": "the negative control (non-members) fails: the attacks detect something other than membership",
        "not enough data": UNSURE.format("the negative control (non-members) passes"),
    },
    CONSTANT: {
        "pass": "the constant-prediction control passes what is asked for everybody else: require more than "
        "a constant answer",
        "not enough data": UNSURE.format("the constant-prediction control fails what is asked for everybody else"),
    },
}
"""What a control that came out wrong means."""
