"""The page: request, forgetting and cost by group; then the evidence; then every measure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from efface.audit.verdict import DOUBT, under_trained
from efface.evaluation.evidence import CHANGED, Evidence
from efface.measure_key import ALL, MeasureKey
from efface.report import audit, fairness, pictures, plots, wording
from efface.report.paired import PairedTable, paired_tables
from efface.report.saved import read_evidence
from efface.report.strips import COLOURS, Axis, IntervalMark, strip
from efface.results import (
    CONSTANT,
    ORIGINAL,
    REFERENCE,
    RESERVED,
    SECOND_REFERENCE,
    Evaluation,
    HeadlineColumn,
    Request,
    Results,
    Summary,
)

FORGOTTEN = Axis(-40, 160, ((0, "origin"), (100, "goal")))
OVERLAY = {"original": "#56b4e9", "unlearned": "#e69f00", "refined": "#00e08a"}


@dataclass(frozen=True)
class Row:
    """One model at a glance."""

    name: str
    title: str
    """The name, less what it repeats of the stage before it."""
    handed: str
    """What must be known before its attack is believed."""
    control: bool
    """Whether it is a retrained model rather than a method."""
    depth: int
    """How many stages came before it."""
    status: wording.ForgettingStatus
    forgotten: str
    forgotten_strip: Markup
    attack: str
    harm: list[tuple[str, str, str]]
    """(group, colour, change of error)"""
    harm_strip: Markup
    faces: str


@dataclass(frozen=True)
class ArmView:
    """Everything the page says of one arm."""

    name: str
    request: Request
    request_sentence: str
    signal: str
    findings: list[str]
    groups: list[tuple[str, str]]
    rows: list[Row]
    headline: list[tuple[str, list[tuple[str, str]]]]
    """What the field looks at first: a row per model, (value, interval) in each cell."""
    headline_head: list[str]
    headline_title: str
    headline_about: str
    matches: list[tuple[str, list[pictures.Picture]]]
    labelled: list[pictures.Picture]
    overlays: list[pictures.Picture]
    overlay_models: list[tuple[str, str, str]]
    anonymised: list[tuple[str, list[pictures.Picture]]]
    styles: list[pictures.Picture]
    matrix: audit.Matrix | None
    paired: list[PairedTable]
    verdict_rows: list[audit.VerdictRow]
    doubts: list[str]
    models: list[str]
    people: list[audit.Person]
    exposed: list[pictures.Picture]
    roc: Markup
    errors: Markup
    spread: str
    losses: Markup
    by_class: Markup
    between_groups: fairness.Table | None
    error_rates: fairness.Table | None
    intersections: fairness.IntersectionTable | None
    trade_offs: Markup
    memorisation: Markup
    table: list[tuple[str, list[str]]]
    table_head: list[str]
    has_floor: bool
    """Whether a second reference was measured."""


def page(results: Results, out: Path, *, with_faces: bool = True) -> str:
    """The whole report as one HTML text, with faces or without. `out` holds the run's evidence."""
    arms = [view(results, request, read_evidence(out, request.arm)) for request in results.requests]
    here = files("efface.report")
    jinja = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    jinja.filters["row_title"] = wording.row_title
    jinja.filters["narrow_intervals"] = wording.narrow_intervals
    template = jinja.from_string(here.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        style=Markup(here.joinpath("style.css").read_text(encoding="utf-8")),
        arms=arms if with_faces else [without_faces(arm) for arm in arms],
        results=results,
        seeds=sorted({row.seed for row in results.evaluations}),
        summaries=results.summaries,
        thresholds=results.thresholds,
        changed=audit.changed_thresholds(results),
        interval=wording.interval,
        curves=[
            (name, [(told, Markup(plot)) for told, plot in fairness.curves(results, requests)])
            for name, requests in fairness.skewed(results).items()
        ],
        drifts=[(name, Markup(drift(results, requests))) for name, requests in in_rounds(results).items()],
        precisions=" and ".join(sorted({one.precision for one in results.requests})),
        plan=json.dumps(results.plan, indent=2),
        status_words=wording.FORGETTING_STATUS,
    )


def without_faces(arm: ArmView) -> ArmView:
    """An arm without the picture of anybody."""
    return replace(arm, matches=[], labelled=[], overlays=[], anonymised=[], styles=[], exposed=[])


