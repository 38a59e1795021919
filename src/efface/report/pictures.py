"""Faces with what each model answered drawn on them, and the same faces anonymised from those answers."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

from efface.anonymize.regions import blur, cover, pixelate
from efface.data.faces import Array
from efface.evaluation.evidence import Evidence
from efface.report.wording import number

TRUTH = "#ffffff"
RIGHT, WRONG = "#d55e00", "#888888"


SPLITS = {
    "forget": "forgotten",
    "forget_unseen": "forgotten person, photo never trained on",
    "retain_unseen": "retained person, photo never trained on",
}


@dataclass(frozen=True)
class Picture:
    """One picture with its caption."""

    svg: str
    caption: str
    notes: list[tuple[str, str]]
    """(colour, text) lines below it."""


def overlays(evidence: Evidence, models: dict[str, str]) -> list[Picture]:
    """Every pictured face with the true eyes ringed and each model's answer as a cross. models: name to colour."""
    places = {name: evidence.models.tolist().index(name) for name in models}
    error = evidence.scored[:, 0]
    return [
        Picture(
            drawn(
                evidence.images[k],
                evidence.targets[k],
                [(evidence.outputs[place, k], models[name]) for name, place in places.items()],
            ),
            f"{caption(evidence, k)}",
            [(models[name], number(float(error[place, k]), 2)) for name, place in places.items()],
        )
        for k in range(len(evidence.pictured))
    ]


def labelled(evidence: Evidence, models: dict[str, str], names: list[str]) -> list[Picture]:
    """Every pictured face with what it is and what each model answered, and how sure it was. models: name to colour;
    names: of the classes or attributes."""
    places = {name: evidence.models.tolist().index(name) for name in models}
    return [
        Picture(
            drawn(evidence.images[k], None, []),
            caption(evidence, k),
            [
                ("transparent", f"is: {evidence.label[evidence.pictured[k]]}"),
                *(
                    (models[name], answer_in_words(evidence.outputs[place, k], names, evidence.targets.ndim == 1))
                    for name, place in places.items()
                ),
            ],
        )
        for k in range(len(evidence.pictured))
    ]


def answer_in_words(logits: Array, names: list[str], one_of_several: bool) -> str:
    """The most likely class and its probability, or the attributes found likelier than not."""
    from scipy import special

    if one_of_several:
        chance = special.softmax(logits)
        return f"{names[int(chance.argmax())]} ({100 * chance.max():.0f}%)"
    return ", ".join(name for name, logit in zip(names, logits, strict=True) if logit > 0) or "none"


def matches(evidence: Evidence) -> list[tuple[str, list[Picture]]]:
    """Every pictured photo, and the trained photo that each model finds most like it."""
    return [
        (
            caption(evidence, k),
            [
                Picture(drawn(evidence.images[k], None, []), "the photo", []),
                *(
                    Picture(
                        drawn(evidence.nearest[place, k], None, []),
                        str(name),
                        [(RIGHT, "same person") if evidence.found[place, k] else (WRONG, "somebody else")],
                    )
                    for place, name in enumerate(evidence.models)
                ),
            ],
        )
        for k in range(len(evidence.pictured))
    ]


def caption_of(person: str, group: str) -> str:
    """Group and salted hash."""
    return " · ".join(part for part in (str(group), str(person)) if part)


def caption(evidence: Evidence, k: int) -> str:
    """Group, split, why this one, and whose face, under a salted hash."""
    row = evidence.pictured[k]
    split = SPLITS.get(str(evidence.split[row]), evidence.split[row])
    return " · ".join(part for part in (evidence.group[row], split, evidence.why[k], evidence.person[k]) if part)


def anonymised(evidence: Evidence, k: int, models: list[str]) -> list[Picture]:
    """One face with a bar over the eyes as each model found them, and how much of the true eyes that hides."""
    share = evidence.scored[:, evidence.scores.tolist().index("eyes_covered"), k]
    image = evidence.images[k : k + 1]
    pictures = []
    for name in models:
        place = evidence.models.tolist().index(name)
        hidden = cover(image, evidence.outputs[place, k : k + 1])[0]
        pictures.append(Picture(drawn(hidden, None, []), name, [("inherit", f"{100 * share[place]:.0f}% hidden")]))
    return pictures


def styles(evidence: Evidence, k: int, model: str) -> list[Picture]:
    """One face covered, pixelated and blurred from one model's answer."""
    image, answer = evidence.images[k : k + 1], evidence.outputs[evidence.models.tolist().index(model), k : k + 1]
    return [
        Picture(drawn(way(image, answer)[0], None, []), name, [])
        for name, way in (("covered", cover), ("pixelated", pixelate), ("blurred", blur))
    ]


def drawn(image: Array, targets: Array | None, outputs: list[tuple[Array, str]]) -> str:
    """An image (c, h, w) as SVG, with rings at the truth (2, 2) and crosses at answers (2, 2)."""
    _, height, width = image.shape
    arm = width / 22
    parts = [
        f'<svg class="face" viewBox="-0.5 -0.5 {width} {height}" role="img">'
        f'<image x="-0.5" y="-0.5" width="{width}" height="{height}" href="{data_uri(image)}"/>'
    ]
    if targets is not None:
        parts += [
            f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{arm * 1.5:.2f}" fill="none" stroke="{TRUTH}" '
            f'stroke-width="{arm / 4:.2f}"/>'
            for x, y in targets.tolist()
        ]
    for points, colour in outputs:
        parts += [
            f'<path d="M{x - arm:.2f} {y:.2f}h{2 * arm:.2f}M{x:.2f} {y - arm:.2f}v{2 * arm:.2f}" '
            f'stroke="{colour}" stroke-width="{arm / 2.2:.2f}"/>'
            for x, y in points.tolist()
        ]
    return "".join([*parts, "</svg>"])


def data_uri(image: Array) -> str:
    """An image (c, h, w) uint8 as a PNG inside the page."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)))
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
