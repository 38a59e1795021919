"""Records signed and verified offline: an in-toto Statement in a DSSE envelope, under an Ed25519 key.

The key of an organisation signs all its records, so it stands by default in the user's settings and never in a folder
of results, which is handed on and thrown away.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from efface import files
from efface.erasure.record import (
    NO_PROOF_OF_ORIGIN,
    PREDICATE,
    Deletion,
    Part,
    Record,
    Sha256,
    Signer,
    Text,
    canonical_json,
    check_no_name,
    criteria_sha256,
)
from efface.errors import InputError, one_line, refusing
from efface.files import create_private, make_folder, read_bytes, write_bytes, write_private

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

RECORD, TEST_RESULT = "record.json", "test-result.json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
TEST_RESULT_PREDICATE: Final = "https://in-toto.io/attestation/test-result/v0.1"
LARGEST_RECORD = 2**24
"""Bytes; a record with thousands of measurements has a tenth of it."""


class Digest(Part):
    sha256: Sha256


class Resource(Part):
    """A file or a part of one, by name and digest: an in-toto ResourceDescriptor."""

    name: Text
    digest: Digest


class ErasureStatement(Part):
    kind: Literal["https://in-toto.io/Statement/v1"] = Field(STATEMENT, alias="_type")
    subject: Annotated[list[Resource], Field(min_length=1)]
    predicateType: Literal["urn:efface:erasure/v0.1"] = PREDICATE
    predicate: Record


class TestResult(Part):
    """Criteria by what came of them, as generic verifiers of in-toto statements read it."""

    __test__ = False

    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: list[Resource]
    """The criteria, and the record that they stand in."""
    passedTests: list[Text]
    warnedTests: list[Text]
    failedTests: list[Text]


class TestStatement(Part):
    __test__ = False

    kind: Literal["https://in-toto.io/Statement/v1"] = Field(STATEMENT, alias="_type")
    subject: Annotated[list[Resource], Field(min_length=1)]
    predicateType: Literal["https://in-toto.io/attestation/test-result/v0.1"] = TEST_RESULT_PREDICATE
    predicate: TestResult


class Signature(Part):
    keyid: Sha256
    sig: str


class Envelope(Part):
    """A DSSE envelope with one signature."""

    payload: str
    payloadType: Literal["application/vnd.in-toto+json"]
    signatures: Annotated[list[Signature], Field(min_length=1, max_length=1)]


@dataclass(frozen=True)
class Opened:
    """A record whose signature fits."""

    record: Record
    subjects: dict[str, str]
    """SHA-256 by the name of each model file."""
    key: SSlibKey
    sha256: str
    """Of the record's file."""


def default_key() -> Path:
    """Where the private key lies unless the user says otherwise: in the user's settings, outside of every run."""
    from typer import get_app_dir

    return Path(get_app_dir("efface")) / "signing-key.pem"


def write_record(
    record: Record, out: Path, key: Path, subjects: Mapping[str, str], *, names: Collection[str] = ()
) -> Path:
    """Sign a record and write `out/record.json`, and what generic verifiers read, `out/test-result.json`.

    key: of the private key; it and, beside it, `KEY.pub` are made on first use. subjects: SHA-256 by name of the model
    files. names: of people, which must stand nowhere in it. Raises InputError for a key within `out` or one that others
    can read, for subjects that are not the record's models, and for a name of a person.
    """
    check_no_name(record, names)
    _check_digests(record, subjects)
    if key.resolve().is_relative_to(out.resolve()):
        raise InputError(f"signing key {key} would lie in {out}, which is handed on: give a path outside of it")
    signer = signing_key(key)
    public = Signer(keyid=signer.public_key.keyid, public=signer.public_key.keyval["public"])
    resources = [Resource(name=name, digest=Digest(sha256=digest)) for name, digest in sorted(subjects.items())]
    signed = record.model_copy(update={"signer": public})
    content = _signed(ErasureStatement(subject=resources, predicate=signed), signer)
    _opened(content, out / RECORD, None)
    result = _test_result(record, hashlib.sha256(content).hexdigest())
    tests = _signed(TestStatement(subject=resources, predicate=result), signer)
    make_folder(out)
    (out / TEST_RESULT).unlink(missing_ok=True)  # one of an earlier record would not fit this one
    path = write_private(out / RECORD, content)
    write_private(out / TEST_RESULT, tests)
    return path


def read_record(path: Path, *, key: Path | None = None) -> Record:
    """The record in a file whose signature fits; key: of the public key it must be signed by."""
    return _opened(read_bytes(path, "record", most=LARGEST_RECORD), path, key).record


