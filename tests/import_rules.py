"""Which module may import what, read from the source: run by ``make check`` and by the tests.

Services do not import each other; ``shared`` imports no service; device protocols do not import each other, and nothing
of the gateway imports one but the module that wires them; pure modules (aggregates, views, codecs) import no
I/O. A module is pure when it is in ``PURE``; a new aggregate, view or codec belongs there.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("orgs", "devices", "firmware", "billing", "hooks", "gateway")
PROTOCOLS = ("mqtt", "particle")
WIRES_PROTOCOLS = "services/gateway/protocols.py"

PURE = (
    "deploy/blob_references.py",
    "shared/aggregates.py",
    "shared/auth/permissions.py",
    "shared/bus/queue_kinds.py",
    "shared/card_numbers.py",
    "shared/comparing.py",
    "shared/context.py",
    "shared/errors.py",
    "shared/events/billing.py",
    "shared/events/customers.py",
    "shared/events/devices.py",
    "shared/events/drafts.py",
    "shared/events/fields.py",
    "shared/events/firmware.py",
    "shared/events/gateway.py",
    "shared/events/groups.py",
    "shared/events/metadata.py",
    "shared/events/oauth.py",
    "shared/events/orgs.py",
    "shared/events/rollouts.py",
    "shared/events/transfers.py",
    "shared/events/webhooks.py",
    "shared/ids.py",
    "shared/mail/bouncing.py",
    "shared/predictions.py",
    "shared/projections/folding.py",
    "shared/projections/past_moments.py",
    "shared/projections/view.py",
    "shared/releases.py",
    "shared/rollouts.py",
    "shared/store/carrying.py",
    "shared/store/esdb/times.py",
    "shared/store/port.py",
    "shared/imports.py",
    "shared/targets.py",
    "shared/times.py",
    "services/billing/charging.py",
    "services/billing/clock_moves.py",
    "services/billing/commands.py",
    "services/billing/cycle.py",
    "services/billing/drafts.py",
    "services/billing/invoice_view.py",
    "services/billing/invoicing.py",
    "services/billing/mail/wording.py",
    "services/billing/mails.py",
    "services/billing/money.py",
    "services/billing/oversight.py",
    "services/billing/policy.py",
    "services/billing/previewing.py",
    "services/billing/operating.py",
    "services/billing/provider.py",
    "services/billing/records.py",
    "services/billing/refunding.py",
    "services/billing/simulated_lives.py",
    "services/billing/simulation.py",
    "services/billing/standing.py",
    "services/billing/stripe_kinds.py",
    "services/billing/subscriptions.py",
    "services/billing/summary_object.py",
    "services/billing/timers.py",
    "services/billing/views.py",
    "services/billing/wishes.py",
    "services/devices/attempts.py",
    "services/devices/attribute_view.py",
    "services/devices/attributes.py",
    "services/devices/changes.py",
    "services/devices/claim_window.py",
    "services/devices/claims.py",
    "services/devices/details.py",
    "services/devices/device.py",
    "services/devices/device_object.py",
    "services/devices/errors.py",
    "services/devices/fates.py",
    "services/devices/fleet.py",
    "services/devices/gateways.py",
    "services/devices/group_view.py",
    "services/devices/groups.py",
    "services/devices/happened.py",
    "services/devices/happened_words.py",
    "services/devices/id_file.py",
    "services/devices/import_views.py",
    "services/devices/imports.py",
    "services/devices/misbehaviours.py",
    "services/devices/past_difference.py",
    "services/devices/places.py",
    "services/devices/prediction.py",
    "services/devices/products.py",
    "services/devices/usage.py",
    "services/devices/list_ranges.py",
    "services/devices/query_language.py",
    "services/devices/query_terms.py",
    "services/devices/why_links.py",
    "services/devices/why_rule.py",
    "services/devices/why_story.py",
    "services/firmware/firmware_object.py",
    "services/firmware/modules.py",
    "services/firmware/prefixes.py",
    "services/firmware/rollouts/control.py",
    "services/firmware/rollouts/course.py",
    "services/firmware/rollouts/moments.py",
    "services/firmware/rollouts/rollout_object.py",
    "services/firmware/rollouts/rollout_views.py",
    "services/firmware/rollouts/rounds.py",
    "services/firmware/rollouts/turns.py",
    "services/firmware/rollouts/watch_view.py",
    "services/firmware/rollouts/windows.py",
    "services/firmware/signing.py",
    "services/firmware/versions.py",
    "services/firmware/views.py",
    "services/gateway/attribute_views.py",
    "services/gateway/catching_up.py",
    "services/gateway/customer_view.py",
    "services/gateway/http/billing_words.py",
    "services/gateway/http/rollout_report.py",
    "services/gateway/devices/attributes.py",
    "services/gateway/devices/calls.py",
    "services/gateway/devices/conduct.py",
    "services/gateway/devices/effects.py",
    "services/gateway/devices/errors.py",
    "services/gateway/devices/usage.py",
    "services/gateway/devices/flashing.py",
    "services/gateway/devices/identity.py",
    "services/gateway/devices/incoming.py",
    "services/gateway/devices/latest.py",
    "services/gateway/devices/newcomers.py",
    "services/gateway/devices/packing.py",
    "services/gateway/devices/limits.py",
    "services/gateway/devices/throttle.py",
    "services/gateway/devices/turns.py",
    "services/gateway/devices/waiting.py",
    "services/gateway/devices/mqtt/effects.py",
    "services/gateway/devices/mqtt/packets.py",
    "services/gateway/devices/mqtt/properties.py",
    "services/gateway/devices/mqtt/reader.py",
    "services/gateway/devices/mqtt/topics.py",
    "services/gateway/devices/mqtt/violations.py",
    "services/gateway/devices/mqtt/writer.py",
    "services/gateway/devices/particle/asking.py",
    "services/gateway/devices/particle/blocks.py",
    "services/gateway/devices/particle/coap.py",
    "services/gateway/devices/particle/continuing.py",
    "services/gateway/devices/particle/describe.py",
    "services/gateway/devices/particle/describing.py",
    "services/gateway/devices/particle/describing_fact.py",
    "services/gateway/devices/particle/device_limits.py",
    "services/gateway/devices/particle/device_messages.py",
    "services/gateway/devices/particle/device_reading.py",
    "services/gateway/devices/particle/device_updates.py",
    "services/gateway/devices/particle/dtls/cookies.py",
    "services/gateway/devices/particle/dtls/flight.py",
    "services/gateway/devices/particle/dtls/inbox.py",
    "services/gateway/devices/particle/dtls/key_schedule.py",
    "services/gateway/devices/particle/dtls/limits.py",
    "services/gateway/devices/particle/dtls/messages.py",
    "services/gateway/devices/particle/dtls/pace.py",
    "services/gateway/devices/particle/dtls/records.py",
    "services/gateway/devices/particle/dtls/refusals.py",
    "services/gateway/devices/particle/dtls/window.py",
    "services/gateway/devices/particle/effects.py",
    "services/gateway/devices/particle/events.py",
    "services/gateway/devices/particle/exchange.py",
    "services/gateway/devices/particle/goodbye.py",
    "services/gateway/devices/particle/handshakes.py",
    "services/gateway/devices/particle/hello.py",
    "services/gateway/devices/particle/inbox.py",
    "services/gateway/devices/particle/limits.py",
    "services/gateway/devices/particle/messages.py",
    "services/gateway/devices/particle/metrics.py",
    "services/gateway/devices/particle/questions.py",
    "services/gateway/devices/particle/requests.py",
    "services/gateway/devices/particle/sender.py",
    "services/gateway/devices/particle/sender_classic.py",
    "services/gateway/devices/particle/sender_v3.py",
    "services/gateway/devices/particle/sending.py",
    "services/gateway/devices/particle/server_messages.py",
    "services/gateway/devices/particle/subscribing.py",
    "services/gateway/devices/particle/told.py",
    "services/gateway/devices/particle/transfer.py",
    "services/gateway/devices/particle/udp_limits.py",
    "services/gateway/devices/particle/update_messages.py",
    "services/gateway/devices/particle/update_v3.py",
    "services/gateway/devices/particle/values.py",
    "services/gateway/devices/particle/violations.py",
    "services/gateway/devices/subscriptions.py",
    "services/gateway/devices/transfers.py",
    "services/gateway/devices/updates.py",
    "services/gateway/directory_views.py",
    "services/gateway/entries.py",
    "services/gateway/filters.py",
    "services/gateway/http/billing_words.py",
    "services/gateway/latest_view.py",
    "services/gateway/live.py",
    "services/gateway/log_pages.py",
    "services/gateway/stream_views.py",
    "services/hooks/addresses.py",
    "services/hooks/attempts.py",
    "services/hooks/heard.py",
    "services/hooks/hook_object.py",
    "services/hooks/hook_request.py",
    "services/hooks/hook_views.py",
    "services/hooks/pages.py",
    "services/hooks/schedule.py",
    "services/hooks/signing.py",
    "services/hooks/webhooks.py",
    "services/orgs/products/access_requests.py",
    "services/orgs/people/account_commands.py",
    "services/orgs/people/accounts.py",
    "services/orgs/audit/audit_view.py",
    "services/orgs/products/authorities.py",
    "services/orgs/customers/customer_page.py",
    "services/orgs/customers/customer_views.py",
    "services/orgs/customers/customers.py",
    "services/orgs/products/device_access.py",
    "services/orgs/customers/beta.py",
    "services/orgs/customers/beta_view.py",
    "services/orgs/oauth/client_view.py",
    "services/orgs/customers/guesses.py",
    "services/orgs/people/links.py",
    "services/orgs/oauth/clients.py",
    "services/orgs/oauth/codes.py",
    "services/orgs/names.py",
    "services/orgs/objects.py",
    "services/orgs/teams/organization_commands.py",
    "services/orgs/teams/organizations.py",
    "services/orgs/products/product_groups.py",
    "services/orgs/products/products.py",
    "services/orgs/products/questionnaire.py",
    "services/orgs/requests.py",
    "services/orgs/oauth/tokens.py",
    "services/orgs/customers/transfers.py",
    "services/orgs/views.py",
)
ALLOWED_IN_PURE = frozenset(
    """__future__ abc array base64 binascii bisect calendar collections copy dataclasses datetime decimal difflib enum
    fractions functools hashlib heapq hmac ipaddress itertools json lark math msgspec operator re string struct types
    typing unicodedata uuid zlib""".split()  # noqa: SIM905
)

PURE_PARTS = frozenset({"urllib.parse"})
"""Of packages that do other things, too."""


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
        yield from _of_protocols(name, module)
        if module.split(".")[0] == "deploy":
            yield f"{name} imports {module}: services know nothing of their deployment"


def _of_protocols(name: str, module: str) -> Iterator[str]:
    for protocol in PROTOCOLS:
        inside = name == WIRES_PROTOCOLS or name.startswith(f"services/gateway/devices/{protocol}/")
        if not inside and (module + ".").startswith(f"services.gateway.devices.{protocol}."):
            yield f"{name} imports {module}: what all protocols share knows none of them"


def _of_purity(name: str, module: str, pure: set[Path]) -> Iterator[str]:
    top = module.split(".")[0]
    if top in ALLOWED_IN_PURE or module in PURE_PARTS:
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
