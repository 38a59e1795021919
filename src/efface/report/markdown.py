"""The report's table at a glance as Markdown, for a README or an issue."""

from __future__ import annotations

from efface.measure_key import MeasureKey
from efface.report import audit, fairness, wording
from efface.report.page import group_names, headline_of, times_fewer
from efface.results import REFERENCE, Results, Summary


def markdown(results: Results) -> str:
    """A table per arm: how much was forgotten, what an attacker sees, and whose error grew by how much."""
    parts = []
    for request in results.requests:
        score, groups = request.task.error, group_names(request)
        bills = {row.method: row.cost for row in results.evaluations if row.arm == request.arm}
        what = score.replace("_", " ")
        head = [
            "model",
            "forgotten, %",
            "attack AUC",
            *(f"{what}, {group}" for group in groups),
            *(f"change, {group}" for group in groups),
            "faces, of retraining",
        ]
        lines = [f"**{request.arm}**\n"] if request.arm else []
        lines += [_row(head), _row(["---"] * len(head))]
        mine = [one for one in results.summaries if one.arm == request.arm]
        reference = next(one for one in mine if one.method == REFERENCE)
        for one in mine:
            measures, share = one.measures, bills[one.method].faces_of_retraining
            lines.append(
                _row(
                    [
                        wording.title_of(one),
                        _forgotten(one, reference, score),
                        wording.interval(measures.get(wording.ATTACK_AUC)),
                        *(
                            wording.interval(measures.get(MeasureKey("score", score, split="test", group=group)))
                            for group in groups
                        ),
                        *(
                            wording.interval(
                                measures.get(MeasureKey("increase", score, against="original", group=group)),
                                percent=True,
                            )
                            for group in groups
                        ),
                        "–" if share is None else f"{100 * share:.0f}%",
                    ]
                )
            )
        parts.append("\n".join(lines))
        if narrow := wording.narrow_intervals(request.people):
            parts.append(narrow)
        if headline := headline_of(request):
            head = ["model", *(column.title for column in headline), *(wording.TIMES_FEWER if request.classes else [])]
            table = [_row(head), _row(["---"] * len(head))]
            table += [
                _row(
                    [
                        wording.title_of(one),
                        *(wording.interval(one.measures.get(column.measure)) for column in headline),
                        *(times_fewer(results, request.arm, one.method) if request.classes else []),
                    ]
                )
                for one in results.summaries
                if one.arm == request.arm
            ]
            parts.append("\n".join(table))
        summaries = {one.method: one for one in results.summaries if one.arm == request.arm}
        if found := audit.matrix(summaries, results.headroom_of(request.arm)):
            head = [f"{title} ({about})" if about else title for title, about in found.head]
            table = [_row(["model", *head]), _row(["---"] * (len(head) + 1))]
            parts.append(
                "\n".join(
                    [
                        *table,
                        *(_row([wording.title_of(summaries[name]), *map(_cell, cells)]) for name, cells in found.rows),
                    ]
                )
            )
        if verdicts := audit.verdict_rows(results, request.arm):
            criteria = [f"{measure} {asked}" for measure, asked, *_ in verdicts[0].criteria]
            table = [_row(["model", "verdict", *criteria]), _row(["---"] * (len(criteria) + 2))]
            parts.append(
                "\n".join(
                    [
                        *table,
                        *(
                            _row([one.name, one.said, *(f"{value}: {said}" for _, _, value, said, _ in one.criteria)])
                            for one in verdicts
                        ),
                    ]
                )
            )
    for name, requests in fairness.skewed(results).items():
        told = fairness.by_skew(results, requests)
        table = [_row(["model", *told.head]), _row(["---"] * (len(told.head) + 1))]
        table += [_row([row, *(f"{value} {span}".strip() for value, span in cells)]) for row, cells in told.rows]
        parts.append("\n".join([f"**{name + ', ' if name else ''}by skew**\n", *table]))
    return "\n\n".join(parts)


def _forgotten(row: Summary, reference: Summary, error: str) -> str:
    """Percent of the way to the reference with its interval, or that other measures contradict it."""
    status = wording.forgetting_status(row, reference, error)
    if status == "contradicted":
        return wording.FORGETTING_STATUS[status]
    return wording.interval(row.measures.get(wording.FORGOTTEN_PERCENT))


def _cell(cell: audit.Cell) -> str:
    """A value with its interval, bold where it can be told from what it is compared with."""
    text = f"{cell.value} {cell.span}".strip()
    return f"**{text}**" if cell.told else text


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
