"""The table of permissions as Markdown for ``docs/security.md``: each with the calls that ask it."""

from __future__ import annotations

from services.gateway.http.routes import ROUTES
from shared.auth.permissions import PERMISSIONS, RANKS, Rule

_ANYBODY = {
    "anonymous": "everybody",
    "holder": "whoever has a token",
    "person": "accounts and customers",
    "user": "accounts",
    "customer": "customers of the product",
}


def permissions_table() -> str:
    """A row a permission."""
    lines = ["| permission | open to | calls |", "|---|---|---|"]
    for name, rule in PERMISSIONS.items():
        calls = dict.fromkeys(
            f"{one.method} {one.path.replace(':path', '')}" for one in ROUTES if name in (one.permission, *one.also)
        )
        lines.append(f"| `{name}` | {whom(rule)} | {', '.join(f'`{call}`' for call in calls)} |")
    return "\n".join(lines) + "\n"


def whom(rule: Rule) -> str:
    """Who may, in words."""
    if rule.to not in RANKS:
        return _ANYBODY[rule.to]
    team = f"the team from {rule.to} up" if RANKS[rule.to] < max(RANKS.values()) else "the team's administrators"
    keeper = "" if not rule.keeper else "; whoever has claimed the device"
    besides = ("" if rule.people else "; clients") + keeper + ("; while inactive, too" if rule.while_inactive else "")
    return team + besides + ("" if rule.customers else ", but for customers")
