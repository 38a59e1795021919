"""A record says what was asked, done and measured, names nobody, and contradicts itself nowhere."""

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError
from records import ASKED, VERDICTS, record_of

from conftest import refusal
from efface.erasure.record import (
    PREDICATE,
    Criterion,
    Deletion,
    Outcome,
    Record,
    Request,
    check_no_name,
    criteria_sha256,
    record_schema,
    subject_hmac,
)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_record_follows_its_schema_and_comes_back_the_same(verdict: str) -> None:
    record = record_of(verdict)
    jsonschema.validate(record.model_dump(mode="json"), record_schema())
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert record_schema()["$id"] == PREDICATE


def test_criteria_have_the_digest_of_their_canonical_json() -> None:
    """By hand: RFC 8785 of one criterion is its keys in order, without spaces."""
    from hashlib import sha256

    text = '[{"asked":"at most 1e-3","measure":"é"}]'
    assert criteria_sha256([Criterion(measure="é", asked="at most 1e-3")]) == sha256(text.encode()).hexdigest()


def part(record: Record, name: str, **changed: Any) -> dict[str, Any]:
    """A part of a record with some of its values changed, as plain keyword."""
    old = getattr(record, name)
    return {name: type(old)(**({key: getattr(old, key) for key in type(old).model_fields} | changed))}


@pytest.mark.parametrize(
    ("verdict", "name", "changed", "said"),
    [
        ("forgotten", "outcome", {"results": []}, "not every criterion passed"),
        ("forgotten", "outcome", {"next_step": "withdraw the model"}, "next_step goes with"),
        ("forgotten", "outcome", {"in_use_since": None}, "model_after is not in use"),
        (VERDICTS[2], "evidence", {"conclusion": "not enough data"}, "nothing to unlearn"),
        ("do not ship", "outcome", {"next_step": None, "next_step_by": None}, "next_step goes with"),
        ("do not ship", "outcome", {"in_use_since": date(2026, 12, 1)}, "in_use_since goes with 'forgotten'"),
        ("do not ship", "request", {"status": "RequestFulfilled"}, "RequestFulfilled"),
        ("forgotten", "scope", {"people": 2}, "as many as"),
        ("forgotten", "scope", {"held_back": 15}, "held_back"),
        (VERDICTS[2], "evidence", {"conclusion": "trained on"}, "nothing to unlearn"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(
    verdict: str, name: str, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        record_of(verdict, **part(record_of(verdict), name, **changed))


def test_other_contradictions_are_refused() -> None:
    whole = record_of()
    others: list[tuple[dict[str, Any], str]] = [
        ({"model_after": None}, "needs model_after"),
        ({"model_after": whole.model_before}, "model_after is model_before"),
        ({"limits": []}, "limits must say"),
        (
            {"deletions": [Deletion(store="photos", where="x", state="to do", day=date(2027, 1, 1))]},
            "something is to do",
        ),
        ({"unknown": 1}, "Extra inputs"),
    ]
    for changed, said in others:
        with pytest.raises(ValidationError, match=said):
            record_of(**changed)
    with pytest.raises(ValidationError, match="leaves the weights as they are"):
        record_of(VERDICTS[2], model_after=whole.model_after)
    with pytest.raises(ValidationError, match="block list"):
        record_of(VERDICTS[3], deletions=[])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"answered": date(2026, 11, 1)}, "before received"),
        ({"status": "RequestActionDelayed"}, "extended"),
        ({"extended": date(2027, 1, 3)}, "extended"),
        ({"status": "fulfilled"}, "RequestFulfilled"),
        ({"subjects": ["Ann"]}, "pattern"),
        ({"subjects": []}, "at least 1"),
        ({"reference": "a b"}, "pattern"),
        ({"received": "2026-11-03"}, "valid date"),
    ],
)
def test_a_request_that_cannot_be_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        part(record_of(), "request", **changed)


@pytest.mark.parametrize(
    "parts",
    [
        {"state": "deleted"},
        {"state": "kept", "day": date(2027, 1, 1), "why": "law"},
        {"state": "kept"},
        {"state": "told", "day": date(2027, 1, 1)},
        {"state": "expires", "day": date(2027, 1, 1), "why": "law"},
        {"state": "deleted", "day": date(2027, 1, 1), "count": -1},
    ],
)
def test_a_deletion_that_says_too_little_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Deletion(store="photos", where="store", **parts)


@pytest.mark.parametrize("word", ["anonymous", "Compliant"])
def test_no_record_claims_what_no_measurement_shows(word: str) -> None:
    with pytest.raises(ValidationError, match="more than a measurement shows"):
        Outcome(verdict="forgotten", reasons=[f"the model is {word}"])
    assert word.lower() not in json.dumps(record_schema()).lower()


def test_a_name_of_a_person_is_found_however_it_is_written() -> None:
    record = record_of(deletions=[Deletion(store="photos", where="/faces/ann_SMITH-2/", state="nothing found")])
    assert "deletions[0].where names a person" in refusal(check_no_name, record, ["Bob", "Ann Smith"])
    check_no_name(record, ["Smit", "2", "", "Ann Smithers"])


@pytest.mark.parametrize("where", ["/faces/García_José", "/faces/Garci\u0301a_Jose\u0301", "/faces/garcia-jose"])
@pytest.mark.parametrize("name", ["García José", "Garci\u0301a Jose\u0301"])
def test_a_name_of_a_person_is_found_however_its_accents_are(where: str, name: str) -> None:
    """As macOS writes names of folders, as others do, and as whoever leaves accents out does."""
    record = record_of(deletions=[Deletion(store="photos", where=where, state="nothing found")])
    assert "deletions[0].where names a person" in refusal(check_no_name, record, [name])


def test_a_subject_is_an_hmac_under_a_key_of_its_own(tmp_path: Path) -> None:
    """The same under the same key, another under another, and the key is its owner's alone."""
    key = tmp_path / "keys" / "request.key"
    one = subject_hmac("Ann", key)
    assert one == subject_hmac("Ann", key) != subject_hmac("Bob", key)
    assert one != subject_hmac("Ann", tmp_path / "other.key")
    assert os.name != "posix" or key.stat().st_mode & 0o777 == 0o600
    part(record_of(), "request", subjects=[one])
    key.write_bytes(b"short")
    assert "expected 32" in refusal(subject_hmac, "Ann", key)


def test_the_criteria_of_the_example_are_its_outcome() -> None:
    assert [one.measure for one in record_of().outcome.results] == [one.measure for one in ASKED]
    assert Request is type(record_of().request)