def view(results: Results, request: Request, evidence: Evidence) -> ArmView:
    """One arm, worded and drawn."""
    task = request.task
    summaries = {one.method: one for one in results.summaries if one.arm == request.arm}
    made = {one.method: one for one in reversed(results.evaluations) if one.arm == request.arm}
    coloured = [(group, COLOURS[place % len(COLOURS)]) for place, group in enumerate(group_names(request))]
    axis = harm_axis(summaries, task.error, [group for group, _ in coloured])
    rows = [
        overview_row(one, made, summaries[REFERENCE], task.error, coloured, axis)
        for one in summaries.values()
        if one.method != ORIGINAL
    ]
    chain = chain_of([one for one in made.values() if not one.diverged])
    shown = dict(zip([ORIGINAL, *chain], OVERLAY.values(), strict=False))
    picked = [k for k in range(len(evidence.pictured)) if evidence.split[evidence.pictured[k]] == "test"]
    faces = [k for k in picked if evidence.why[k] == CHANGED] or picked
    headline = headline_of(request)
    return ArmView(
        headline=[
            (
                name,
                [
                    *(wording.value_and_span(one.measures.get(column.measure)) for column in headline),
                    *([(one, "") for one in times_fewer(results, request.arm, name)] if request.classes else []),
                ],
            )
            for name, one in summaries.items()
        ]
        if headline
        else [],
        headline_head=[*(column.title for column in headline), *(wording.TIMES_FEWER if request.classes else [])],
        headline_title=task.headline_title,
        headline_about=task.headline_about,
        matches=pictures.matches(evidence) if len(evidence.nearest) else [],
        name=request.arm,
        request=request,
        request_sentence=request_sentence(request, task.about),
        signal=task.signal,
        findings=findings(summaries, task.error, request, [group for group, _ in coloured]),
        groups=coloured,
        rows=rows,
        labelled=pictures.labelled(evidence, shown, request.classes) if request.classes else [],
        overlays=pictures.overlays(evidence, shown) if task.outputs == "points" else [],
        overlay_models=[(role, name, colour) for (role, colour), name in zip(OVERLAY.items(), shown, strict=False)],
        anonymised=[
            (pictures.caption(evidence, k), pictures.anonymised(evidence, k, evidence.models.tolist())) for k in faces
        ]
        if task.outputs == "points"
        else [],
        styles=pictures.styles(evidence, faces[0], ORIGINAL) if task.outputs == "points" else [],
        paired=paired_tables(results, request.arm),
        matrix=audit.matrix(summaries, results.headroom_of(request.arm)),
        verdict_rows=audit.verdict_rows(results, request.arm),
        doubts=audit.doubts(audit.verdict_rows(results, request.arm)),
        models=evidence.models.tolist(),
        people=audit.people(evidence),
        exposed=audit.exposed(evidence, list(shown), shown),
        roc=Markup(plots.receiver_operating(evidence)),
        errors=Markup(plots.error_distributions(evidence, task.distribution_score.replace("_", " "))),
        spread=task.distribution_score.replace("_", " "),
        by_class=Markup(plots.losses_by_class(evidence) if request.classes else ""),
        losses=Markup(plots.signal_distributions(evidence, task.signal)),
        between_groups=fairness.between(summaries, task),
        error_rates=fairness.error_rates(summaries),
        intersections=fairness.intersection_table(summaries, task),
        trade_offs=Markup(fairness.trade_offs(results, request.arm, task)),
        memorisation=Markup(memorised_where(summaries)),
        table_head=list(summaries),
        has_floor=SECOND_REFERENCE in summaries,
        table=everything(summaries, made),
    )


def memorised_where(summaries: Mapping[str, Summary]) -> str:
    """The curve of memorisation by layer, original beside reference; "" where it was not measured."""
    curves: dict[str, dict[str, plots.Span]] = {
        model: {
            key.metric: record.span for key, record in summaries[model].measures.items() if key.family == "memorisation"
        }
        for model in (ORIGINAL, REFERENCE)
    }
    return plots.memorisation(curves) if curves[ORIGINAL] and curves[REFERENCE] else ""


def in_rounds(results: Results) -> dict[str, list[Request]]:
    """The rounds of every request that came in several, by the name of its arm less the round."""
    arms: dict[str, list[Request]] = {}
    for request in results.requests:
        if request.round is not None:
            arms.setdefault(wording.less(request.arm, f"round {request.round}"), []).append(request)
    return arms


def drift(results: Results, requests: Sequence[Request]) -> str:
    """What became of everything, round by round."""
    error = requests[0].task.error
    told = {
        f"{error.replace('_', ' ')} on test faces": MeasureKey("score", error, split="test", group=ALL),
        f"{error.replace('_', ' ')} on all forgotten so far": MeasureKey("score", error, split="forget", group=ALL),
        "attack AUC on all forgotten so far": wording.ATTACK_AUC,
        **{
            f"attack AUC on those of round {number}": MeasureKey("reversal", "auc", group=f"round {number}")
            for number in range(1, len(requests))
        },
    }
    rows = {
        request.arm: {one.method: one for one in results.summaries if one.arm == request.arm} for request in requests
    }
    models = [name for name in rows[requests[0].arm] if name not in (SECOND_REFERENCE, CONSTANT)]

    def value(arm: str, model: str, measure: MeasureKey) -> float | None:
        record = rows[arm][model].measures.get(measure)
        return record.value if record else None

    return plots.drift(
        [request.round or 0 for request in requests],
        {
            title: {model: [value(request.arm, model, measure) for request in requests] for model in models}
            for title, measure in told.items()
        },
    )


