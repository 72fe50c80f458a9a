"""``docs/events.md``: every event with its service, version, fields and limits, written from the contracts."""

from __future__ import annotations

import types
import typing
from datetime import datetime
from typing import Annotated, Any, Literal, get_args, get_origin

from shared.events.contracts import Registry
from shared.events.fields import Event, Items, Personal, Text, Whole
from shared.people.personal import personal_fields


def catalogue(contracts: Registry) -> str:
    """The whole page as Markdown."""
    lines = [
        "# Events",
        "",
        "Written by `make docs` from `shared/events/`; CI fails when it is out of date. The envelope of each event",
        "holds its id, type, stream, version, position and time; its metadata the version of the contract (`schema`),",
        "`actor`, `command`, `correlation`, `causation`, `causation_place` and `source`, and of a command from outside",
        "`token` (its id), `address` (a person's is sealed) and `about` (whose team may see it). Times are",
        "ISO 8601 in UTC.",
    ]
    lines += _personal(contracts)
    for service in sorted({contract.service for contract in contracts}):
        lines += ["", f"## {service}"]
        for contract in sorted(contracts, key=lambda one: one.name):
            if contract.service == service:
                lines += _event(contract.event, contract.version)
    return "\n".join(lines) + "\n"


def _personal(contracts: Registry) -> list[str]:
    """The table of what is personal (EVT-5)."""
    lines = [
        "",
        "## What is personal",
        "",
        "Stored sealed under a key of the person; what is exported, published on the bus or parked stays sealed. Once",
        "the key is destroyed it reads as `forgotten` (decision 14). Names and slugs of organizations, products and",
        "devices are not personal. The `address` of a person's command, in the metadata, is sealed in the same way.",
        "",
        "| event | field | whose | sealed since version |",
        "|---|---|---|---|",
    ]
    for contract in sorted(contracts, key=lambda one: one.name):
        for name, rule in personal_fields(contract.event).items():
            whose = f"the account in `{rule.who}`" + (f" behind `{rule.prefix}`" if rule.prefix else "")
            whose += f", where `{rule.only[0]}` is `{rule.only[1]}`" if rule.only else ""
            lines.append(f"| {contract.name} | `{name}` | {whose} | {contract.sealed_since} |")
    return lines


def _event(event: type[Event], version: int) -> list[str]:
    hints = typing.get_type_hints(event, include_extras=True)
    lines = ["", f"### {event.__name__} (version {version})", "", " ".join((event.__doc__ or "").split()), ""]
    lines += ["| field | holds |", "|---|---|"]
    lines += [f"| `{name}` | {_words(hints[name])} |" for name in event.__struct_fields__]
    return lines


def _words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if argument is type(None) else _words(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(f"`{argument}`" for argument in arguments)
    if origin is Annotated:
        is_sealed = any(isinstance(mark, Personal) for mark in arguments)
        return _limited(arguments[0], arguments[1]) + (", sealed" if is_sealed else "")
    if hint is datetime:
        return "time"
    if hint is bool:
        return "true or false"
    return "object: " + "; ".join(
        f"`{name}` {_words(inner)}" for name, inner in typing.get_type_hints(hint, include_extras=True).items()
    )


def _limited(base: Any, limit: object) -> str:
    match limit:
        case Text(longest, shortest, pattern):
            shape = f", `{pattern.replace('|', chr(92) + '|')}`" if pattern else ""
            length = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
            return f"text of {length} characters{shape}"
        case Whole(least, most):
            return f"integer, {least} to {most}"
        case Items(most):
            return f"list of at most {most}: {_words(get_args(base)[0])}"
    raise AssertionError(limit)
