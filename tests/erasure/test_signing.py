"""A record is signed, and whatever is changed about it, its test result or the weights is noticed."""

import base64
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import AFTER, BEFORE, VERDICTS, record_of

from conftest import refusal
from efface.cli import main
from efface.erasure.record import Criteria, Deletion, Record
from efface.erasure.signing import default_key, read_record, verify, write_record
from efface.errors import InputError

SUBJECTS = {"backbone.pth": sha256(BEFORE).hexdigest(), "backbone-after.pth": sha256(AFTER).hexdigest()}


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a record, its weights and, beside it, the keys."""
    folder = tmp_path_factory.mktemp("signed")
    (folder / "before.pth").write_bytes(BEFORE)
    (folder / "after.pth").write_bytes(AFTER)
    write_record(record_of(), folder / "out", folder / "keys" / "key.pem", SUBJECTS)
    return folder


def test_a_record_says_who_signed_and_what_was_done(signed: Path) -> None:
    lines = verify(
        signed / "out" / "record.json",
        weights=signed / "after.pth",
        before=signed / "before.pth",
        key=signed / "keys" / "key.pem.pub",
    )
    text = "\n".join(lines)
    for part in (
        "(Ed25519): the key that was given",
        "2026-0042 to Example Doors Ltd: RequestFulfilled",
        "verdict: forgotten",
        "evidence that they were trained on: trained on",
        "gallery in door system (1): deleted 2026-11-19",
        "before.pth fits",
        "after.pth fits",
        "test-result.json fits: PASSED",
        "it does not prove which data these weights came from",
    ):
        assert part in text
    assert all("\n" not in line for line in lines)


def test_without_a_key_it_says_that_anybody_could_have_signed(signed: Path) -> None:
    lines = verify(signed / "out" / "record.json")
    assert "says nothing about whose it is" in lines[0]
    assert sum("not compared with a file" in line for line in lines) == 2


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_is_signed_and_read_back(tmp_path: Path, verdict: str) -> None:
    record = record_of(verdict)
    path = write_record(record, tmp_path / "out", tmp_path / "key.pem", SUBJECTS)
    assert read_record(path).model_copy(update={"signer": None}) == record
    (tmp_path / "now").write_bytes(AFTER if verdict == "forgotten" else BEFORE)
    (tmp_path / "other").write_bytes(BEFORE if verdict == "forgotten" else AFTER)
    assert any("now fits" in line for line in verify(path, weights=tmp_path / "now"))
    complaint = refusal(verify, path, weights=tmp_path / "other")
    assert ("which is not to be used" in complaint) == (verdict == "do not ship")
    results = {"forgotten": "PASSED", "do not ship": "FAILED"}
    assert any(results.get(verdict, "WARNED") in line for line in verify(path))


def test_it_is_an_in_toto_statement_in_a_dsse_envelope(signed: Path) -> None:
    """By hand: the pre-authentication encoding of DSSE, checked with the library below securesystemslib."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = load_pem_public_key((signed / "keys" / "key.pem.pub").read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    for name, predicate in [
        ("record.json", "urn:efface:erasure/v0.1"),
        ("test-result.json", "https://in-toto.io/attestation/test-result/v0.1"),
    ]:
        envelope = json.loads((signed / "out" / name).read_bytes())
        payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
        pae = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
        public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), pae)
        statement = json.loads(payload)
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["predicateType"] == predicate
        assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == SUBJECTS


