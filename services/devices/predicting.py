"""The devices of a product as a roll-out would find them: how many of them each stage comes to, and one by one. Reads
views only; a million devices take some seconds, in pages, between which others have their turn (decision 08).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from services.devices.fleet import FLEET, membership, takes_updates
from services.devices.places import Places
from services.devices.prediction import Facts, Verdict, Would, allowed_at, predict, stage_at
from services.devices.products import PRODUCTS
from shared import ids
from shared.bus.providers import WorkerViews
from shared.errors import Refused
from shared.predictions import page_of
from shared.projections.view import Row
from shared.releases import releases_of
from shared.rollouts import PLACES, Releases, Rollout, places_in
from shared.targets import Way
from shared.turns import turn

PAGE = 5_000
MAX_PER_PAGE = 10_000
MOST_KINDS = 10_000
"""Devices that are alike in all that decides are judged once; so many kinds are remembered at a time."""

_FLAGS = ("forced", "quarantined", "denied", "development", "flash_pending", "online")
_COLUMNS = (
    "locked_version",
    "reported_product",
    "reported_version",
    "update_version",
    "update_state",
    "update_failures",
    "updates_said",
)


class _Kind(msgspec.Struct, array_like=True, frozen=True):
    """All that decides about a device, as the database has it: ``bits`` are the flags, the first the lowest, ``groups``
    is a JSON list as text."""

    bits: int
    groups: str
    locked_version: int | None
    reported_product: int | None
    reported_version: int | None
    update_version: int | None
    update_state: str | None
    update_failures: int
    updates_said: str | None


Raw = tuple[str, msgspec.Raw]
"""A device's ID and its kind, not decoded yet: what is alike is decoded once."""
_rows = msgspec.json.Decoder(list[Raw]).decode
_kind = msgspec.json.Decoder(_Kind).decode


