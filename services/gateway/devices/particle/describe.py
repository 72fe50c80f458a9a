"""What a device offers, from the JSON of its Describe (protocol section 5.3). Pure.

Entries that make no sense are left out; text that is no JSON object is a ``BadMessage``, after which the description
that was known before goes on being used. System and application part come apart or together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from services.gateway.devices.particle.values import TYPES
from services.gateway.devices.particle.violations import BAD_DESCRIBE, BadMessage

SYSTEM = 1
"""Flag: modules."""
APPLICATION = 2
"""Flag: functions and variables."""
METRICS = 4
"""Flag: metrics, which are not JSON."""
ALL_FLAGS = SYSTEM | APPLICATION | METRICS

MAX_BYTES = 32_768
MAX_NAME_BYTES = 64
MAX_TEXT_BYTES = 128
MAX_NUMBER = 2**32 - 1
_FUNCTIONS = "busmrcan"


@dataclass(frozen=True, slots=True)
class Dependency:
    """A module that another one needs, at this version or a later one."""

    function: str
    index: str
    version: int


@dataclass(frozen=True, slots=True)
class Module:
    """A part of the firmware; ``function`` and ``store`` are the protocol's letters, ``sha256`` is of a user part."""

    function: str
    index: str
    version: int
    store: str
    size_bytes: int
    checked: int
    passed: int
    sha256: str | None
    dependencies: tuple[Dependency, ...]

    @property
    def valid(self) -> bool:
        """Whether it passed every check that was made."""
        return self.passed & self.checked == self.checked


@dataclass(frozen=True, slots=True)
class System:
    """The system part."""

    platform_id: int | None
    modules: tuple[Module, ...]
    imei: str | None = None
    iccid: str | None = None
    cellular_firmware: str | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """The application part: names as the device spells them, variables with their types."""

    functions: tuple[str, ...]
    variables: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Description:
    """The parts that are known."""

    system: System | None = None
    application: Application | None = None

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of functions that can be called."""
        return self.application.functions if self.application else ()

    @property
    def variables(self) -> Mapping[str, int]:
        """Variables that can be asked for, and their types."""
        return self.application.variables if self.application else {}

    @property
    def modules(self) -> tuple[Module, ...]:
        """Modules of the firmware."""
        return self.system.modules if self.system else ()

    def merged(self, newer: Description) -> Description:
        """This, with the parts that a newer one has."""
        return Description(newer.system or self.system, newer.application or self.application)


def read_description(payload: bytes | None) -> Description:
    """The parts that a JSON text has."""
    if not payload or len(payload) > MAX_BYTES:
        raise BadMessage(f"description of {len(payload or b'')} bytes", BAD_DESCRIBE)
    try:
        found: object = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BadMessage("description that is not JSON", BAD_DESCRIBE) from None
    if not isinstance(found, dict):
        raise BadMessage("description that is not an object", BAD_DESCRIBE)
    system = _system(found) if "p" in found or "m" in found else None
    application = _application(found) if "f" in found or "v" in found else None
    return Description(system, application)


def _system(found: dict[str, object]) -> System:
    return System(
        _number(found.get("p")),
        tuple(module for item in _list(found.get("m")) if (module := _module(item)) is not None),
        _text(found.get("imei")),
        _text(found.get("iccid")),
        _text(found.get("cellfw")),
    )


def _application(found: dict[str, object]) -> Application:
    variables = found.get("v")
    return Application(
        tuple(dict.fromkeys(name for item in _list(found.get("f")) if (name := _text(item, MAX_NAME_BYTES)))),
        {
            name: kind
            for name, kind in (variables.items() if isinstance(variables, dict) else ())
            if _text(name, MAX_NAME_BYTES) and not isinstance(kind, bool) and isinstance(kind, int) and kind in TYPES
        },
    )


def _module(item: object) -> Module | None:
    if not isinstance(item, dict):
        return None
    function = _text(item.get("f"), 1)
    if not function or function not in _FUNCTIONS:
        return None
    return Module(
        function,
        _text(item.get("n")) or "0",
        _number(item.get("v")) or 0,
        _text(item.get("l"), 1) or "m",
        _number(item.get("s")) or 0,
        _number(item.get("vc")) or 0,
        _number(item.get("vv")) or 0,
        _text(item.get("u")),
        tuple(needed for each in _list(item.get("d")) if (needed := _dependency(each)) is not None),
    )


def _dependency(item: object) -> Dependency | None:
    if not isinstance(item, dict):
        return None
    function, version = _text(item.get("f"), 1), _number(item.get("v"))
    if not function or version is None:
        return None
    return Dependency(function, _text(item.get("n")) or "0", version)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object, limit_bytes: int = MAX_TEXT_BYTES) -> str | None:
    """Text of a bearable length and without control characters."""
    if not isinstance(value, str) or len(value.encode(errors="replace")) > limit_bytes or not value.isprintable():
        return None
    return value


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_NUMBER:
        return None
    return value