@pytest.mark.parametrize("name", ["out/record.json", "out/test-result.json", "after.pth", "before.pth"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_noticed(signed: Path, name: str, data: st.DataObject) -> None:
    path = signed / name
    content = path.read_bytes()
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    flipped = bytearray(content)
    flipped[place] ^= 1 << bit
    path.write_bytes(flipped)
    try:
        message = refusal(
            verify, signed / "out" / "record.json", weights=signed / "after.pth", before=signed / "before.pth"
        )
    finally:
        path.write_bytes(content)
    assert path.name in message


def test_every_third_byte_flipped_is_noticed(tmp_path: Path, signed: Path) -> None:
    """The record's own file, each at another bit; and cut short, added to, or written otherwise."""
    content = (signed / "out" / "record.json").read_bytes()
    path = tmp_path / "record.json"
    others = [content[:-1], content + b"\n", content + b" ", b"", json.dumps(json.loads(content), indent=1).encode()]
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        others.append(bytes(flipped))
    for other in others:
        path.write_bytes(other)
        with pytest.raises(InputError, match=r"record\.json"):
            verify(path)


def test_a_record_signed_again_by_somebody_else_is_not_taken_for_ours(tmp_path: Path, signed: Path) -> None:
    path = write_record(record_of(), tmp_path / "out", tmp_path / "theirs.pem", SUBJECTS)
    assert "expected" in refusal(verify, path, key=signed / "keys" / "key.pem.pub")
    (tmp_path / "out" / "test-result.json").write_bytes((signed / "out" / "test-result.json").read_bytes())
    assert "signature does not fit" in refusal(verify, path)


def test_the_test_result_of_another_record_is_noticed(tmp_path: Path) -> None:
    one = write_record(record_of(), tmp_path / "one", tmp_path / "key.pem", SUBJECTS)
    two = write_record(record_of("do not ship"), tmp_path / "two", tmp_path / "key.pem", SUBJECTS)
    assert "give" in refusal(verify, one.with_name("test-result.json"))
    two.with_name("test-result.json").replace(one.with_name("test-result.json"))
    assert "belongs to another record" in refusal(verify, one)
    one.with_name("test-result.json").unlink()
    assert "no test-result.json beside it" in verify(one)


def test_one_key_signs_all_records_and_is_its_owners_alone(tmp_path: Path) -> None:
    key = tmp_path / "keys" / "key.pem"
    first = read_record(write_record(record_of(), tmp_path / "one", key, SUBJECTS))
    second = read_record(write_record(record_of("do not ship"), tmp_path / "two", key, SUBJECTS))
    assert first.signer == second.signer
    assert first.signer is not None
    if os.name == "posix":
        private = [key, *(tmp_path / "one").iterdir()]
        assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
        key.chmod(0o644)
        assert "chmod 600" in refusal(write_record, record_of(), tmp_path / "one", key, SUBJECTS)
    assert b"PRIVATE" not in key.with_name("key.pem.pub").read_bytes()


def test_the_default_key_lies_in_the_users_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_key().name == "signing-key.pem"
    assert not default_key().exists()


def test_what_cannot_be_signed_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    out, key = tmp_path / "out", tmp_path / "key.pem"
    whole = record_of()
    named = record_of(deletions=[Deletion(store="photos", where="faces/Ann", state="nothing found")])
    assert whole.criteria is not None
    moved = record_of(criteria=Criteria(**(dict(whole.criteria) | {"sha256": "0" * 64})))
    assert "outside" in refusal(write_record, whole, out, out / "keys" / "key.pem", SUBJECTS)
    assert "name it as a subject" in refusal(write_record, whole, out, key, {"x": "0" * 64})
    assert "names a person" in refusal(write_record, named, out, key, SUBJECTS, names=["ann"])
    assert "those that were fixed" in refusal(write_record, moved, out, key, SUBJECTS)
    large = whole.model_copy(update={"cost": whole.cost.model_copy(update={"seconds": 1e16})})
    assert "canonical JSON" in refusal(write_record, large, out, key, SUBJECTS)
    key.write_text("no key")
    assert "no Ed25519 private key" in refusal(write_record, whole, out, key, SUBJECTS)
    assert not out.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"payload":"","payloadType":"x","signatures":[]}',
        b"null",
        b"1" * 5000,
    ],
)
def test_a_file_that_is_no_record_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "record.json").write_bytes(content)
    assert "is not what was signed" in refusal(verify, tmp_path / "record.json")


def test_files_that_are_not_there_are_one_line(tmp_path: Path, signed: Path) -> None:
    record = signed / "out" / "record.json"
    assert "does not exist" in refusal(verify, tmp_path / "none")
    assert "is no file" in refusal(verify, record, weights=tmp_path)
    assert "does not exist" in refusal(verify, record, key=tmp_path / "none")
    assert "no Ed25519 public key" in refusal(verify, record, key=signed / "keys" / "key.pem")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**30)
    assert "bytes: expected at most" in refusal(verify, tmp_path / "large")


def test_what_a_signed_record_says_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    record: Record = record_of(deletions=[Deletion(store="photos", where="a\x1b[2J\nb", state="nothing found")])
    lines = verify(write_record(record, tmp_path / "out", tmp_path / "key.pem", SUBJECTS))
    assert any(r"a\x1b[2J\nb" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_the_verb_says_it_in_lines_or_fails_with_one(
    signed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for weights, code in (("after.pth", 0), ("before.pth", 2)):
        monkeypatch.setattr(
            "sys.argv", ["efface", "verify", str(signed / "out" / "record.json"), "--weights", str(signed / weights)]
        )
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert (stop.value.code or 0) == code
        assert ("verdict: forgotten" in said.out) == (code == 0)
        assert said.err.count("\n") == code // 2


def test_another_file_of_a_request_is_no_record(tmp_path: Path) -> None:
    other = tmp_path / "outcome.json"
    other.write_text('{"goal": "influence removed"}', encoding="utf-8")
    assert "give the record.json" in refusal(verify, other)
