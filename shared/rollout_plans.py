"""The plan of a roll-out as it is sent and shown: JSON, checked by one schema at every door (FW-6).

``PLAN.load`` fills in what is not named, and takes its own result again unchanged. What stages mean to each other, and
to what is released, the ``firmware`` service decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import marshmallow as ma

from shared.bounded_list import BoundedList
from shared.errors import Refused
from shared.events.rollouts import RolloutGates, RolloutPlanned, RolloutStage, RolloutWindow
from shared.ids import MAX_FIRMWARE_VERSION

MAX_STAGES = 20
MAX_WINDOWS = 21
MAX_GROUPS = 1_000
MAX_SOAK_S = 2_592_000
MAX_DEVICES = 10_000_000
MAX_AT_ONCE = 100_000
DEFAULT_SOAK_S = 3_600
DEFAULT_AT_ONCE = 500
GROUP = r"[a-z0-9_-]{1,64}\Z"
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")


class _Whole(ma.fields.Integer):
    """JSON's integers between two bounds; a boolean is none."""

    def __init__(self, least: int, most: int, **options: Any) -> None:
        super().__init__(strict=True, validate=ma.validate.Range(least, most), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.make_error("invalid", input=value)
        return value


class _Flag(ma.fields.Boolean):
    """JSON's two booleans."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if value is not True and value is not False:
            raise self.make_error("invalid", input=value)
        return bool(value)


class _Strict(ma.Schema):
    """A word that nobody knows is a mistake: a gate with a wrong name would never close."""

    class Meta:
        unknown = ma.RAISE


class Stage(_Strict):
    """Either ``percent`` or ``devices``."""

    percent = _Whole(1, 100, allow_none=True, load_default=None)
    devices = _Whole(1, MAX_DEVICES, allow_none=True, load_default=None)
    hold = _Flag(load_default=False, metadata={"description": "somebody must approve before it begins"})
    soak_s = _Whole(
        0, MAX_SOAK_S, load_default=DEFAULT_SOAK_S, metadata={"description": "how long it is watched before the next"}
    )

    @ma.validates_schema
    def one_size(self, data: Mapping[str, Any], **kwargs: object) -> None:
        if (data["percent"] is None) is (data["devices"] is None):
            raise ma.ValidationError("Name either percent or devices.")


def _time_of_day(text: str) -> None:
    if not _TIME.fullmatch(text):
        raise ma.ValidationError("Must be a time of the day, HH:MM.")


def _start_of_window(text: str) -> None:
    _time_of_day(text)
    if text == "24:00":
        raise ma.ValidationError("Must be before 24:00.")


Window = _Strict.from_dict(
    {
        "days": BoundedList(
            _Whole(0, 6),
            7,
            load_default=lambda: list(range(7)),
            metadata={"description": "0 is Monday; none named: all"},
        ),
        "from": ma.fields.String(required=True, validate=_start_of_window, metadata={"description": "HH:MM, UTC"}),
        "until": ma.fields.String(
            required=True,
            validate=_time_of_day,
            metadata={"description": "HH:MM, UTC; before the other: over midnight"},
        ),
    },
    name="Window",
)
"""``from`` is no name that a class could have."""


class Gates(_Strict):
    """When it stops by itself; null: not because of that."""

    failed_percent = _Whole(1, 100, allow_none=True, load_default=5)
    dark_percent = _Whole(1, 100, allow_none=True, load_default=5)
    dark_after_s = _Whole(60, 604_800, load_default=3_600)
    error_ratio_percent = _Whole(
        101,
        10_000,
        allow_none=True,
        load_default=None,
        metadata={"description": "errors a device on the new version, against those on others"},
    )
    at_least = _Whole(
        1, 1_000_000, load_default=10, metadata={"description": "of how many devices the fate must be known"}
    )
    then = ma.fields.String(load_default="pause", validate=ma.validate.OneOf(("pause", "roll_back")))


class Plan(_Strict):
    """A roll-out as somebody wants it."""

    version = _Whole(0, MAX_FIRMWARE_VERSION, required=True)
    groups = BoundedList(
        ma.fields.String(validate=ma.validate.Regexp(GROUP)),
        MAX_GROUPS,
        load_default=list,
        metadata={"description": "none: all devices that get the product's default"},
    )
    stages = BoundedList(
        ma.fields.Nested(Stage()),
        MAX_STAGES,
        load_default=lambda: [
            {"percent": percent, "devices": None, "hold": False, "soak_s": DEFAULT_SOAK_S} for percent in (1, 10, 100)
        ],
        metadata={"description": "in order; the last one is for 100 %"},
    )
    windows = BoundedList(
        ma.fields.Nested(Window()), MAX_WINDOWS, load_default=list, metadata={"description": "none: at any time"}
    )
    at_once = _Whole(1, MAX_AT_ONCE, load_default=DEFAULT_AT_ONCE)
    per_hour = _Whole(1, MAX_DEVICES, allow_none=True, load_default=None)
    gates = ma.fields.Nested(Gates(), load_default=lambda: Gates().load({}))
    intelligent = _Flag(
        load_default=False,
        metadata={"description": "devices that are online are offered it now, not at their next connection"},
    )


PLAN = Plan()


def planned(product_id: int, rollout_id: str, plan: Mapping[str, Any]) -> RolloutPlanned:
    """The event that a plan would be. Raises ``Refused`` ``invalid_request`` with the first complaint."""
    try:
        loaded = PLAN.load(plan)
    except ma.ValidationError as error:
        raise Refused("invalid_request", _first(error.messages)) from None
    return RolloutPlanned(
        product_id=product_id,
        rollout_id=rollout_id,
        version=loaded["version"],
        groups=sorted(set(loaded["groups"])),
        stages=[RolloutStage(**stage) for stage in loaded["stages"]],
        windows=[_window(window) for window in loaded["windows"]],
        at_once=loaded["at_once"],
        per_hour=loaded["per_hour"],
        gates=RolloutGates(**loaded["gates"]),
        intelligent=loaded["intelligent"],
    )


def _window(window: Mapping[str, Any]) -> RolloutWindow:
    days = sorted(set(window["days"])) or list(range(7))
    return RolloutWindow(days, _minute(window["from"]), _minute(window["until"]))


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _first(messages: Any, where: str = "plan") -> str:
    """The first of marshmallow's complaints as one sentence."""
    if isinstance(messages, Mapping):
        name, inner = next(iter(messages.items()))
        return _first(inner, where if name == "_schema" else f"{where}.{name}")
    text = messages[0] if isinstance(messages, list) else messages
    return f"{where}: {text}"[:500]