def verify(
    path: Path, *, weights: Path | None = None, before: Path | None = None, key: Path | None = None
) -> list[str]:
    """What a record says, line by line, once its signature and every digest fit; InputError where one does not.

    weights: the file in use now, which must be the model after where the verdict is "forgotten", and else the model
    before. before: the file from before. key: the public key of whom it must come from.
    """
    opened = _opened(read_bytes(path, "record", most=LARGEST_RECORD), path, key)
    record = opened.record
    for file, model in ((weights, record.in_use), (before, record.model_before)):
        if file is not None and (digest := sha256_of(file)) != model.sha256:
            kept_back = (
                record.model_after is not None and digest == record.model_after.sha256 and record.model_after != model
            )
            is_other = f"has SHA-256 {digest}"
            if kept_back:
                in_use = record.in_use == record.model_after
                is_other = "is the model after" if in_use else "is the model after, which is not to be used"
            raise InputError(f"{file} {is_other}: the record expects {model.name}, SHA-256 {model.sha256}")
    tested = _verified_test_result(path.with_name(TEST_RESULT), opened)
    owner = (
        "the key that was given"
        if key
        else "the key comes with the record and says nothing about whose it is: compare it with the one that its owner "
        "publishes, or give that with --key"
    )
    request, outcome = record.request, record.outcome
    lines = [
        f"signed by key {opened.key.keyid} (Ed25519): {owner}",
        f"request {request.reference} to {record.controller.name}: {request.status}, received {request.received}, due "
        f"{request.extended or request.due}, answered {request.answered}",
        f"verdict: {outcome.verdict}",
        *(f"  because: {reason}" for reason in outcome.reasons),
        f"goal: {record.goal}; method: {record.method.name if record.method else 'none'}",
        f"evidence that they were trained on: {record.evidence.conclusion}; {record.evidence.about}",
        *([f"criteria fixed {record.criteria.fixed.isoformat()}, as they stand"] if record.criteria else []),
        *(f"  {one.measure}: {one.verdict}" for one in outcome.results),
        *map(_deletion_line, record.deletions),
        f"model before: {record.model_before.name}, SHA-256 {record.model_before.sha256}{_fits(before)}",
        f"model after: {record.model_after.name}, SHA-256 {record.model_after.sha256}"
        if record.model_after
        else "model after: none, the weights were left as they are",
        f"model to be in use: {record.in_use.name}{_fits(weights)}",
        tested,
        *(f"it {limit}" if limit == NO_PROOF_OF_ORIGIN else f"limit: {limit}" for limit in record.limits),
    ]
    return [one_line(line) for line in lines]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file of any size, in hexadecimal; InputError where it cannot be read."""
    if not path.is_file():
        raise InputError(f"{path} is no file: expected a file of weights")
    try:
        return files.sha256_of(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def signing_key(path: Path) -> CryptoSigner:
    """The private key in a file that its owner alone can read, made on first use with the public key beside it."""
    crypto = _crypto()
    if not path.exists():
        create_private(path, crypto.CryptoSigner.generate_ed25519().private_bytes)
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise InputError(f"signing key {path} can be read by others: chmod 600 {path}")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    pem = read_bytes(path, "signing key", most=LARGEST_RECORD)
    with refusing(f"signing key {path} is no Ed25519 private key in PEM, without a passphrase"):
        private = load_pem_private_key(pem, None)
        if not isinstance(private, Ed25519PrivateKey):
            raise ValueError("it is of another kind")
    beside = path.with_name(path.name + ".pub")
    if not beside.exists():
        write_bytes(beside, private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signer: CryptoSigner = crypto.CryptoSigner(private)
    return signer


def _public_key(path: Path) -> SSlibKey:
    crypto = _crypto()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = read_bytes(path, "public key", most=LARGEST_RECORD)
    with refusing(f"public key {path} is no Ed25519 public key in PEM"):
        public = load_pem_public_key(pem)
        if not isinstance(public, Ed25519PublicKey):
            raise ValueError("it is of another kind")
    key: SSlibKey = crypto.SSlibKey.from_crypto(public)
    return key


def _crypto() -> Any:
    """`securesystemslib.signer`, with what it signs by."""
    if any(find_spec(name) is None for name in ("cryptography", "securesystemslib")):
        raise InputError("records need two more packages: pip install 'efface[record]'")
    return import_module("securesystemslib.signer")


def _signed(statement: Part, signer: CryptoSigner) -> bytes:
    """The file of a statement: its envelope as canonical JSON and a line feed."""
    from securesystemslib.dsse import Envelope as Dsse

    payload = canonical_json(statement.model_dump(mode="json", by_alias=True))
    envelope = Dsse(payload, PAYLOAD, {})
    envelope.sign(signer)
    return canonical_json(envelope.to_dict()) + b"\n"


def _unsealed(content: bytes, path: Path) -> tuple[bytes, Envelope]:
    """The payload of an envelope, nothing about which could be written otherwise."""
    with refusing(f"{path} is not what was signed: it is no envelope of a record"):
        plain = json.loads(content)
        if not isinstance(plain, dict) or "payload" not in plain:
            raise InputError(f"{path} is not what was signed: give the record.json that `efface forget` wrote")
        envelope = TypeAdapter(Envelope).validate_json(content)
        payload = base64.b64decode(envelope.payload, validate=True)
        signature = base64.b64decode(envelope.signatures[0].sig, validate=True)
        again = [base64.b64encode(payload).decode(), base64.b64encode(signature).decode()]
        if canonical_json(plain) + b"\n" != content or again != [envelope.payload, envelope.signatures[0].sig]:
            raise ValueError("it was written otherwise")
    return payload, envelope


def _check_signature(payload: bytes, envelope: Envelope, key: SSlibKey, path: Path) -> None:
    from securesystemslib.dsse import Envelope as Dsse
    from securesystemslib.signer import Signature as DsseSignature

    given = envelope.signatures[0]
    dsse = Dsse(
        payload, envelope.payloadType, {given.keyid: DsseSignature(given.keyid, base64.b64decode(given.sig).hex())}
    )
    with refusing(f"{path} is not what was signed: the signature does not fit"):
        dsse.verify([key], 1)


def _opened(content: bytes, path: Path, trusted: Path | None) -> Opened:
    """A record's file, its signature verified before anything of it is believed."""
    crypto = _crypto()
    payload, envelope = _unsealed(content, path)
    with refusing(f"{path} is not what was signed: its payload is no statement"):
        plain = json.loads(payload)
        kind = plain["predicateType"]
    if kind == TEST_RESULT_PREDICATE:
        raise InputError(f"{path} is the test result that belongs to a record: give {path.with_name(RECORD)}")
    with refusing(f"{path} is not what was signed: it holds no public key"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        public = bytes.fromhex(plain["predicate"]["signer"]["public"])
        key: SSlibKey = crypto.SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public))
    _check_signature(payload, envelope, key, path)
    if trusted is not None and (expected := _public_key(trusted).keyid) != key.keyid:
        raise InputError(f"{path} was signed by key {key.keyid}: expected {expected}, the one in {trusted}")
    try:
        statement = ErasureStatement.model_validate_json(payload)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"{path} does not follow {PREDICATE}: {where}: {error.errors()[0]['msg']}") from None
    if canonical_json(plain) != payload or statement.predicate.signer is None:
        raise InputError(f"{path} does not follow {PREDICATE}: its payload is not canonical JSON")
    if statement.predicate.signer.keyid != key.keyid:
        raise InputError(f"{path} does not follow {PREDICATE}: the id of its key is that of another key")
    subjects = {one.name: one.digest.sha256 for one in statement.subject}
    _check_digests(statement.predicate, subjects)
    return Opened(statement.predicate, subjects, key, hashlib.sha256(content).hexdigest())


