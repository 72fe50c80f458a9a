"""Mustache, bounded: no partials, sections in no sections, and nothing that grows beyond what may be sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pystache
from pystache.parser import ParsingError

from shared.errors import Refused

MAX_TEMPLATE = 16_384
"""Characters."""
MAX_RENDERED = 262_144
"""The same of what becomes of one."""
_SECTIONS = ("_SectionNode", "_InvertedNode")


class TooLong(Exception):
    """With these values it becomes too long."""


class _Renderer(pystache.Renderer):  # type: ignore[misc]  # the library has no types
    def str_coerce(self, val: Any) -> str:
        """What is no text as JSON has it; null is nothing."""
        return "" if val is None else json.dumps(val, ensure_ascii=False, separators=(",", ":"))


def check_template(where: str, template: str) -> None:
    """Raises ``Refused``: ``invalid_request``, for a template that is none, or that we do not take."""
    if len(template) > MAX_TEMPLATE:
        raise Refused("invalid_request", f"{where}: At most {MAX_TEMPLATE} characters.")
    try:
        nodes = _nodes(pystache.parse(template, raise_on_mismatch=True))
    except ParsingError as error:
        raise Refused("invalid_request", f"{where}: {str(error)[:200]}") from None
    for node in nodes:
        kind = type(node).__name__
        if kind == "_PartialNode":
            raise Refused("invalid_request", f"{where}: There are no partials.")
        if kind in _SECTIONS and any(type(inner).__name__ in _SECTIONS for inner in _inside(node)):
            raise Refused("invalid_request", f"{where}: Sections in sections are not possible.")


def render(template: str, values: Mapping[str, Any], escape: Callable[[str], str] | None = None) -> str:
    """The text; what no value has this name for is nothing. ``escape``: what ``{{…}}`` does to a value, HTML by
    default. Raises ``TooLong``."""
    if "{{" not in template:
        return template
    longest = max((_length(value) for value in values.values()), default=0)
    items = max((_items(value) for value in values.values()), default=0) if "#" in template else 1
    if (len(template) + template.count("{{") * longest) * max(items, 1) > 64 * MAX_RENDERED:
        raise TooLong(f"a template of {len(template)} characters with values of {longest}")
    renderer = _Renderer(partials={}, missing_tags="ignore", escape=escape)
    rendered: str = renderer.render(pystache.parse(template), values)
    if len(rendered) > MAX_RENDERED:
        raise TooLong(f"it became {len(rendered)} characters long")
    return rendered


def _length(value: Any) -> int:
    return len(value if isinstance(value, str) else json.dumps(value))


def _items(value: Any) -> int:
    """The most that a section can be repeated for this value or one in it."""
    if isinstance(value, list):
        return max([len(value), *map(_items, value)])
    return max(map(_items, value.values()), default=0) if isinstance(value, dict) else 0


def _nodes(parsed: Any) -> list[Any]:
    return [node for node in parsed._parse_tree if not isinstance(node, str)]


def _inside(node: Any) -> Iterable[Any]:
    return _nodes(getattr(node, "parsed", None) or node.parsed_section)
