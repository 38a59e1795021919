"""stores.toml: where an organisation keeps data of people. It is data: it chooses no code and holds no password."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from efface.errors import InputError, refusing
from efface.files import read_text
from efface.settings import first_complaint
from efface.sweep.chroma_local import ChromaLocal
from efface.sweep.faiss_index import FaissIndex
from efface.sweep.gallery import Gallery
from efface.sweep.head_rows import HeadRows
from efface.sweep.packed_faces import PackedFaces
from efface.sweep.photo_tree import PhotoTree
from efface.sweep.postgres import PostgresTable
from efface.sweep.qdrant_local import QdrantLocal
from efface.sweep.run_files import RunFiles
from efface.sweep.sqlite_table import SqliteTable
from efface.sweep.store import Store
from efface.sweep.table_file import TableFile

AnyStore = Annotated[
    PhotoTree
    | Gallery
    | TableFile
    | SqliteTable
    | PostgresTable
    | FaissIndex
    | QdrantLocal
    | ChromaLocal
    | PackedFaces
    | HeadRows
    | RunFiles,
    Field(discriminator="kind"),
]


class Stores(BaseModel):
    """The file as a whole."""

    model_config = ConfigDict(extra="forbid", strict=True)

    store: Annotated[list[AnyStore], Field(min_length=1)]


def read_stores(file: Path) -> list[Store]:
    """The stores of a TOML file: `[[store]]` with name, kind and the kind's own settings.

    Raises InputError for what cannot be used; no store has been opened.
    """
    with refusing(f"stores {file} is not valid TOML"):
        tables = tomllib.loads(read_text(file, "stores"))
    folder = file.absolute().parent
    for table in tables.get("store", []) if isinstance(tables.get("store"), list) else []:
        for name in ("path", "beside", "server_files") if isinstance(table, dict) else ():
            if isinstance(table.get(name), str):
                table[name] = str(folder / table[name])
            elif isinstance(table.get(name), list):
                table[name] = [str(folder / one) if isinstance(one, str) else one for one in table[name]]
    try:
        stores: list[Store] = list(Stores.model_validate(tables).store)
    except ValidationError as error:
        raise InputError(f"stores {file}: {first_complaint(error, Stores)}") from None
    names = [one.name for one in stores]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"stores {file}: two stores are called '{twice[0]}': give each a name of its own")
    return stores
