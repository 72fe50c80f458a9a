"""A device's description as the fact of it, recorded when it changes. Pure."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import msgspec

from services.gateway.devices.effects import SessionName
from services.gateway.devices.particle.describe import Description, Module
from services.gateway.devices.particle.values import BOOLEAN, DOUBLE, INT, STRING
from shared.events.gateway import DescribedVariable, DescriptionReported

MOST_NAMES = 256
MODULES_CHARACTERS = 16_384
REMEMBERED = 100_000
"""Descriptions of so many devices are remembered, by their digests; then one may be recorded that has not changed."""
_TYPES = {BOOLEAN: "boolean", INT: "int", STRING: "string", DOUBLE: "double"}


class Remembered:
    """What devices said last, as digests: those heard of last."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._digests: OrderedDict[str, bytes] = OrderedDict()

    def changed(self, device_id: str, fact: DescriptionReported) -> bool:
        """Whether the device said something else before, or nothing that is remembered."""
        about = (fact.functions, fact.variables, fact.platform_id, fact.modules)
        found = hashlib.sha256(msgspec.json.encode(about)).digest()[:16]
        before = self._digests.get(device_id)
        self._digests[device_id] = found
        self._digests.move_to_end(device_id)
        if len(self._digests) > self._most:
            self._digests.popitem(last=False)
        return found != before


def described(
    device_id: str, product_id: int | None, description: Description, platform_id: int, name: SessionName
) -> DescriptionReported:
    """The fact."""
    system = description.system
    said = None if system is None else system.platform_id
    return DescriptionReported(
        device_id,
        product_id,
        list(description.functions[:MOST_NAMES]),
        [
            DescribedVariable(variable, _TYPES.get(kind, "other"))  # type: ignore[arg-type]
            for variable, kind in list(description.variables.items())[:MOST_NAMES]
        ],
        platform_id if said is None or said > 0xFFFF else said,
        None if system is None else _modules(system.modules),
        *name,
    )


def _modules(modules: tuple[Module, ...]) -> str | None:
    """As JSON; None for more than an event holds."""
    text = msgspec.json.encode([_module(module) for module in modules]).decode()
    return text if len(text) <= MODULES_CHARACTERS else None


def _module(module: Module) -> dict[str, object]:
    return {
        "function": module.function,
        "index": module.index,
        "version": module.version,
        "store": module.store,
        "size_bytes": module.size_bytes,
        "valid": module.valid,
        "sha256": module.sha256,
        "dependencies": [
            {"function": needed.function, "index": needed.index, "version": needed.version}
            for needed in module.dependencies
        ],
    }