def rollout_sizes(
    views: WorkerViews, product_id: int, rollout: Rollout, stages: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """How many devices would get the version, how many are allowed at each stage (``percent`` or ``devices``) and the
    place behind the last of them, and how many there are of each reason. Who runs the version already is not counted,
    whether a turn brought it or not: the roll-out knows how many it brought."""
    judged, place_of = _Judged(product_id, _releases(views, product_id), rollout), places_in(rollout.rollout_id)
    reasons: Counter[str] = Counter()
    places = Places()
    for rows in _pages(views, product_id):
        with turn(len(rows)):
            kinds = [bytes(kind) for _, kind in rows]
            updating = set()
            for kind, count in Counter(kinds).items():
                alike = judged(kind)
                reasons[alike.verdict.reason] += count
                if alike.would_update:
                    updating.add(kind)
            places.extend(place_of(one) for (one, _), kind in zip(rows, kinds, strict=True) if kind in updating)
    eligible = len(places)
    sized = [_sized(allowed_at(one.get("percent"), one.get("devices"), eligible), places) for one in stages]
    return {"eligible": eligible, "stages": sized, "reasons": dict(reasons)}


def _sized(allowed: int | None, places: Places) -> dict[str, Any]:
    return {"allowed": allowed, "share": PLACES if allowed is None else places.behind(allowed)}


def predict_rollout(
    views: WorkerViews,
    product_id: int,
    rollout: Rollout,
    shares: Sequence[int],
    after: str | None,
    limit: int,
) -> dict[str, Any]:
    """The next devices in order of their IDs and what would become of each: a page of ``shared.predictions``, and
    ``next``."""
    if after is not None and ids.device_id(after) is None:
        raise Refused("invalid_request", "after is the ID of a device, the last one of the page before")
    most = max(1, min(limit, MAX_PER_PAGE))
    judged, place_of = _Judged(product_id, _releases(views, product_id), rollout), places_in(rollout.rollout_id)
    rows = _page(views, product_id, after or "", most)
    with turn(len(rows)):
        numbers: dict[str, int] = {}
        of = []
        for device_id, kind in rows:
            alike = judged(bytes(kind))
            stage = stage_at(place_of(device_id), shares) if alike.would_update else None
            of.append(numbers.setdefault(alike.told_at(stage), len(numbers)))
        page = page_of([device_id for device_id, _ in rows], list(numbers), of)
    return {**page, "next": rows[-1][0] if len(rows) == most else None}


class _Predicted(msgspec.Struct):
    """What is told of a device, but for its ID."""

    would: Would
    stage: int | None
    reason: str
    version: int | None
    target: int | None


class _Alike:
    """What is the same for all devices of a kind: what becomes of them, and the version that they reported."""

    __slots__ = ("_told", "_version", "verdict", "would_update")

    def __init__(self, verdict: Verdict, version: int | None) -> None:
        self.verdict, self.would_update = verdict, verdict.would == "update"
        self._version = version
        self._told: dict[int | None, str] = {}

    def told_at(self, stage: int | None) -> str:
        """What is told of those that this stage reaches first, as JSON."""
        found = self._told.get(stage)
        if found is None:
            told = _Predicted(self.verdict.would, stage, self.verdict.reason, self._version, self.verdict.target)
            found = self._told[stage] = msgspec.json.encode(told).decode()
        return found


class _Judged:
    """What becomes of a device, asked once for all that are alike."""

    def __init__(self, product_id: int, releases: Releases, rollout: Rollout) -> None:
        self._product_id, self._releases, self._rollout = product_id, releases, rollout
        self._known: dict[bytes, _Alike] = {}

    def __call__(self, raw: bytes) -> _Alike:
        return self._known.get(raw) or self._judge(raw)

    def _judge(self, raw: bytes) -> _Alike:
        if len(self._known) >= MOST_KINDS:
            self._known.clear()
        kind = _kind(raw)
        verdict = predict(_facts(self._product_id, kind), self._releases, self._rollout)
        alike = self._known[raw] = _Alike(verdict, kind.reported_version)
        return alike


def _facts(product_id: int, kind: _Kind) -> Facts:
    flags = {flag: bool(kind.bits >> number & 1) for number, flag in enumerate(_FLAGS)}
    row: Row = {**flags, "product_id": product_id, "locked_version": kind.locked_version}
    way = Way(
        reported_product=kind.reported_product,
        reported_version=kind.reported_version,
        online=row["online"],
        update_version=kind.update_version,
        update_state=kind.update_state,
        failures=kind.update_failures,
        takes_updates=takes_updates({"updates_said": kind.updates_said}),
    )
    return Facts(membership(row), tuple(msgspec.json.decode(kind.groups)), way)


def _releases(views: WorkerViews, product_id: int) -> Releases:
    products = views.table(PRODUCTS)
    with views.read() as connection:
        found = connection.execute(sa.select(products).where(products.c.product_id == product_id)).mappings().first()
    return Releases() if found is None else releases_of(dict(found))


def _pages(views: WorkerViews, product_id: int) -> Iterator[Sequence[Raw]]:
    """All of them. The database looks for the next one, which needs no interpreter, while this one is worked at."""
    with ThreadPoolExecutor(1, "dry-run") as ahead:
        following = ahead.submit(_page, views, product_id, "", PAGE)
        while True:
            rows = following.result()
            if len(rows) < PAGE:
                yield rows
                return
            following = ahead.submit(_page, views, product_id, rows[-1][0], PAGE)
            yield rows


def _page(views: WorkerViews, product_id: int, after: str, limit: int) -> Sequence[Raw]:
    """As one JSON text: each step to a further row would let other threads have the interpreter."""
    fleet = views.table(FLEET)
    with views.read() as connection:
        page = _packed(fleet, connection.dialect.name == "sqlite")
        text = connection.execute(page, {"product": product_id, "behind": after, "most": limit}).scalar()
    return sorted(_rows(text or "[]"), key=itemgetter(0))


@lru_cache(maxsize=4)
def _packed(fleet: sa.Table, is_sqlite: bool) -> sa.Select[Any]:
    """SQLite's booleans are numbers already."""
    number = sa.type_coerce if is_sqlite else sa.cast
    bits = sum((number(fleet.c[flag], sa.Integer) * (1 << n) for n, flag in enumerate(_FLAGS)), sa.literal(0))
    groups = sa.type_coerce(fleet.c.groups, sa.Text).label("groups")
    rows = sa.select(fleet.c.device_id, bits.label("bits"), groups, *(fleet.c[name] for name in _COLUMNS))
    wanted = rows.where(fleet.c.product_id == sa.bindparam("product"), fleet.c.device_id > sa.bindparam("behind"))
    page = wanted.order_by(fleet.c.device_id).limit(sa.bindparam("most", type_=sa.Integer)).subquery()
    array = sa.func.json_array if is_sqlite else sa.func.json_build_array
    gather = sa.func.json_group_array if is_sqlite else sa.func.json_agg
    _, *kind = page.c
    return sa.select(sa.cast(gather(array(page.c.device_id, array(*kind))), sa.Text))
