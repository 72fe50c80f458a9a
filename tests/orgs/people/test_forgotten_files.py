"""Nothing of a person is left in the files of views (EVT-5)."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from services.orgs.people.accounts import stream_of
from services.orgs.views import ACCOUNTS
from shared.context import Context
from shared.events.fields import FORGOTTEN
from shared.events.orgs import AccountCreated, AccountForgotten
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.open import open_store
from shared.store.port import ANY
from tests.keys import MemoryTable, contracts_with_keys

ADA = "ada.lovelace@example.com"
ID = "a" * 24


def holding(folder: Path, text: str) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes())


def test_what_a_running_view_showed_of_somebody_is_in_none_of_its_files_soon_after_they_are_forgotten(
    tmp_path: Path,
) -> None:
    contracts = contracts_with_keys(MemoryTable())
    store = open_store(f"sqlite://{tmp_path}/events.db?durability=normal")
    database = Database(f"sqlite:///{tmp_path}/views", "orgs")
    projector = Projector("orgs", store, database, [ACCOUNTS], contracts)

    def happened(event: AccountCreated | AccountForgotten) -> None:
        new = contracts.encode(event, 0, Context.new("test", "test", uuid4()))
        assert projector.wait_for(store.append(stream_of(ID), ANY, [new]).position, 10)

    with closing(store), closing(database):
        projector.start()
        happened(AccountCreated(ID, ADA, "$argon2id$", "Ada", "Lovelace", ""))
        assert holding(tmp_path, ADA) != []
        happened(AccountForgotten(ID))
        deadline = time.monotonic() + 10
        while holding(tmp_path, ADA) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert holding(tmp_path, ADA) == []
        with database.connect() as connection:
            assert connection.execute(database.table(ACCOUNTS).select()).mappings().one()["email"] == FORGOTTEN
        projector.stop()
