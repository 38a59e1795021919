"""Who pays, group by group, worded and drawn for a page: tables, the curve over skews, what a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from efface.measure_key import MeasureKey
from efface.report import plots, wording
from efface.results import CONSTANT, REFERENCE, SECOND_REFERENCE, Request, Results, Summary, TaskCard


@dataclass(frozen=True)
class Table:
    """Models by what stands beside each: (value, interval) in every cell."""

    head: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]


def between(summaries: Mapping[str, Summary], task: TaskCard) -> Table | None:
    """How far groups are apart under every model; None where there is one group."""
    error, share = task.error, task.accuracy_score
    columns = {
        MeasureKey("fairness", f"{error}/worst group"): f"{spoken(error)}, worst group",
        MeasureKey("fairness", f"{error}/max over geomean"): "worst over geometric mean",
        MeasureKey("fairness", f"{share}/equalised odds"): f"equalised odds difference, {spoken(share)}",
        MeasureKey("fairness", f"{share}/forgotten's group"): f"{spoken(share)}, forgotten's group (GA)",
        MeasureKey(
            "disparity_points", error, against="original"
        ): "forgotten's group beyond all others, points, against original",
        MeasureKey("disparity_points", error, against="reference"): "the same against the reference",
        MeasureKey("distance", "avg_gap"): "average gap (100: as the reference)",
        MeasureKey("fairness", "fmr/max over geomean"): "false matches, worst over geometric mean",
        MeasureKey("fairness", "fnmr/max over geomean"): "false non-matches, worst over geometric mean",
    }
    known = {name: title for name, title in columns.items() if any(name in one.measures for one in summaries.values())}
    if MeasureKey("disparity_points", error, against="original") not in known:
        return None
    return Table(
        list(known.values()),
        [(row, [wording.value_and_span(one.measures.get(name)) for name in known]) for row, one in summaries.items()],
    )


def error_rates(summaries: Mapping[str, Summary]) -> Table | None:
    """False match and false non-match rates by group; None where nobody is recognised, or of one group."""
    names = list(
        dict.fromkeys(key for one in summaries.values() for key in one.measures if key.family in ("fmr", "fnmr"))
    )
    if len(names) < 3:
        return None
    head = [f"{'false matches' if key.family == 'fmr' else 'false non-matches'}, {key.group}" for key in names]
    return Table(
        head,
        [(row, [wording.value_and_span(one.measures.get(name)) for name in names]) for row, one in summaries.items()],
    )


@dataclass(frozen=True)
class IntersectionTable:
    """Groups by what else is known of people."""

    table: Table
    """Cells in the rows, models in the columns."""
    small: list[str]
    """Cells of too few people, in words."""


def intersection_table(summaries: Mapping[str, Summary], task: TaskCard) -> IntersectionTable | None:
    """Every intersection's change of error under every model; None without any."""
    models = {name: one for name, one in summaries.items() if name != "original"}
    cells = list(
        dict.fromkeys(
            key
            for one in models.values()
            for key in one.measures
            if key.family == "intersection increase" and key.metric == task.error
        )
    )
    if not cells:
        return None
    people = {key.group: summaries[REFERENCE].measures[key].people for key in cells}
    small = [f"{cell} ({count} people)" for cell, count in people.items() if count is not None]
    rows = []
    for key in cells:
        spans = [wording.interval(one.measures.get(key), percent=True).partition(" ") for one in models.values()]
        rows.append((key.group, [(value, span) for value, _, span in spans]))
    return IntersectionTable(Table(list(models), rows), small)


def skewed(results: Results) -> dict[str, list[Request]]:
    """The arms of every request that was made at several skews, by the name of the arm less the skew."""
    arms: dict[str, list[Request]] = {}
    for request in results.requests:
        if request.skew is not None:
            arms.setdefault(wording.less(request.arm, f"skew {request.skew:.0%}"), []).append(request)
    return {
        name: sorted(requests, key=lambda one: one.skew or 0) for name, requests in arms.items() if len(requests) > 1
    }


def curves(results: Results, requests: list[Request]) -> list[tuple[str, str]]:
    """(what is shown, plot): disparity against skew, and what an attacker sees, of every method."""
    task = requests[0].task
    rows = {
        request.arm: {one.method: one for one in results.summaries if one.arm == request.arm} for request in requests
    }
    models = [name for name in rows[requests[0].arm] if name not in ("original", SECOND_REFERENCE, CONSTANT)]
    methods = {name: stage["use"] for name, stage in results.plan[requests[0].arm]["methods"].items()}
    group = requests[-1].forgotten_group

    def told(measure: MeasureKey) -> dict[str, dict[str, list[plots.Span]]]:
        families: dict[str, dict[str, list[plots.Span]]] = {}
        for model in models:
            family = methods.get(model, "retrain")
            spans = [
                record.span if (record := rows[request.arm][model].measures.get(measure)) else None
                for request in requests
            ]
            families.setdefault(family, {})[model.removeprefix(f"{family}, ")] = spans
        return families

    skews = [request.skew or 0.0 for request in requests]
    return [
        (
            f"How many percentage points more the {spoken(task.error)} of {group} grew than everyone else's; 0: all "
            "pay alike.",
            plots.against_skew(
                skews,
                told(MeasureKey("disparity_points", task.error, against="original")),
                "points beyond everyone else",
                0,
            ),
        ),
        (
            "What an attacker sees of the forgotten: where a line lies above the retrained one, little harm "
            "is no merit.",
            plots.against_skew(skews, told(wording.ATTACK_AUC), "attack AUC", 0.5),
        ),
    ]


def by_skew(results: Results, requests: list[Request]) -> Table:
    """The same in numbers: of every method and skew the disparity and the attack."""
    task = requests[0].task
    rows = {
        request.arm: {one.method: one for one in results.summaries if one.arm == request.arm} for request in requests
    }
    measures = {
        MeasureKey("disparity_points", task.error, against="original"): "points beyond everyone else",
        wording.ATTACK_AUC: "attack AUC",
    }
    return Table(
        [f"{title}, {request.skew:.0%}" for title in measures.values() for request in requests],
        [
            (
                model,
                [
                    wording.value_and_span(rows[request.arm][model].measures.get(measure))
                    for measure in measures
                    for request in requests
                ],
            )
            for model in rows[requests[0].arm]
        ],
    )


def trade_offs(results: Results, arm: str, task: TaskCard) -> str:
    """What the searches of an arm tried, of the first seed; "" where nothing was searched."""
    mine = [search for search in results.searches if search.arm == arm]
    first = [search for search in mine if search.seed == mine[0].seed]
    return plots.trade_off(first, spoken(task.error)) if first else ""


def spoken(name: str) -> str:
    return name.replace("_", " ")
