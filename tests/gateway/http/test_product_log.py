from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from services.gateway.history import Listed
from services.gateway.hub import PublishedEvent
from services.gateway.log_reading import Wanted
from services.gateway.stream_ids import Ids
from shared.store.port import Position, Recorded

IDS = Ids(bytes(32))
LOGS = "/v1/products/thermo/logs"
AT = datetime(2016, 2, 9, 14, 43, 5, 606_999, UTC)
EVENT = PublishedEvent("temperature", "25.34", 60, AT, "0123456789abcdef01234567", 1000, 7, False)
STORED = Recorded(UUID(int=5), "DevicePublished", "log-1000", 3, Position(9), AT, b"{}", b"{}")


def test_the_log_is_told_as_the_contract_has_it(api: Any) -> None:
    api.history.listed = Listed([(STORED, EVENT)], {"a": 3}, False)
    answer = api.get(LOGS)
    assert answer.json() == {
        "events": [
            {
                "id": "00000000-0000-0000-0000-000000000005",
                "name": "temperature",
                "data": "25.34",
                "ttl": 60,
                "published_at": "2016-02-09T14:43:05.606Z",
                "coreid": "0123456789abcdef01234567",
                "productID": 1000,
                "version": 7,
            }
        ],
        "meta": {"next": IDS.page_text({"a": 3}), "incomplete": False},
    }
    assert api.history.asked == [(1000, None, Wanted(), 100)]


def test_what_is_asked_for_is_handed_on(api: Any) -> None:
    query = f"?limit=7&name=temp%2F&deviceId=0123456789ABCDEF01234567&before={IDS.page_text({'a': 3})}"
    assert api.get(LOGS + query).json()["meta"] == {"next": None, "incomplete": False}
    assert api.history.asked == [(1000, {"a": 3}, Wanted("temp/", "0123456789abcdef01234567"), 7)]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "before=17", "before=", "deviceId=cellar", "name=" + "x" * 65]
)
def test_what_cannot_be_meant_is_refused_with_its_name(api: Any, world: Any, query: str) -> None:
    status, code, text = world.error_of(api.get(f"{LOGS}?{query}"))
    assert (status, code) == (400, "invalid_request")
    assert text.startswith(query.partition("=")[0] + ": ")
    assert api.history.asked == []
