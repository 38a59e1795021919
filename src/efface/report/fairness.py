"""Who pays, group by group, worded and drawn for a page: tables, the curve over skews, what a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from efface.plan.tables import OTHER_SEED, REFERENCE
from efface.report import plots, wording
from efface.results import Request, Results, Summary
from efface.tasks import TASKS, Task


@dataclass(frozen=True)
class Table:
    """Models by what stands beside each: (value, interval) in every cell."""

    head: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]


def between(summaries: Mapping[str, Summary], task: Task) -> Table | None:
    """How far groups are apart under every model; None where there is one group."""
    error, share = task.error, task.accuracy_score
    columns = {
        f"fairness/{error}/worst group": f"{spoken(error)}, worst group",
        f"fairness/{error}/max over geomean": "worst over geometric mean",
        f"fairness/{share}/equalised odds": f"equalised odds difference, {spoken(share)}",
        f"fairness/{share}/forgotten's group": f"{spoken(share)}, forgotten's group (GA)",
        f"disparity_points/{error}/against original": "forgotten's group beyond all others, points, against original",
        f"disparity_points/{error}/against reference": "the same against the reference",
        "distance/avg_gap": "average gap (100: as the reference)",
        "fmr/max over geomean": "false matches, worst over geometric mean",
        "fnmr/max over geomean": "false non-matches, worst over geometric mean",
    }
    known = {name: title for name, title in columns.items() if any(name in one.measures for one in summaries.values())}
    if f"disparity_points/{error}/against original" not in known:
        return None
    return Table(
        list(known.values()),
        [(row, [wording.value_and_span(one.measures.get(name)) for name in known]) for row, one in summaries.items()],
    )


def error_rates(summaries: Mapping[str, Summary]) -> Table | None:
    """False match and false non-match rates by group; None where nobody is recognised, or of one group."""
    names = list(
        dict.fromkeys(
            name
            for one in summaries.values()
            for name in one.measures
            if name.startswith(("fmr/", "fnmr/")) and "geomean" not in name
        )
    )
    if len(names) < 3:
        return None
    head = [
        f"{'false matches' if name.startswith('fmr') else 'false non-matches'}, {name.split('/', 1)[1]}"
        for name in names
    ]
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


def intersection_table(summaries: Mapping[str, Summary], task: Task) -> IntersectionTable | None:
    """Every intersection's change of error under every model; None without any."""
    prefix = f"intersection/{task.error}/against original/"
    models = {name: one for name, one in summaries.items() if name != "original"}
    cells = list(dict.fromkeys(name for one in models.values() for name in one.measures if name.startswith(prefix)))
    if not cells:
        return None
    abouts = {name: summaries[REFERENCE].measures[name].about for name in cells}
    small = [
        f"{name.removeprefix(prefix)} ({about.split('(only ')[1].split(' people')[0]} people)"
        for name, about in abouts.items()
        if "(only " in about
    ]
    rows = []
    for name in cells:
        spans = [wording.interval(one.measures.get(name), percent=True).partition(" ") for one in models.values()]
        rows.append((name.removeprefix(prefix), [(value, span) for value, _, span in spans]))
    return IntersectionTable(Table(list(models), rows), small)


def skewed(results: Results) -> dict[str, list[Request]]:
    """The arms of every request that was made at several skews, by the name of the arm less the skew."""
    arms: dict[str, list[Request]] = {}
    for request in results.requests:
        if request.skew is not None:
            arms.setdefault(request.arm.rpartition("skew ")[0].removesuffix(", "), []).append(request)
    return {
        name: sorted(requests, key=lambda one: one.skew or 0) for name, requests in arms.items() if len(requests) > 1
    }


def curves(results: Results, requests: list[Request]) -> list[tuple[str, str]]:
    """(what is shown, plot): disparity against skew, and what an attacker sees, of every method."""
    task = TASKS[requests[0].task]
    rows = {
        request.arm: {one.method: one for one in results.summaries if one.arm == request.arm} for request in requests
    }
    models = [name for name in rows[requests[0].arm] if name not in ("original", OTHER_SEED)]
    group = requests[-1].forgotten_group

    def told(measure: str) -> dict[str, dict[str, list[plots.Span]]]:
        families: dict[str, dict[str, list[plots.Span]]] = {}
        for model in models:
            family = "retrained" if model.startswith(("reference", "retrain")) else model.split(",")[0]
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
                skews, told(f"disparity_points/{task.error}/against original"), "points beyond everyone else", 0
            ),
        ),
        (
            "What an attacker sees of the forgotten: where a line lies above the retrained one, little harm "
            "is no merit.",
            plots.against_skew(skews, told("membership/auc/photo"), "attack AUC", 0.5),
        ),
    ]


def by_skew(results: Results, requests: list[Request]) -> Table:
    """The same in numbers: of every method and skew the disparity and the attack."""
    task = TASKS[requests[0].task]
    rows = {
        request.arm: {one.method: one for one in results.summaries if one.arm == request.arm} for request in requests
    }
    measures = {
        f"disparity_points/{task.error}/against original": "points beyond everyone else",
        "membership/auc/photo": "attack AUC",
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


def trade_offs(results: Results, arm: str, task: Task) -> str:
    """What the searches of an arm tried, of the first seed; "" where nothing was searched."""
    mine = [search for search in results.searches if search.arm == arm]
    first = [search for search in mine if search.seed == mine[0].seed]
    return plots.trade_off(first, spoken(task.error)) if first else ""


def spoken(name: str) -> str:
    return name.replace("_", " ")
