from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.devices.details import DETAILS, fold
from shared.events.devices import DeviceCertificateSet, DeviceKeySet, DeviceRemoved
from shared.events.gateway import DescribedVariable, DescriptionReported
from shared.projections.view import Row
from shared.store.port import Position, Recorded

ID, P = "53ff6f066667574834212367", 1000
AT = datetime(2030, 1, 1, tzinfo=UTC)
RECORDED = Recorded(UUID(int=0), "x", "s", 0, Position(1), AT, b"{}", b"{}")


def described(*functions: str, modules: str | None = None) -> DescriptionReported:
    variables = [DescribedVariable("temp", "double")]
    return DescriptionReported(ID, P, list(functions), variables, 6, modules, "a", 1, 1)


def after(*events: Any) -> Row:
    row: Row | None = None
    for event in events:
        row = fold(row, event, RECORDED)
    assert row is not None
    assert set(row) == set(DETAILS.columns)
    return row


def test_the_last_description_counts() -> None:
    row = after(described("brew", "reset"), described("brew", modules='[{"f":"s"}]'))
    assert (row["functions"], row["variables"]) == (["brew"], {"temp": "double"})
    assert (row["platform_id"], row["modules"], row["described_at"]) == (6, [{"f": "s"}], AT)


def test_modules_that_are_no_list_are_unknown() -> None:
    assert [after(described(modules=text))["modules"] for text in (None, "{}", "[")] == [None, None, None]


def test_what_it_proves_itself_with_goes_when_it_leaves_its_product() -> None:  # DEV-8
    key = DeviceKeySet(ID, P, "ecc", "AAAA", first_use=False)
    row = after(described("brew"), key, DeviceCertificateSet(ID, P, "c" * 64))
    assert (row["key_algorithm"], row["fingerprint"]) == ("ecc", "c" * 64)
    gone = fold(row, DeviceRemoved(ID, P), RECORDED)
    assert gone == {**row, "key_algorithm": None, "fingerprint": None}
    assert fold(None, DeviceRemoved(ID, P), RECORDED) is None