def times_fewer(results: Results, arm: str, method: str) -> list[str]:
    """How many times fewer faces and CPU seconds a row took than retraining, each summed over the seeds; a dash for the
    original, and where that was not counted. Never of wall seconds: these hold what else ran on the machine."""
    costs = [one.cost for one in results.evaluations if (one.arm, one.method) == (arm, method)]
    retraining = [one.cost for one in results.evaluations if (one.arm, one.method) == (arm, REFERENCE)]
    if any(cost.faces_of_retraining is None for cost in costs) or not retraining:
        return [wording.times(None)] * 2

    def ratio(mine: Sequence[float | None], theirs: Sequence[float | None]) -> float | None:
        if None in (*mine, *theirs) or not sum(mine):  # type: ignore[arg-type]
            return None
        return sum(theirs) * len(mine) / (sum(mine) * len(theirs))  # type: ignore[arg-type]

    return [
        wording.times(ratio([cost.faces for cost in costs], [cost.faces for cost in retraining])),
        wording.times(ratio([cost.cpu_seconds for cost in costs], [cost.cpu_seconds for cost in retraining])),
    ]


def headline_of(request: Request) -> list[HeadlineColumn]:
    """(measure, title) of what the field looks at first on this task, the request's verification sets included."""
    sets = [
        HeadlineColumn(
            measure=MeasureKey("verification", "balanced_accuracy", group=name), title=f"balanced accuracy, {name}"
        )
        for name in request.pairs
    ]
    return [*request.task.headline, *sets]


def group_names(request: Request) -> list[str]:
    """Groups that have test faces; without groups, all faces as one."""
    return sorted(group for group in request.faces["test"] if group) or [ALL]


def request_sentence(request: Request, about: str) -> str:
    """The request in a sentence."""
    people = {name: sum(counts.values()) for name, counts in request.people.items()}
    photos = sum(request.faces["forget"].values())
    group = request.forgotten_group
    same = request.people["retain"].get(group, 0) + request.people["forget"].get(group, 0)
    whose = f" of group {group}" if set(request.people["forget"]) == {group} and group else ""
    of = (
        f"{request.people['forget'][group]:,} of {same:,} trained people{whose}"
        if whose
        else (f"{people['forget']:,} of {people['forget'] + people['retain']:,} trained people")
    )
    if request.skew is not None:
        of += f", {request.people['forget'].get(group, 0):,} of them of group {group},"
    return f"{of} ({wording.counted(photos, 'photo')}) were to be forgotten by a model that was trained to {about}."


def findings(summaries: Mapping[str, Summary], score: str, request: Request, groups: Sequence[str]) -> list[str]:
    """What forgetting did and what it cost each group, a sentence for each finding."""
    reference, what = summaries[REFERENCE].measures, score.replace("_", " ")
    costs = wording.listed([f"{group} {wording.harm(reference, score, group)}" for group in groups])
    doubt = [f"Warning: {DOUBT[REFERENCE]['fail']}. Comparisons with it cannot be relied on."]
    return [
        *(doubt if under_trained(summaries, score) else []),
        f"What forgetting itself costs, by the model retrained without them: {what} of {costs}.",
        *forgetting_sentences(summaries, score),
        *disparity_sentences(summaries, score, request.forgotten_group),
        *stage_sentences(summaries, score, groups),
    ]


def forgetting_sentences(summaries: Mapping[str, Summary], score: str) -> list[str]:
    """Which methods forgot, and which fell short of the retrained reference or went beyond it."""
    reference = summaries[REFERENCE]
    status = {
        name: wording.forgetting_status(one, reference, score)
        for name, one in summaries.items()
        if name not in RESERVED
    }
    sentences: dict[wording.ForgettingStatus, str] = {
        "diverged": "Diverged, predictions are not finite: {}.",
        "remembered": "Incomplete forgetting: {}. Their low cost to others is no merit.",
        "as retrained": "As the retrained reference, by the membership signal on the forgotten: {}.",
        "contradicted": "As the retrained reference by the membership signal, not by the attack or the error on "
        "the forgotten: {}. Not as if never seen.",
        "unknown": "Inconclusive, more seeds or people are needed: {}.",
        "overshot": "Over-forgetting, beyond a model that never saw them: {}.",
    }
    return [
        sentence.format(wording.quoted(names))
        for which, sentence in sentences.items()
        if (names := [name for name in status if status[name] == which])
    ]


