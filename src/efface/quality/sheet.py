"""A contact sheet: faces from the worst to the best, so that anybody can see whether a score means anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from efface.data.faces import Array

if TYPE_CHECKING:
    from PIL import Image

SHARES = (0.0, 0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
"""Where on the way from worst to best each row of the sheet stands."""
ACROSS, SIDE, GAP, LABEL, HEAD = 10, 96, 4, 150, 34


def contact_sheet(scores: Array, picture: Callable[[int], Array], name: str) -> Image.Image:
    """Rows of up to ten neighbouring faces at a few places between worst and best.

    scores (n,), sorted upwards; picture(row) gives (c, h, w) uint8.
    """
    from PIL import Image, ImageDraw, ImageFont

    count = len(scores)
    across = min(ACROSS, count)
    starts = sorted({round(share * (count - across)) for share in SHARES})
    size = (LABEL + across * (SIDE + GAP), HEAD + len(starts) * (SIDE + GAP))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((10, 9), f"{count:,} photos by {name}, worst first", "black", font)
    for line, start in enumerate(starts):
        top = HEAD + line * (SIDE + GAP)
        where = f"{100 * start / count:.0f}% are worse"
        where = "worst" if start == 0 else "best" if start == count - across else where
        span = f"{scores[start]:.4g} to {scores[start + across - 1]:.4g}"
        draw.text((10, top + SIDE // 2 - 18), where, "black", font)
        draw.text((10, top + SIDE // 2 + 2), span, "#666666", small)
        for place in range(across):
            face = np.asarray(picture(start + place))
            image = Image.fromarray(face[0] if len(face) == 1 else np.ascontiguousarray(face.transpose(1, 2, 0)))
            sheet.paste(
                image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC), (LABEL + place * (SIDE + GAP), top)
            )
    return sheet
