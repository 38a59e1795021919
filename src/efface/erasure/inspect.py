"""What a file of weights is, what its network wants to see, and whether that is so: `efface inspect`."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from efface.erasure.architecture import architecture, network_of, recorded_shape
from efface.erasure.checkpoint import Checkpoint, open_checkpoint
from efface.erasure.contract import InputContract, input_contract, is_sphereface
from efface.erasure.contract_check import (
    Checked,
    PhotoPairs,
    Track,
    check,
    pairs_of_people,
    pairs_of_protocol,
    pairs_of_set,
    refuse_mistaken,
    worded,
)
from efface.errors import InputError, one_line, refusing
from efface.files import read_text, write_text
from efface.measures.bootstrap import Measure
from efface.models.factory import untrained_answer
from efface.progress import Say
from efface.training.environment import device_named


def inspect(
    model: Path,
    *,
    arch: str | None = None,
    given: Mapping[str, Any] | None = None,
    pairs: Path | None = None,
    photos: Path | None = None,
    people: Path | None = None,
    detector: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
    skip_unreadable: bool = False,
    say: Say = lambda _line: None,
    track: Track | None = None,
) -> InputContract:
    """Say what a file of weights holds, and the input contract of its network; with pairs, measure that.

    arch: "module:function" that makes the network, where it is not of this package. given: what is known of the
    contract, as `input_contract` has it; its size follows from the weights of most networks here. pairs: LFW's
    `pairs.txt`, of photos below `photos`, or an insightface set (.bin); people: a folder of photos by person instead.
    out: a TOML file for the contract, and what was measured of it.

    Raises InputError for a file in which no network is found, or several; and where pairs tell that another contract
    fits clearly better, or that none fits: then nothing is written.
    """
    here = device_named(device)
    contract = contract_of(model, arch, given or {})
    network = network_of(model, arch, contract.shape)
    answer = untrained_answer(network, contract.shape)
    dimensions = answer.shape[1] if isinstance(answer, Tensor) and answer.ndim == 2 else None
    checkpoint = open_checkpoint(model, network, dimensions=dimensions)
    network.load_state_dict(checkpoint.weights)
    guessed = (
        "size" not in (given or {}) and contract.size not in ((112, 112), (96, 112)) and recorded_shape(model) is None
    )
    doubt = "; by its weights up to 15 pixels less fit too: give --size if it is another" if guessed else ""
    for line in (*lines_of_file(checkpoint, network, arch), f"input contract: {in_words(contract)}{doubt}"):
        say(one_line(line))
    compared = opened_pairs(pairs, photos, people, detector, skip_unreadable)
    checked = None
    if compared is not None:
        checked = check(network, contract, compared, here, track)
        for line in lines_of_check(checked, compared):
            say(one_line(line))
        refuse_mistaken(checked, contract, str(model))
    else:
        say("not measured: give --pairs or --people to see whether the network knows people apart by it")
    if out is not None:
        write_text(out, as_toml(contract, checkpoint, checked))
    return contract


def contract_of(model: Path, arch: str | None, given: Mapping[str, Any]) -> InputContract:
    """The contract that is given, and what a file's weights say of the rest."""
    found = None if arch else architecture(model)
    shape = found.shape if found else recorded_shape(model)
    given = dict(given)
    if "size" not in given:
        if shape is None:
            raise InputError(f"{model} does not say the size of its pictures: give --size WIDTH HEIGHT")
        given["size"] = [shape[2], shape[1]]
    if shape is not None and shape[0] == 1:
        given.setdefault("channels", "grey")
    if found is not None and found.name in ("eyenet", "resnet18"):
        given.setdefault("template", "whole")
    contract = input_contract({"template": "arcface", **given}, f"the contract of {model}")
    if "template" not in given and is_sphereface(contract.size):
        return input_contract({**given, "template": "sphereface"}, f"the contract of {model}")
    return contract


def opened_pairs(
    pairs: Path | None, photos: Path | None, people: Path | None, detector: Path | None, skip_unreadable: bool
) -> PhotoPairs | None:
    """The pairs that are given, in one of three ways, if any."""
    if pairs is not None and people is not None:
        raise InputError("pairs and people are given: give one of them")
    if photos is not None and pairs is None:
        raise InputError(
            "photos are given without the pairs among them: give --pairs, or --people for a folder by person"
        )
    if people is not None:
        return pairs_of_people(people, detector, skip_unreadable)
    if pairs is None:
        return None
    if photos is not None:
        return pairs_of_protocol(pairs, photos, detector, skip_unreadable)
    if pairs.suffix != ".bin":
        raise InputError(f"{pairs} names pairs of photos: give the folder they lie in with --photos")
    return pairs_of_set(pairs)