def disparity_sentences(summaries: Mapping[str, Summary], score: str, group: str) -> list[str]:
    """The method with the largest disparity at the cost of the forgotten's group, if any is beyond its interval."""
    name = MeasureKey("disparity_points", score, against="original")
    gaps = {row: one.measures[name] for row, one in summaries.items() if row not in RESERVED and name in one.measures}
    sure = {row: gap for row, gap in gaps.items() if gap.low is not None and gap.low > 0}
    if not sure:
        return []
    worst = max(sure, key=lambda row: sure[row].value or 0)
    gap = sure[worst]
    return [
        f"Largest disparity: “{worst}”, where the error of {group} grew by {gap.value:.0f} percentage points more than "
        f"everyone else's [{gap.low:.0f}, {gap.high:.0f}]."
    ]


def stage_sentences(summaries: Mapping[str, Summary], score: str, groups: Sequence[str]) -> list[str]:
    """What each stage that follows another changed."""
    lines = []
    for name, one in summaries.items():
        changes = {
            group: one.measures.get(MeasureKey("increase", score, against="stage before", group=group))
            for group in groups
        }
        if any(changes.values()):
            told = [f"{group} {wording.interval(change, percent=True)}" for group, change in changes.items()]
            lines.append(f"The last step of “{name}” changed the error of {wording.listed(told)}.")
    return lines


def harm_axis(summaries: Mapping[str, Summary], score: str, groups: Sequence[str]) -> Axis:
    """A scale of changes in percent that holds the reference and all but the wildest rows."""

    def ends(rows: Iterable[Summary]) -> list[float]:
        changes = (
            row.measures.get(MeasureKey("increase", score, against="original", group=group))
            for row in rows
            for group in groups
        )
        return sorted(change.high for change in changes if change and change.high is not None) or [0.0]

    every = ends(summaries.values())
    high = max(20.0, ends([summaries[REFERENCE]])[-1], min(every[-1], 3 * every[len(every) // 2]))
    return Axis(-0.35 * high, high, ((0, "origin"),))


def overview_row(
    one: Summary,
    made: Mapping[str, Evaluation],
    reference: Summary,
    score: str,
    groups: Sequence[tuple[str, str]],
    axis: Axis,
) -> Row:
    """A row of the table at a glance."""
    measures = one.measures
    way = measures.get(wording.FORGOTTEN_PERCENT)
    marks, harm = [], []
    for group, colour in groups:
        name = MeasureKey("increase", score, against="original", group=group)
        change, without = measures.get(name), reference.measures.get(name)
        if change and change.value is not None and change.low is not None and change.high is not None:
            marks.append(
                IntervalMark(change.value, change.low, change.high, colour, without.value if without else None)
            )
        harm.append((group, colour, wording.interval(change, percent=True)))
    cost = made[one.method].cost
    status = wording.forgetting_status(one, reference, score)
    depth = 0 if one.method in RESERVED else len({*made[one.method].stages} - {one.method}) - 1
    drawn = ""
    if way is not None and way.span is not None:
        drawn = strip([IntervalMark(*way.span, "currentColor")], FORGOTTEN)
    return Row(
        name=one.method,
        title=wording.row_title(title(made[one.method])),
        handed=wording.HANDED if one.trained_on_nonmembers else "",
        control=one.method in RESERVED,
        depth=depth,
        status=status,
        forgotten=wording.forgotten(way, status),
        forgotten_strip=Markup(drawn),
        attack=wording.interval(measures.get(wording.ATTACK_AUC)),
        harm=harm,
        harm_strip=Markup(strip(marks, axis)),
        faces="–" if cost.faces_of_retraining is None else f"{100 * cost.faces_of_retraining:.0f}%",
    )


def title(one: Evaluation) -> str:
    """The name of a row, less what it repeats of the stage before it."""
    return one.method.removeprefix(f"{one.stages[-1]}, ") if one.stages else one.method


def chain_of(made: Sequence[Evaluation]) -> list[str]:
    """First and last stage of the longest line of methods, or the first method alone."""
    longest = max((one for one in made if one.method not in RESERVED), key=lambda one: len(one.stages), default=None)
    if longest is None:
        return [REFERENCE]
    line = [*longest.stages[1:], longest.method]
    return [line[0], line[-1]] if len(line) > 1 else line


def everything(summaries: Mapping[str, Summary], made: Mapping[str, Evaluation]) -> list[tuple[str, list[str]]]:
    """The bill (of the first seed) and every measure (over all seeds) of every row."""
    bills = [made[name].cost.model_dump() for name in summaries]
    names = list(dict.fromkeys(name for one in summaries.values() for name in one.measures))
    return [
        *(
            (f"cost/{name}", [wording.number(bill[name], 4) for bill in bills])
            for name in bills[0]
            if any(bill[name] is not None for bill in bills)
        ),
        *((name, [wording.interval(one.measures.get(name)) for one in summaries.values()]) for name in names),
    ]
