"""What runs on a simulated Particle device: a kettle with two functions and a variable of every type. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from deploy.simulation.chance import Chance
from deploy.simulation.generations import OLD, Generation
from services.gateway.devices.particle.values import BOOLEAN, DOUBLE, INT, STRING, Value, value_bytes

FUNCTIONS = ("brew", "reset")
VARIABLES = {"temperature": DOUBLE, "counter": INT, "name": STRING, "on": BOOLEAN}
_REGION_BYTES = {"b": 16_384, "s": 262_144, "u": 131_072}
_NO_FACTORY_MODULE = {"s": _REGION_BYTES["u"], "l": "f", "vc": 30, "vv": 0, "d": []}
_NEEDS = {("u", 1): (("s", "2"), ("s", "1")), ("s", 2): (("s", "1"), ("b", "0")), ("s", 1): (("b", "0"),)}
_OLD_SYSTEM = 109
"""Version of the system parts of firmware 0.6, which does not say it in its Hello."""


@dataclass(slots=True)
class Application:
    """The kettle; it forgets everything but its name when it restarts."""

    name: str
    counter: int = 0
    on: bool = False
    temperature: float = 21.0

    def call(self, function: str, argument: bytes) -> int | None:
        """What the function returns: brewed kettles so far, or 0; None if there is no such function."""
        if function == "brew":
            self.counter += 1
            self.on = True
            return self.counter
        if function == "reset":
            self.counter = 0
            self.on = False
            return 0
        return None

    def read(self, variable: str) -> bytes | None:
        """The value as it goes over the wire; None if there is no such variable."""
        values: dict[str, Value] = {
            "temperature": self.temperature,
            "counter": self.counter,
            "name": self.name,
            "on": self.on,
        }
        return value_bytes(VARIABLES[variable], values[variable]) if variable in values else None

    def measure(self, chance: Chance) -> float:
        """The temperature a moment later."""
        target = 90.0 if self.on else 21.0
        self.temperature = round(self.temperature + (target - self.temperature) * 0.1 + chance.uniform(-0.5, 0.5), 2)
        return self.temperature


@dataclass(slots=True)
class Unit:
    """What one simulated Particle device is, over all its connections. ``updated``: it has taken an update and not been
    back since; ``trouble``: what went wrong with its last update and was not meant to; ``reboot_at``: when it restarts
    by itself, in the event loop's seconds."""

    device_id: str
    product_id: int
    version: int
    platform_id: int
    generation: Generation
    claim_code: str | None = None
    updated: bool = False
    updates: int = 0
    published: int = 0
    trouble: str = ""
    reset_reason: str = "power_down"
    safe_mode: bool = False
    reboot_at: float | None = None
    application: Application = field(init=False)

    def __post_init__(self) -> None:
        self.restarted(self.reset_reason)

    def restarted(self, reason: str) -> None:
        """Power was back, or the firmware started anew."""
        self.reset_reason = reason
        self.reboot_at = None
        self.application = Application(f"kettle-{self.device_id[-6:]}")


def system_json(unit: Unit) -> bytes:
    """The system part of its description: platform and modules."""
    version = unit.generation.system_version or _OLD_SYSTEM
    parts = (("b", 0, version), ("s", 1, version), ("s", 2, version), ("u", 1, unit.version))
    modules = [_module(unit, function, index, number) for function, index, number in parts]
    return msgspec.json.encode({"p": unit.platform_id, "m": [*modules, _NO_FACTORY_MODULE]})


def application_json(unit: Unit) -> bytes:
    """The application part: functions and variables; none in safe mode."""
    return msgspec.json.encode(_offered(unit))


def whole_json(unit: Unit) -> bytes:
    """Both in one object, the application first, as old firmware has it; without dependencies, for which there is no
    room."""
    return msgspec.json.encode(_offered(unit) | {"p": unit.platform_id, "m": [_module(unit, "u", 1, unit.version)]})


def _offered(unit: Unit) -> dict[str, object]:
    return {"f": [], "v": {}} if unit.safe_mode else {"f": FUNCTIONS, "v": VARIABLES}


def _module(unit: Unit, function: str, index: int, version: int) -> dict[str, object]:
    needs: list[dict[str, object]] = [
        {"f": part, "n": number, "v": version} for part, number in _NEEDS.get((function, index), ())
    ]
    if unit.generation is OLD:
        needs = [need | {"_": ""} for need in needs]
    fitting = {"s": _REGION_BYTES[function], "l": "m", "vc": 30, "vv": 30, "f": function, "n": str(index), "v": version}
    return fitting | {"d": needs} | ({"u": f"{version:064x}"} if function == "u" else {})
