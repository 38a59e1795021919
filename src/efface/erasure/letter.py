"""The answer to the person who asked: one page in plain language, without a number that measures anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from efface.erasure.record import Deletion, Record
from efface.errors import one_line
from efface.files import make_folder, write_private

STORES = {
    "photos": "Photos of you",
    "crops": "Pictures of your face, cut out of photos",
    "caches": "Temporary copies",
    "templates": "Descriptions of your face in numbers",
    "gallery": "Your entry in the list of faces that the software can name",
    "backups": "Backup copies",
    "recipients": "Others who had received your data from us",
    "downstream models": "Other software that was made from ours",
    "block list": "Your entry in the list of faces that the software must not name",
}
CHECKS = {
    "account": "through your account with us",
    "document": "by a document you showed us",
    "in person": "when you came to see us",
    "representative": "through the person you chose to act for you",
    "other": "as we agreed with you",
}
NEXT_STEPS = {
    "train again without them": "We will make the software again from the beginning, without your photos",
    "try other methods": "We will try other ways to make the software forget you",
    "withdraw the model": "We will stop using this software",
    "block in the application": "We will set up the system around the software so that it does not name you",
}


@dataclass(frozen=True)
class Letter:
    """What stands in a letter, as plain text."""

    title: str
    controller: str
    day: str
    reference: str
    answer: str
    """The answer in a sentence or two, before everything else."""
    sections: list[tuple[str, list[str], list[str]]]
    """(heading, paragraphs, list)"""


def write_letter(record: Record, out: Path) -> tuple[Path, Path]:
    """Write `out/letter.md` and `out/letter.html` for the person who asked."""
    make_folder(out)
    letter, here = letter_of(record), files("efface.erasure")
    written = []
    for name, escaped in (("letter.md", False), ("letter.html", True)):
        jinja = Environment(autoescape=escaped, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
        jinja.filters["md"] = in_markdown
        text = jinja.from_string(here.joinpath(name).read_text(encoding="utf-8")).render(letter=letter)
        written.append(write_private(out / name, (text.rstrip("\n") + "\n").encode()))
    return written[0], written[1]


def in_markdown(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\`*_\[\]<>&|~])", r"\\\1", text)


def letter_of(record: Record) -> Letter:
    """The letter in its parts; names and places from outside stand in it on one line each."""
    sections = [
        ("What you asked for", list(_asked(record)), []),
        ("What we did", list(_did(record)), [_line(one) for one in record.deletions if not _remains(one)]),
        ("What happens next", list(_next(record)), []),
        ("What is still there", list(_still_there(record)), [_line(one) for one in record.deletions if _remains(one)]),
        ("What we cannot promise", list(_no_promise(record)), []),
        ("Questions, and your rights", list(_rights(record)), []),
    ]
    return Letter(
        title="Our answer to your request",
        controller=one_line(record.controller.name),
        day=_day(record.request.answered),
        reference=record.request.reference,
        answer=_answer(record),
        sections=[one for one in sections if one[1] or one[2]],
    )


def _answer(record: Record) -> str:
    return " ".join(part for part in (_of_the_software(record), _of_the_photos(record)) if part)


def _of_the_photos(record: Record) -> str:
    copies = [one for one in record.deletions if one.store in ("photos", "crops", "caches", "templates")]
    backups = [one.day for one in record.deletions if one.store == "backups" and _remains(one) and one.day is not None]
    if any(_remains(one) for one in copies):
        return "Some photos of you, or data made from them, are not deleted yet: see below."
    if not any(one.state == "deleted" for one in copies):
        return ""
    until = f"; the last backup copies are gone by {_day(max(backups))}" if backups else ""
    return f"Your photos are deleted{until}."


def _of_the_software(record: Record) -> str:
    verdict, in_use = record.outcome.verdict, record.outcome.in_use_since
    if verdict == "forgotten":
        told = {
            "influence removed": "In our tests, it now treats photos of you like photos of somebody it has never seen.",
            "unrecognisable": "In our tests, it could no longer tell that two photos show you.",
            "removed from the gallery": "In our tests, it no longer found you.",
        }[record.goal]
        since = "is not in use yet" if in_use is None else f"has been in use since {_day(in_use)}"
        return f"Yes: we have changed the software so that it forgets you. {told} The changed software {since}."
    if verdict == "do not ship":
        return (
            "Not yet: we tried to make the software forget you, and it did not work well enough. The software in use "
            "has not been changed."
        )
    if verdict == "nothing to unlearn in the weights":
        return (
            "We looked for signs that our software learned from photos of you, and found none. So we have "
            "not changed the software itself."
        )
    gone = all(one.state in ("deleted", "nothing found") for one in record.deletions if one.store == "gallery")
    removed = "We have removed you from" if gone else "We are removing you from"
    return (
        f"{removed} the list of faces that the software can name, and told it not to name you. The software itself "
        "has not been changed."
    )


def _asked(record: Record) -> Iterator[str]:
    request, people = record.request, len(record.request.subjects)
    yield (
        f"On {_day(request.received)} you asked us to delete your photos and to make our software forget "
        f"you. We made sure that the request came from you, {CHECKS[request.identity_check]}."
    )
    if people > 1:
        yield f"Your request was for {people} people. “You” in this letter means all of them."
    if request.extended is not None:
        yield (
            f"We could not finish by {_day(request.due)}. We are allowed to take longer when a request is difficult, "
            f"and will have finished by {_day(request.extended)}."
        )
    elif request.answered > request.due:
        yield f"You should have had this answer by {_day(request.due)}. It is late, and we are sorry."


def _did(record: Record) -> Iterator[str]:
    outcome, tested = record.outcome, record.scope.held_back > 0
    if outcome.verdict == "forgotten":
        yield (
            "Software like ours learns from photos. Deleting the photos does not make it forget, so we changed the "
            "software as well"
            + (", and tested the result with photos of you that we had kept aside for this." if tested else ".")
        )
    elif outcome.verdict == "do not ship":
        yield (
            "Software like ours learns from photos. Deleting the photos does not make it forget. We tried to change "
            "the software and tested the result. The result did not pass, so we do not use it."
        )
    elif outcome.verdict == "nothing to unlearn in the weights":
        yield (
            "Software like ours learns from photos, and usually treats a face differently that it learned from. We "
            "compared how it treats photos of you with how it treats photos of people it has certainly never seen."
        )
    else:
        yield (
            "To name somebody, the software compares a photo with a list of known faces. Without an entry in that "
            "list it has no name to give."
        )


def _next(record: Record) -> Iterator[str]:
    step, by = record.outcome.next_step, record.outcome.next_step_by
    if step is not None and by is not None:
        yield f"{NEXT_STEPS[step]}, by {_day(by)} at the latest. Then we write to you again."


def _still_there(record: Record) -> Iterator[str]:
    verdict, evidence = record.outcome.verdict, record.evidence.conclusion
    if verdict == "do not ship" or (verdict == "delete from gallery and block" and evidence == "trained on"):
        yield "The software in use may still carry what it learned from your photos."
    elif verdict == "delete from gallery and block":
        yield "If the software learned anything from your photos, it still carries it."
    elif verdict == "forgotten" and record.outcome.in_use_since is None:
        yield "Until the changed software is in use, the earlier one is, and it has not forgotten you."
    if any(one.store == "block list" and one.state == "kept" for one in record.deletions):
        yield (
            "For the software not to name you, we have to keep a description of your face in numbers, and use it for "
            "nothing else. If you do not want that, tell us, and we delete it."
        )


def _no_promise(record: Record) -> Iterator[str]:
    first = {
        "forgotten": "Our tests show how the software behaves. They are good reason to believe that it has forgotten "
        "you, but no proof: nobody can look into such software and see whose photos it learned from.",
        "do not ship": "Nobody can look into such software and see whose photos it learned from. We can only test how "
        "it behaves.",
        "nothing to unlearn in the weights": "That we found no sign does not prove that the software never learned "
        "from your photos. A small trace could have escaped us.",
        "delete from gallery and block": "The block works for photos that look like the ones we know of you. It can "
        "miss one.",
    }[record.outcome.verdict]
    yield first
    yield "We cannot delete copies of your photos that others made without us."
    lists = any(one.store in ("gallery", "templates") for one in record.deletions)
    if lists and not (record.goal == "unrecognisable" and record.outcome.verdict == "forgotten"):
        yield "If somebody adds you to a list of known faces again, the software can find you there, like anybody else."


def _rights(record: Record) -> Iterator[str]:
    controller = record.controller
    authority = "the data protection authority of your country"
    if controller.authority is not None:
        authority = one_line(controller.authority)
    yield (
        f"If anything is unclear, ask us: {one_line(controller.contact)}. Please give the number "
        f"{record.request.reference}."
    )
    yield (
        f"If you do not agree with our answer, you can complain to {authority}. It costs nothing. You can also go to "
        "court."
    )
    yield (
        "We keep a signed record of what we did, so that it can be checked. It holds neither your name nor a picture "
        "of you."
    )


def _remains(one: Deletion) -> bool:
    return one.state in ("expires", "to do", "kept")


def _line(one: Deletion) -> str:
    day = _day(one.day) if one.day is not None else ""
    them = "them" if one.store == "recipients" else "those who run it"
    became = {
        "deleted": f"deleted on {day}",
        "nothing found": "we looked, and there was nothing",
        "told": f"on {day} we told {them} what you asked for",
        "expires": f"these are overwritten as time passes, the last of them by {day}",
        "to do": f"not done yet; we will have done it by {day}",
        "kept": f"we keep this. The reason: {one_line(one.why or '')}",
    }[one.state]
    return f"{STORES[one.store]}: {became.removesuffix('.')}."


def _day(one: date) -> str:
    months = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
    return f"{one.day} {months[one.month - 1]} {one.year}"
