"""What an audit found, worded for a page: verdicts, models beside measures, people by how much they stand out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from efface.audit.verdict import difference_to_reference
from efface.evaluation.evidence import Evidence, exposure
from efface.measure_key import MeasureKey
from efface.report import wording
from efface.report.pictures import Picture, caption_of, drawn
from efface.results import (
    CONSTANT,
    LEAST_HEADROOM,
    ORIGINAL,
    REFERENCE,
    SECOND_REFERENCE,
    CriterionMet,
    MeasureRecord,
    Results,
    Summary,
    Verdict,
)

ATTACK = MeasureKey("attack", "loss/auc", level="photo")
COLUMNS: tuple[tuple[MeasureKey, str], ...] = (
    (ATTACK, "loss"),
    (MeasureKey("attack", "class-matched/auc", level="photo"), "loss, same class"),
    (MeasureKey("attack", "confidence/auc", level="photo"), "confidence"),
    (MeasureKey("attack", "entropy/auc", level="photo"), "entropy"),
    (MeasureKey("attack", "modified entropy/auc", level="photo"), "modified entropy"),
    (MeasureKey("attack", "logistic/auc", level="photo"), "logistic"),
    (MeasureKey("attack", "forest/auc", level="photo"), "forest"),
    (MeasureKey("attack", "rmia/auc", level="photo"), "RMIA"),
    (MeasureKey("attack", "lira/auc", level="photo"), "LiRA"),
    (MeasureKey("attack", "lira/auc", level="person"), "LiRA, person"),
    (MeasureKey("attack", "lira/tpr_at_1%_fpr", level="photo"), "LiRA, TPR at 1% FPR"),
    (MeasureKey("attack", "u-lira/auc", level="photo"), "U-LiRA"),
    (MeasureKey("attack", "u-lira/auc of the reference", level="photo"), "the same U-LiRA on the reference"),
    (MeasureKey("attack", "u-lira/auc over shadows", level="photo"), "U-LiRA over shadows"),
    (MeasureKey("epsilon", "mean"), "epsilon"),
    (MeasureKey("completeness"), "completeness"),
    (MeasureKey("distance", "tow"), "ToW"),
    (MeasureKey("distance", "tow_mia"), "ToW, attack"),
    (MeasureKey("distance", "avg_gap"), "average gap"),
    (MeasureKey("distance", "js", split="forget"), "JS"),
    (MeasureKey("distance", "kl", split="forget"), "KL"),
    (MeasureKey("distance", "activation", split="forget"), "activations"),
    (MeasureKey("distance", "answers", split="forget"), "answers apart"),
    (MeasureKey("distance", "neighbours", split="forget"), "neighbours shared"),
    (MeasureKey("distance", "cka", split="forget"), "CKA"),
    (MeasureKey("distance", "agreement", split="forget"), "agreement"),
    (MeasureKey("distance", "wasserstein/signal"), "Wasserstein"),
    (MeasureKey("distance", "nearer"), "nearer to (1 original, −1 reference)"),
    (MeasureKey("relearn", "ain"), "relearning, of the reference's"),
)
"""What stands beside every model, in this order, where it was measured."""
MARKS: Mapping[str, str] = {"pass": "passes", "fail": "fails", "not enough data": "not enough data to say"}


@dataclass(frozen=True)
class Cell:
    """A value, its interval, and whether it can be told from what it is compared with."""

    value: str
    span: str
    told: bool | None
    """None where there is nothing to compare with."""


@dataclass(frozen=True)
class Matrix:
    """Models by measures."""

    head: list[tuple[str, str]]
    """(name, how many models differ by it from retrained models, and its headroom)"""
    rows: list[tuple[str, list[Cell]]]


def matrix(summaries: Mapping[str, Summary], headroom: Mapping[MeasureKey, float | None]) -> Matrix | None:
    """Every model beside every attack and distance that was measured; None without any.

    headroom: of each measure; where it is too small, nothing differs: the measure cannot separate methods here.
    """
    columns = COLUMNS
    if not any(ATTACK in one.measures for one in summaries.values()):
        columns = ((wording.ATTACK_AUC, "loss"), *COLUMNS)
    known = [(key, title) for key, title in columns if any(key in one.measures for one in summaries.values())]
    if not known:
        return None
    rows = [(row, [cell(key, row, summaries, headroom.get(key)) for key, _ in known]) for row in summaries]
    head = []
    for place, (key, title) in enumerate(known):
        told = [cells[place].told for row, cells in rows if row not in (REFERENCE, SECOND_REFERENCE, CONSTANT)]
        said = [one for one in told if one is not None]
        head.append((title, wording.headroom(headroom.get(key), f"{sum(said)} of {len(said)} differ" if said else "")))
    return Matrix(head, rows)


def cell(key: MeasureKey, row: str, summaries: Mapping[str, Summary], headroom: float | None) -> Cell:
    """One measure of one model. Attacks are compared with the same on the reference, distances with their floor;
    nothing differs where the measure has no headroom."""
    record = summaries[row].measures.get(key)
    value, span = wording.value_and_span(record)
    if row == REFERENCE and key.family == "distance":
        return Cell("–", "", None)
    if record is None or record.span is None or row == REFERENCE or record.low == record.high:
        return Cell(value, span, None)
    if headroom is not None and headroom < LEAST_HEADROOM:
        return Cell(value, span, False)
    floor = summaries.get(SECOND_REFERENCE)
    if key.family != "distance":
        gap = difference_to_reference(key, summaries[row], summaries[REFERENCE])
        return Cell(value, span, None if gap is None or gap.span is None else not gap.span[1] <= 0 <= gap.span[2])
    usual = floor.measures.get(key) if floor else None
    return Cell(value, span, None if row == SECOND_REFERENCE or usual is None else far(record, usual))


def far(one: MeasureRecord, other: MeasureRecord) -> bool | None:
    """Whether two values differ beyond their joined intervals."""
    if one.span is None or other.span is None:
        return None
    (a, a_low, a_high), (b, b_low, b_high) = one.span, other.span
    reach = math.hypot(a - a_low, b_high - b) if a > b else math.hypot(a_high - a, b - b_low)
    return abs(a - b) > reach


@dataclass(frozen=True)
class VerdictRow:
    """A verdict in words."""

    name: str
    verdict: str
    said: str
    must: str
    why: str
    criteria: list[tuple[str, str, str, str, str]]
    """(measure, what was asked, value with interval, verdict, smallest shift that would have shown)"""


def verdict_rows(results: Results, arm: str) -> list[VerdictRow]:
    """The verdicts of an arm, controls first."""
    mine = sorted((one for one in results.verdicts if one.arm == arm), key=lambda one: one.must is None)
    asked = {met.measure: met.asked for one in mine for met in one.criteria}
    found = []
    for one in mine:
        met = {each.measure: each for each in one.criteria}
        cells = [
            criterion_cells(met[name]) if name in met else (name, asked[name], "–", "cannot be asked of it", "–")
            for name in asked
        ]
        found.append(
            VerdictRow(
                control_name(one),
                one.verdict,
                MARKS[one.verdict],
                f"must be “{one.must}”" if one.must else "",
                one.why,
                cells,
            )
        )
    return found


def doubts(verdicts: Sequence[VerdictRow]) -> list[str]:
    """Why nothing can be said of a row, once for all rows of which it is so."""
    rows: dict[str, list[str]] = {}
    for one in verdicts:
        if one.why:
            rows.setdefault(one.why, []).append(one.name)
    return [f"{wording.quoted(names)}: {why}." for why, names in rows.items()]


def control_name(one: Verdict) -> str:
    """A row's name among verdicts; the original is a control there: it has to fail."""
    return "positive control: the original" if one.method == ORIGINAL else wording.row_title(one.method)


