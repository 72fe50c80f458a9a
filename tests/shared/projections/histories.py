"""Generated histories of the platform's own events, of all services, about few things, so that they meet each other."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any

from hypothesis import strategies as st

from services.devices.bootstrap import VIEWS as DEVICES
from services.firmware.bootstrap import VIEWS as FIRMWARE
from services.gateway.directory_views import VIEWS as DIRECTORY
from services.orgs.views import VIEWS as ORGS
from shared.events.contracts import CONTRACTS
from shared.events.fields import Items, Text, Whole
from shared.projections.view import View

VIEWS: dict[str, tuple[View, ...]] = {"orgs": ORGS, "devices": DEVICES, "firmware": FIRMWARE, "directory": DIRECTORY}
"""All views of the platform, by the database that they are in."""

START = datetime(2030, 1, 1, tzinfo=UTC)
FEW = 3


def _ids(prefix: str) -> st.SearchStrategy[str]:
    """``prefix`` ends in the first of 24 digits."""
    return st.sampled_from([f"{prefix}{number:023x}" for number in range(FEW)])


_POOLS: dict[str, st.SearchStrategy[Any]] = {
    "device_id": _ids("d"),
    "account_id": _ids("a"),
    "owner_id": _ids("a"),
    "org_id": _ids("b"),
    "customer_id": _ids("7"),
    "invitee_id": _ids("1"),
    "invitation_id": _ids("2"),
    "token_id": _ids("c"),
    "import_id": _ids("e"),
    "product_id": st.sampled_from([1000, 1001]),
    "reported_product": st.sampled_from([1000, 1001, 65_535]),
    "version": st.integers(0, FEW),
    "gateway": st.sampled_from("ab"),
    "epoch": st.integers(1, 2),
    "session": st.integers(1, 4),
    "lines_done": st.integers(0, 9),
    "holder_stream": _ids("account-a"),
    "values": st.sampled_from(["{}", '{"a":1}', '{"a":[2,null],"b":"text"}', '{"c":{}}']),
    "removed": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
    "answers": st.sampled_from(['{"customers.private_beta":true}', '{"customers.private_beta":null}', "{}"]),
    "modules": st.sampled_from(["[]", '[{"f":"s"}]']),
}
"""What the fields that name things hold. ``None`` is added where a field may be None."""
_NEVER_NONE = {"uploader_id": _ids("a")}
"""What is personal in an event must be somebody's (EVT-5)."""

_PLAIN: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    datetime: st.integers(0, 5).map(lambda second: START.replace(second=second)),
    str: st.just("text"),
    int: st.integers(0, 3),
}


def events_of(views: Sequence[View]) -> st.SearchStrategy[object]:
    """Any event that one of the views takes; now and then one that none of them takes."""
    taken = sorted({event for view in views for event in view.events}, key=lambda event: event.__name__)
    others = sorted({contract.event for contract in CONTRACTS} - set(taken), key=lambda event: event.__name__)
    return st.one_of(*(event_of(event) for event in taken), st.sampled_from(others).flatmap(event_of))


@cache
def event_of(event: type) -> st.SearchStrategy[object]:
    """Events of this type that keep to their contract."""
    hints = typing.get_type_hints(event, include_extras=True)
    return st.builds(event, **{name: _field(name, hint) for name, hint in hints.items()})


def _field(name: str, hint: Any) -> st.SearchStrategy[Any]:
    if name in _NEVER_NONE:
        return _NEVER_NONE[name]
    kinds = [kind for kind in _alternatives(hint) if kind is not NoneType]
    pool = _POOLS.get(name)
    values = pool if pool is not None and len(kinds) == 1 else st.one_of(*(_value(kind) for kind in kinds))
    return st.none() | values if NoneType in _alternatives(hint) else values


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)


def _value(kind: Any) -> st.SearchStrategy[Any]:
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return st.sampled_from(typing.get_args(kind))
    if origin is typing.Annotated:
        plain, *marks = typing.get_args(kind)
        return _limited(plain, marks)
    if isinstance(kind, type) and kind in _PLAIN:
        return _PLAIN[kind]
    return event_of(kind)


def _limited(plain: Any, marks: Sequence[Any]) -> st.SearchStrategy[Any]:
    for mark in marks:
        match mark:
            case Text(longest, shortest, None):
                texts = [text for text in ("", "n", "ü'\"", "name", "x" * longest) if shortest <= len(text) <= longest]
                return st.sampled_from(texts or ["n" * shortest])
            case Text(_, _, pattern):
                few = _MATCHING.get(pattern or "")
                return st.from_regex(pattern or "", fullmatch=True) if few is None else st.sampled_from(few)
            case Whole(least, most):
                return st.integers(least, min(most, least + FEW))
            case Items(most):
                return st.lists(_value(typing.get_args(plain)[0]), max_size=min(most, FEW))
    return _value(plain)


_MATCHING: dict[str, list[str]] = {
    r"[0-9a-f]{24}": [f"f{number:023x}" for number in range(FEW)],
    r"[0-9a-f]{16}": [f"{number:016x}" for number in range(FEW)],
    r"[0-9a-f]{64}": [f"{number:064x}" for number in range(FEW)],
    r"[0-9a-f]{128}": [f"{number:0128x}" for number in range(FEW)],
    r"[a-z0-9_-]+": ["kitchen", "hall-2"],
    r"[a-z0-9]+(-[a-z0-9]+)*": ["acme", "acme-2"],
    r"[a-z0-9][a-z0-9_-]*": ["a", "b"],
    r"[A-Za-z0-9+/]+={0,2}": ["a2V5", "b3RoZXI="],
    r"[A-Za-z0-9_-]{43}": ["c" * 43, "h" * 43],
    r"[A-HJ-NP-Z2-9]{4}": ["AAAA", "BBBB"],
    r"[a-z0-9_]+/[a-z0-9_.-]+": ["reset/panic", "app/dry"],
}
"""Texts for each pattern that a field may have."""