def lines_of_file(checkpoint: Checkpoint, network: nn.Module, arch: str | None) -> list[str]:
    """What a file is, in lines."""
    if arch:
        made = arch
    else:
        found = architecture(checkpoint.path)
        made = f"{found.name}, {', '.join(f'{name} {value}' for name, value in found.settings.items())}"
    return [
        f"file: {checkpoint.path}, {checkpoint.format}, {checkpoint.path.stat().st_size:,} bytes",
        f"SHA-256: {checkpoint.digest}",
        f"network: {made}",
        f"parameters: {sum(one.numel() for one in network.parameters()):,}; embedding: {checkpoint.dimensions} numbers",
        f"weights: {checkpoint.stripped}",
        f"left aside: {', '.join(checkpoint.beside) or 'nothing'}",
        *(
            f"{place} could be a head: {head.shape[checkpoint.people_axis(place)]:,} people"
            for place, head in checkpoint.heads.items()
        ),
    ]


def in_words(contract: InputContract) -> str:
    """A contract on one line."""
    mean, std = (" ".join(f"{one:g}" for one in values) for values in (contract.mean, contract.std))
    mirror = ", the mirror image's embedding added" if contract.flip else ""
    width, height = contract.size
    return f"{width}x{height}, template {contract.template}, mean {mean}, std {std}, {contract.channels}{mirror}"


def lines_of_check(checked: Checked, pairs: PhotoPairs) -> list[str]:
    """What was measured, in lines."""
    left_out = f"; {pairs.left_out:,} name a photo that is not here" if pairs.left_out else ""
    unread = f"; {checked.unread:,} have a photo that cannot be used" if checked.unread else ""
    lines = [f"verification by {checked.pairs:,} pairs{left_out}{unread}"]
    for key, measure in checked.measures.items():
        value = "too few pairs to say" if measure.value is None else worded(measure)
        lines.append(f"  {key.metric.replace('_', ' ')}: {value}")
    lines.append(f"accuracy by {checked.tried:,} of them: {worded(checked.accuracy)}")
    for one in checked.neighbours:
        gain = one.better_by
        difference = "" if gain.value is None else f"; {gain.value:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}]"
        lines.append(f"  with {one.name}: {worded(one.accuracy)}{difference}")
    lines.append(f"  by pixels alone: {worded(checked.by_pixels)}")
    lines += [f"  with {name}: not tried ({why})" for name, why in checked.untried.items()]
    return lines


def as_toml(contract: InputContract, checkpoint: Checkpoint, checked: Checked | None) -> str:
    """A contract as a TOML file that `read_contract` reads."""
    tables: dict[str, Mapping[str, Any]] = {
        "model": {"sha256": checkpoint.digest, "dimensions": checkpoint.dimensions},
        "contract": contract.plain(),
    }
    if checked is not None:
        tables["measured"] = {"pairs": checked.pairs, "contract_sha256": digest_of(contract)} | {
            key.metric: spans(one) for key, one in checked.measures.items() if one.low is not None
        }
        tables["measured.neighbours"] = {
            one.name: {"accuracy": spans(one.accuracy), "better_by": spans(one.better_by)} for one in checked.neighbours
        } | {"pairs": checked.tried, "contract": spans(checked.accuracy), "pixels": spans(checked.by_pixels)}
    head = "# What a network was trained to be shown, by efface inspect. Shares are value, low, high (95% interval).\n"
    return head + "".join(
        f"\n[{name}]\n" + "".join(f"{named(key)} = {inline(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def digest_of(contract: InputContract) -> str:
    """SHA-256 of a contract: what was measured was measured of it, and of no other."""
    return hashlib.sha256(json.dumps(contract.plain(), sort_keys=True).encode()).hexdigest()


def spans(measure: Measure) -> list[float | None]:
    """A value with its interval."""
    return [measure.value, measure.low, measure.high]


def inline(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{named(name)} = {inline(one)}" for name, one in value.items()) + " }"
    return json.dumps(value)


def named(key: str) -> str:
    """A key in TOML."""
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key)


def read_contract(path: Path, digest: str) -> tuple[InputContract, bool]:
    """The contract that `inspect` wrote for the model of this SHA-256, and whether it was measured as it stands: one
    that was changed since was not."""
    text = read_text(path, "contract")
    with refusing(f"contract {path} is not valid TOML"):
        found = tomllib.loads(text)
    model, contract = found.get("model"), found.get("contract")
    if not isinstance(model, dict) or not isinstance(contract, dict):
        raise InputError(f"contract {path} has no [model] and [contract]: give what `efface inspect --out` wrote")
    if model.get("sha256") != digest:
        raise InputError(f"contract {path} is of another model than the one given: run `efface inspect` on that")
    written, measured = input_contract(contract, f"contract {path}"), found.get("measured")
    return written, isinstance(measured, dict) and measured.get("contract_sha256") == digest_of(written)
