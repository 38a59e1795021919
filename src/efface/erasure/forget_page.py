"""`report.html` of a request: verdict, what to do, evidence, the criteria before and after. It shows no face."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from efface.erasure.criteria import FMR
from efface.erasure.record import NO_PROOF_OF_ORIGIN, Estimate, Measurement
from efface.erasure.result import Allowed, ErasureResult
from efface.files import write_private

HEADLINES = {
    "forgotten": "Forgotten, by every criterion",
    "do not ship": "Do not ship",
    "nothing to unlearn in the weights": "Nothing to unlearn in the weights",
    "delete from gallery and block": "Delete from the gallery, and block",
}


@dataclass(frozen=True)
class Mark:
    """One criterion as a strip: positions in percent."""

    name: str
    from_x: float
    width: float
    before: float | None
    after: float | None
    before_text: str
    after_text: str
    verdict: str
    word: str
    """The verdict as a class of the style."""
    decided_nothing: bool
    """Whether the model before met the criterion as well."""
    label: str


BLOCK = (
    "Delete their gallery entries, and let the application stop whoever reaches the threshold with a block list: what "
    "it would stop stands below."
)


def write_page(result: ErasureResult, out: Path, title: str = "Erasure from a face model") -> Path:
    """Write `out/report.html`, readable by its owner alone."""
    jinja = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    jinja.filters |= {"number": number, "sentence": sentence, "limit": limit}
    template = jinja.from_string(files("efface.erasure").joinpath("report.html").read_text(encoding="utf-8"))
    text = template.render(
        result=result,
        title=title,
        headline=HEADLINES[result.outcome.verdict],
        marks=marks_of(result),
        steps=steps_of(result),
    )
    return write_private(out / "report.html", (text.rstrip("\n") + "\n").encode())


def number(value: float) -> str:
    """A number for a table."""
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def limit(text: str) -> str:
    """A limit of a record as a sentence about it."""
    return sentence(f"this report {text}" if text == NO_PROOF_OF_ORIGIN else text)


def steps_of(result: ErasureResult) -> list[str]:
    """What whoever runs the model does next."""
    if result.outcome.verdict == "delete from gallery and block":
        return [
            "Delete the gallery entries, photos and backups of the people who asked.",
            "Keep one entry for each of them in a list apart, made from their photos, for nothing but this: whoever "
            "reaches the threshold with one is not named.",
            "Make the list again whenever the weights change, and delete an entry when its person asks for that.",
        ]
    if result.outcome.verdict == "do not ship" and result.model_after is None:
        return [
            f"Leave {result.model_before.name} as it is for now: no weights were written.",
            *([BLOCK] if result.threshold is not None else []),
            "Delete the photos and backups of the people who asked: weights are only one place of many.",
            "Train again without them when you can.",
        ]
    if result.model_after is None:
        return []
    steps = [f"Put {result.model_after.name} in the place of {result.model_before.name}."]
    if result.threshold is None:
        pass
    elif result.outcome.re_enrol:
        steps.append("Enrol the whole gallery again with it: entries made with the model before no longer fit.")
    else:
        steps.append("The gallery may stay: entries made with the model before still fit by the rates below.")
    steps.append("Delete the entries, photos and backups of the people who asked: weights are only one place of many.")
    if result.emptied_rows:
        steps.append(f"{result.emptied_rows} rows of the head, a direction of each of them, are zeros now.")
    if result.stale:
        steps.append(f"Do not train on from {', '.join(result.stale)}: it is of the weights before.")
    return steps


def marks_of(result: ErasureResult) -> list[Mark]:
    """The criteria as strips."""
    measured = {one.name: one for one in result.measurements}
    recognition = result.threshold is not None
    return [mark(one, measured[one.measure], of_one=recognition and one.measure != FMR) for one in result.allowed]


def mark(allowed: Allowed, measured: Measurement, *, of_one: bool) -> Mark:
    """A criterion on an axis from 0 or the least to the largest of what there is to show; of_one: to 1."""
    known = [one.value for one in (measured.before, measured.after) if one is not None]
    ends = [end for end in (allowed.high, allowed.low) if end is not None]
    top = 1.0 if of_one else max(1.15 * max([*known, *ends]), 1e-6)
    low = min(0.0, *known, *ends)

    def place(value: float) -> float:
        return round(100 * (value - low) / (top - low), 1)

    first = place(allowed.low if allowed.low is not None else low)
    last = place(allowed.high if allowed.high is not None else top)
    before, after = measured.before, measured.after
    inside = before is not None and (allowed.low or low) <= before.value <= (
        top if allowed.high is None else allowed.high
    )
    texts: Mapping[str, str] = {
        name: "–" if one is None else number(one.value) for name, one in (("before", before), ("after", after))
    }
    return Mark(
        allowed.measure,
        first,
        max(last - first, 1.0),
        _placed(before, place),
        _placed(after, place),
        texts["before"],
        texts["after"],
        allowed.verdict,
        allowed.verdict.split()[0],
        inside,
        f"{allowed.measure}: before {texts['before']}, after {texts['after']}, {allowed.verdict}",
    )


def _placed(estimate: Estimate | None, place: Callable[[float], float]) -> float | None:
    return None if estimate is None else place(estimate.value)