def criterion_cells(met: CriterionMet) -> tuple[str, str, str, str, str]:
    value = (
        met.why
        if met.value is None
        else (f"{wording.number(met.value)} [{wording.number(met.low)}, {wording.number(met.high)}]")
    )
    return met.measure, met.asked, value, MARKS[met.verdict], wording.number(met.detectable, 2)


def changed_thresholds(results: Results) -> bool:
    """Whether the thresholds are others than those that stood there before the first model."""
    return results.thresholds is not None and results.thresholds.sha256 != results.thresholds.first_sha256


@dataclass(frozen=True)
class Person:
    """One forgotten person."""

    name: str
    photos: int
    exposures: list[tuple[str, int]]
    """Under each model the share of strangers who stand out less, and that in percent."""


def people(evidence: Evidence, most: int = 12) -> list[Person]:
    """The forgotten who stand out most, by the mean over their photos and over what methods made."""
    names = np.unique(evidence.whose[evidence.whose != ""])
    ranks = np.stack([exposure(row, evidence) for row in evidence.membership_score])
    means = {}
    for name in names.tolist():
        rows = (evidence.whose == name) & np.isfinite(ranks).all(0)
        if rows.any():
            means[name] = (int(rows.sum()), ranks[:, rows].mean(1))
    made = slice(2, None) if len(ranks) > 2 else slice(0, 1)
    ordered = sorted(means, key=lambda name: -float(means[name][1][made].mean()))[:most]
    return [
        Person(name, means[name][0], [(f"{100 * one:.0f}%", int(100 * one)) for one in means[name][1]])
        for name in ordered
    ]


def exposed(evidence: Evidence, models: Sequence[str], colours: Mapping[str, str]) -> list[Picture]:
    """The forgotten photos that stand out most, and under each of these models how much."""
    ranks = {
        name: exposure(evidence.membership_score[evidence.models.tolist().index(name)], evidence) for name in models
    }
    return [
        Picture(
            drawn(image, None, []),
            caption_of(evidence.whose[row], evidence.group[row]),
            [(colours[name], f"{100 * ranks[name][row]:.0f}% of strangers stand out less") for name in models],
        )
        for image, row in zip(evidence.exposed_images, evidence.exposed.tolist(), strict=True)
    ]
