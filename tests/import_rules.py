"""Which module may import what, read from the source: run by ``make check`` and by the tests.

Services do not import each other; ``shared`` imports no service; pure modules (aggregates, views, codecs) import no
I/O. A module is pure when it is in ``PURE``; a new aggregate, view or codec belongs there.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("orgs", "devices", "firmware", "billing", "gateway")

PURE = (
    "shared/aggregates.py",
    "shared/auth/permissions.py",
    "shared/bus/queue_kinds.py",
    "shared/context.py",
    "shared/errors.py",
    "shared/events/billing.py",
    "shared/events/devices.py",
    "shared/events/fields.py",
    "shared/events/firmware.py",
    "shared/events/gateway.py",
    "shared/events/orgs.py",
    "shared/ids.py",
    "shared/projections/folding.py",
    "shared/projections/past_moments.py",
    "shared/projections/view.py",
    "shared/store/carrying.py",
    "shared/store/esdb/times.py",
    "shared/store/port.py",
    "shared/targets.py",
    "shared/times.py",
    "services/billing/subscriptions.py",
    "services/devices/changes.py",
    "services/devices/device.py",
    "services/devices/device_object.py",
    "services/devices/fleet.py",
    "services/devices/gateways.py",
    "services/devices/id_file.py",
    "services/devices/import_views.py",
    "services/devices/imports.py",
    "services/devices/past_difference.py",
    "services/devices/products.py",
    "services/devices/why_links.py",
    "services/devices/why_rule.py",
    "services/devices/why_story.py",
    "services/firmware/firmware_object.py",
    "services/firmware/modules.py",
    "services/firmware/versions.py",
    "services/firmware/views.py",
    "services/gateway/devices/conduct.py",
    "services/gateway/devices/mqtt/effects.py",
    "services/gateway/devices/mqtt/packets.py",
    "services/gateway/devices/mqtt/properties.py",
    "services/gateway/devices/mqtt/reader.py",
    "services/gateway/devices/mqtt/topics.py",
    "services/gateway/devices/mqtt/violations.py",
    "services/gateway/devices/mqtt/writer.py",
    "services/gateway/devices/updates.py",
    "services/gateway/directory_views.py",
    "services/gateway/entries.py",
    "services/gateway/live.py",
    "services/orgs/accounts.py",
    "services/orgs/names.py",
    "services/orgs/objects.py",
    "services/orgs/organizations.py",
    "services/orgs/products.py",
    "services/orgs/requests.py",
    "services/orgs/tokens.py",
    "services/orgs/views.py",
)
ALLOWED_IN_PURE = frozenset(
    """__future__ abc base64 binascii bisect collections copy dataclasses datetime decimal enum fractions functools
    hashlib heapq hmac itertools json math msgspec operator re string struct types typing unicodedata uuid
    zlib""".split()  # noqa: SIM905
)


def violations() -> Iterator[str]:
    """One sentence for each broken rule."""
    pure = {ROOT / name for name in PURE}
    for missing in sorted(path for path in pure if not path.exists()):
        yield f"{missing.relative_to(ROOT)} is listed as pure but does not exist"
    for path in sorted([*ROOT.glob("shared/**/*.py"), *ROOT.glob("services/**/*.py")]):
        name = path.relative_to(ROOT).as_posix()
        for module in _imports(path):
            yield from _of_layers(name, module)
            if path in pure:
                yield from _of_purity(name, module, pure)
        if path in pure:
            yield from _of_clocks(name, path)


def _of_layers(name: str, module: str) -> Iterator[str]:
    if name.startswith("shared/") and module.split(".")[0] in ("services", "deploy"):
        yield f"{name} imports {module}: shared knows no service"
    if name.startswith("services/"):
        own = name.split("/")[1]
        for other in SERVICES:
            if other != own and (module + ".").startswith(f"services.{other}."):
                yield f"{name} imports {module}: services do not import each other"
        if module.split(".")[0] == "deploy":
            yield f"{name} imports {module}: services know nothing of their deployment"


def _of_purity(name: str, module: str, pure: set[Path]) -> Iterator[str]:
    top = module.split(".")[0]
    if top in ALLOWED_IN_PURE:
        return
    if top in ("shared", "services"):
        path = ROOT / (module.replace(".", "/") + ".py")
        package = ROOT / module.replace(".", "/") / "__init__.py"
        if path in pure or package.exists():
            return
    yield f"{name} imports {module}: a pure module imports data modules and other pure modules only"


def _of_clocks(name: str, path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        named = isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")
        if named and isinstance(node.value, ast.Name) and node.value.id in ("datetime", "date"):
            yield f"{name} line {node.lineno} asks a clock: in a pure module time is an argument"


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            for alias in node.names:
                if (ROOT / node.module.replace(".", "/") / f"{alias.name}.py").exists():
                    yield f"{node.module}.{alias.name}"


if __name__ == "__main__":
    found = list(violations())
    print("\n".join(found) or f"{len(PURE)} pure modules, no rule broken")
    sys.exit(1 if found else 0)