def _check_digests(record: Record, subjects: Mapping[str, str]) -> None:
    """The models are among the subjects, and the criteria those that were fixed."""
    for model in (record.model_before, record.model_after, *record.exported):
        if model is not None and model.sha256 not in subjects.values():
            raise InputError(f"the record's model {model.name} is none of the files it is about: name it as a subject")
    if record.criteria is not None and record.criteria.sha256 != criteria_sha256(record.criteria.asked):
        raise InputError("the record's criteria are not those that were fixed: their SHA-256 differs")


def _test_result(record: Record, sha256: str) -> TestResult:
    by = {
        word: [one.measure for one in record.outcome.results if one.verdict == word]
        for word in ("pass", "not enough data", "fail")
    }
    failed = bool(by["fail"]) or record.outcome.verdict == "do not ship"
    passed = bool(by["pass"]) and not by["not enough data"]
    configuration = [Resource(name=RECORD, digest=Digest(sha256=sha256))]
    if record.criteria is not None:
        configuration.insert(0, Resource(name="criteria", digest=Digest(sha256=record.criteria.sha256)))
    return TestResult(
        result="FAILED" if failed else "PASSED" if passed else "WARNED",
        configuration=configuration,
        passedTests=by["pass"],
        warnedTests=by["not enough data"],
        failedTests=by["fail"],
    )


def _verified_test_result(path: Path, opened: Opened) -> str:
    """What the test result beside a record says; InputError where it is not the record's."""
    if not path.exists():
        return f"no {TEST_RESULT} beside it"
    payload, envelope = _unsealed(read_bytes(path, "test result", most=LARGEST_RECORD), path)
    _check_signature(payload, envelope, opened.key, path)
    with refusing(f"{path} is not what was signed"):
        statement = TestStatement.model_validate_json(payload)
    subjects = {one.name: one.digest.sha256 for one in statement.subject}
    if subjects != opened.subjects or statement.predicate != _test_result(opened.record, opened.sha256):
        raise InputError(f"{path} belongs to another record: remove it, or put the one that belongs here in its place")
    return f"{TEST_RESULT} fits: {statement.predicate.result}"


def _deletion_line(one: Deletion) -> str:
    count = "" if one.count is None else f" ({one.count:,})"
    return f"{one.store} in {one.where}{count}: {one.state}{f' {one.day}' if one.day else ''}"


def _fits(file: Path | None) -> str:
    return "; not compared with a file" if file is None else f"; {file} fits"
