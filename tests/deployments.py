"""A small deployed recogniser, whose file somebody else wrote, and photos on disk for requests to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from efface.datasets import GENERATORS
from efface.erasure.contract import InputContract
from efface.erasure.inspect import digest_of
from efface.files import sha256_of
from efface.models.iresnet import IResNet

SIDE, PHOTOS = 24, 6
SHARES = {"forget": 3, "retain": 12, "public": 24}


@dataclass(frozen=True)
class Deployment:
    """Where everything lies."""

    folder: Path
    model: Path
    contract: Path

    def given(self, **more: Any) -> dict[str, Any]:
        """Options of a request."""
        places = {name: self.folder / name for name in SHARES}
        return {"model": self.model, "contract": self.contract, "budget": "3s", **places, **more}


def deployed(folder: Path) -> Deployment:
    """A network that nobody trained, with a head of thirty people, under nested names; generated faces by person.

    Its contract says that it was measured: what is tested here is what follows.
    """
    people = sum(SHARES.values())
    table = GENERATORS["synthetic"].make(people=people, photos_per_person=PHOTOS, size=(SIDE, SIDE), seed=3)
    names = np.unique(table.table["person"])
    sides = np.repeat(list(SHARES), list(SHARES.values()))
    for name, side in zip(names, sides, strict=True):
        (folder / side / name).mkdir(parents=True)
    side_of = dict(zip(names, sides, strict=True))
    for row, (person, key) in enumerate(zip(table.table["person"], table.table["key"], strict=True)):
        pixels = np.repeat(table.images[row], 3, axis=0) if table.images.shape[1] == 1 else table.images[row]
        path = folder / side_of[person] / person / f"{key.replace('/', '-')}.png"
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(path)
    torch.manual_seed(0)
    network = IResNet((3, SIDE, SIDE), 10, 4, 16)
    weights = {f"module.backbone.{name}": value for name, value in network.state_dict().items()}
    head = torch.nn.functional.normalize(torch.randn(30, 16, generator=torch.Generator().manual_seed(1)))
    model = folder / "deployed.pth"
    torch.save({"epoch": 3, "net": weights, "head": {"weight": head}}, model)
    contract = folder / "contract.toml"
    measured = digest_of(InputContract((SIDE, SIDE), "whole"))
    contract.write_text(
        f'[model]\nsha256 = "{sha256_of(model)}"\ndimensions = 16\n[contract]\nsize = [{SIDE}, {SIDE}]\n'
        f'template = "whole"\n[measured]\npairs = 1000\ncontract_sha256 = "{measured}"\n',
        encoding="utf-8",
    )
    return Deployment(folder, model, contract)
