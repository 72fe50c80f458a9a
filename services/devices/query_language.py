"""The query language of device lists (DEV-6): text to expression. Pure.

``online and version < 7 and group = "beta"``: comparisons of a field with values, joined by ``and``, ``or`` and ``not``
with parentheses. lark reads the grammar below; which field takes which operator and which values is decided here, and
every complaint says at which column what was found, what was expected, and what to do. ``docs/queries.md`` has it all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Any, NoReturn

import msgspec
from lark import Lark, Token, Tree, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from services.devices.query_terms import (
    FIELDS,
    AllOf,
    AnyOf,
    Expression,
    Kind,
    Not,
    Operator,
    Term,
    Value,
    changed,
    folded,
    terms,
)
from shared.errors import Refused
from shared.ids import MAX_FIRMWARE_VERSION

MAX_CHARS = 2_000
MAX_DEPTH = 20
"""Negations and parentheses inside each other that mean something."""
MAX_TERMS = 50
MAX_VALUES = 100
"""In the parentheses of one ``in``."""
LONGEST_AGE = timedelta(days=36_500)
SHOWN_CHARS = 40

GRAMMAR = r"""
?query: disjunction
?disjunction: conjunction (_OR conjunction)*
?conjunction: inverse (_AND inverse)*
?inverse: _NOT inverse -> negation
    | "(" disjunction ")"
    | WORD -> alone
    | WORD OPERATOR value -> comparison
    | WORD IN "(" value ("," value)* ")" -> membership
?value: WORD | STRING
OPERATOR.1: "<=" | ">=" | "!=" | "=" | "<" | ">" | /contains(?![^\s()=!<>,"'])/i | /starts_with(?![^\s()=!<>,"'])/i
_AND.1: /and(?![^\s()=!<>,"'])/i
_OR.1: /or(?![^\s()=!<>,"'])/i
_NOT.1: /not(?![^\s()=!<>,"'])/i
IN.1: /in(?![^\s()=!<>,"'])/i
WORD: /[^\s()=!<>,"']+/
STRING: /"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'/
%ignore /\s+/
"""
_WORDS = {
    "WORD": "a field",
    "STRING": "a value",
    "OPERATOR": "an operator",
    "_AND": "`and`",
    "_OR": "`or`",
    "_NOT": "`not`",
    "IN": "`in`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "COMMA": "`,`",
    "$END": "the end",
}
OPERATORS: Mapping[Kind, tuple[str, ...]] = {
    "flag": ("=", "!="),
    "number": ("=", "!=", "<", "<=", ">", ">=", "in"),
    "text": ("=", "!=", "contains", "starts_with", "in"),
    "id": ("=", "!=", "contains", "starts_with", "in"),
    "group": ("=", "!=", "contains", "starts_with", "in"),
    "owner": ("=", "!=", "in"),
    "moment": ("=", "!=", "<", "<=", ">", ">="),
    "anywhere": ("contains",),
}
_FLAGS = {"true": True, "yes": True, "false": False, "no": False}
_OLDER: Mapping[str, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
"""An age that is greater is a moment that is earlier."""
_AGE = re.compile(r"(\d{1,7})(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_query(text: str, now: datetime) -> Expression:
    """The expression of a query; ages are counted from ``now``. Raises ``Refused("invalid_request")``, whose detail has
    ``field`` and ``column``, the first being 1."""
    if len(text) > MAX_CHARS:
        _refuse(MAX_CHARS + 1, "more", f"at most {MAX_CHARS} characters", "Make it shorter.")
    try:
        tree = _tree(text)
    except UnexpectedInput as error:
        _misread(text, error)
    return _Reader(now).read(tree, 0)


@lru_cache(maxsize=200)
def _tree(text: str) -> Tree[Token]:
    """What was asked for lately is asked for again, page by page."""
    return _grammar().parse(text)


@cache
def _grammar() -> Lark:
    return Lark(
        GRAMMAR, parser="lalr", lexer="basic", start="query", propagate_positions=True, maybe_placeholders=False
    )


def _misread(text: str, error: UnexpectedInput) -> NoReturn:
    column = _column(text, error)
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        found, expected = f"`{_shown(str(error.token))}`", _expected(error.accepts or error.expected)
        _refuse(column, found, expected, _advice(error.token))
    if isinstance(error, UnexpectedCharacters):
        found = _shown(text[column - 1 :].split()[0])
        if found[0] in "\"'":
            _refuse(column, "a quote that is never closed", "the same quote behind the text", "Close it.")
        _refuse(column, f"`{found}`", "a field, a value or an operator", "Put text that has such characters in quotes.")
    expected = _expected(error.accepts or error.expected) if isinstance(error, UnexpectedToken) else "a comparison"
    _refuse(len(text.rstrip()) + 1, "the end", expected, "Complete it, or take away what is too much before it.")


def _column(text: str, error: UnexpectedInput) -> int:
    place = error.pos_in_stream
    return len(text.rstrip()) + 1 if place is None or place < 0 else place + 1


def _advice(token: Token) -> str:
    if token.type in ("WORD", "STRING"):
        return "Join comparisons with and or or; put text with blanks in quotes."
    if token.type in ("_AND", "_OR", "_NOT", "IN") or str(token).isalpha():
        return f'It is a word of the language; if it is meant as text write "{_shown(str(token))}" in quotes.'
    return "See the manual, docs/queries.md."


def _expected(names: Iterable[str]) -> str:
    found = set(names)
    if "STRING" in found:  # where a value may stand no field may
        found.discard("WORD")
    words = sorted(_WORDS.get(name, name) for name in found)
    return _listed(words)


def _shown(text: str) -> str:
    plain = "".join(character if character.isprintable() else "?" for character in text)
    return plain if len(plain) <= SHOWN_CHARS else plain[: SHOWN_CHARS - 1] + "…"


def _refuse(column: int, found: str, expected: str, advice: str) -> NoReturn:
    detail = msgspec.json.encode({"field": "query", "column": column}).decode()
    raise Refused("invalid_request", f"query, column {column}: found {found}, expected {expected}. {advice}", detail)


@dataclass
class _Reader:
    """Reads one tree."""

    now: datetime
    terms: int = 0

    def read(self, node: Any, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            _refuse(_place(node), "a further level", f"at most {MAX_DEPTH} inside each other", "Make it flatter.")
        inner = node.children
        match node.data:
            case "disjunction":
                return AnyOf(tuple(self.read(part, depth + 1) for part in inner))
            case "conjunction":
                return AllOf(tuple(self.read(part, depth + 1) for part in inner))
            case "negation":
                return Not(self.read(inner[0], depth + 1))
            case _:
                return self._comparison(node)

    def _comparison(self, node: Tree[Token]) -> Expression:
        word, *rest = [child for child in node.children if isinstance(child, Token)]
        self.terms += 1
        if self.terms > MAX_TERMS:
            _refuse(_at(word), "a further comparison", f"at most {MAX_TERMS}", "Use in (…), or ask in parts.")
        name = _name(word)
        if not rest:
            return _alone(word, name)
        operator, values = rest[0].lower(), rest[1:]
        known = OPERATORS[FIELDS[name].kind]
        if operator not in known:
            advice = f"{name} is {FIELDS[name].about}."
            _refuse(_at(rest[0]), f"`{operator}`", f"{_listed(known)} behind {name}", advice)
        if len(values) > MAX_VALUES:
            _refuse(_at(values[MAX_VALUES]), "a further value", f"at most {MAX_VALUES}", "Ask in parts.")
        return self._term(name, operator, values)

    def _term(self, name: str, operator: str, tokens: Sequence[Token]) -> Expression:
        if FIELDS[name].kind == "moment":
            return self._moment(name, operator, tokens[0])
        values = tuple(_value(name, token) for token in tokens)
        if operator not in ("=", "!=", "in") and None in values:
            _refuse(_at(tokens[0]), "none", f"a value behind {operator}", f"Write {name} = none.")
        if operator == "!=":
            return Not(Term(name, "=", values))
        return Term(name, "=" if operator == "in" else _operator(operator), values)

    def _moment(self, name: str, operator: str, token: Token) -> Expression:
        if _is_none(token):
            if operator not in ("=", "!="):
                _refuse(_at(token), "none", f"a time or an age behind {operator}", f"Write {name} = none.")
            is_none = Term(name, "=", (None,))
            return is_none if operator == "=" else Not(is_none)
        if operator in ("=", "!="):
            advice = f"Times are compared with < and >: {name} > 7d is longer ago than 7 days."
            _refuse(_at(token), f"`{_shown(_text(token))}`", f"none behind {operator}", advice)
        age = _AGE.fullmatch(token)
        if age is None:
            return Term(name, _operator(operator), (_time(token),))
        span = timedelta(**{_UNITS[age[2]]: int(age[1])})
        if span > LONGEST_AGE:
            _refuse(_at(token), f"`{token}`", f"at most {LONGEST_AGE.days}d", "Write a shorter age, or a time.")
        return Term(name, _OLDER[operator], (self.now - span,))


def _operator(text: str) -> Operator:
    known: Mapping[str, Operator] = {
        "=": "=",
        "<": "<",
        "<=": "<=",
        ">": ">",
        ">=": ">=",
        "contains": "contains",
        "starts_with": "starts_with",
    }
    return known[text]


def _alone(word: Token, name: str) -> Expression:
    field = FIELDS[name]
    if field.kind == "anywhere":
        _refuse(_at(word) + len(word), "nothing", "contains and what is looked for", f'Write {name} contains "…".')
    return Term(name, "=", (True,)) if field.kind == "flag" else Not(Term(name, "=", (None,)))


def _name(word: Token) -> str:
    name = word.lower()
    if name not in FIELDS:
        near = get_close_matches(name, FIELDS, 1)
        advice = f"Did you mean {near[0]}?" if near else "Put text in quotes, behind a field and an operator."
        _refuse(_at(word), f"`{_shown(word)}`", f"a field ({', '.join(FIELDS)})", advice)
    return name


def _value(name: str, token: Token) -> Value:
    kind = FIELDS[name].kind
    if kind == "flag":
        if token.lower() not in _FLAGS:
            _refuse(_at(token), f"`{_shown(token)}`", "true or false", f"{name} alone is the same as {name} = true.")
        return _FLAGS[token.lower()]
    if _is_none(token):
        if kind == "id":
            _refuse(_at(token), "none", "an ID or a part of it", "Every device has an ID.")
        return None
    return _number(name, token) if kind == "number" else _words(name, token)


def _number(name: str, token: Token) -> int:
    if not (token.isascii() and token.isdigit() and len(token) <= 5 and int(token) <= MAX_FIRMWARE_VERSION + 1):
        expected = f"a whole number from 0 to {MAX_FIRMWARE_VERSION + 1}, or none"
        _refuse(_at(token), f"`{_shown(token)}`", expected, f"{name} is {FIELDS[name].about}.")
    return int(token)


def _words(name: str, token: Token) -> str:
    text = _text(token)
    if not text or "\x00" in text:
        advice = f"Write {name} = none for devices without."
        _refuse(_at(token), "empty text" if not text else "NUL", "some text", advice)
    return text.strip() if FIELDS[name].kind == "owner" else folded(name, text)


def _time(token: Token) -> datetime:
    try:
        time = datetime.fromisoformat(_text(token))
    except ValueError:
        advice = "Examples: 90s, 15m, 12h, 7d, 4w; 2026-01-31; 2026-01-31T12:00:00Z."
        _refuse(_at(token), f"`{_shown(token)}`", "an age, a date, a time with its zone, or none", advice)
    if time.tzinfo is None:
        if (time.hour, time.minute, time.second, time.microsecond) != (0, 0, 0, 0):
            _refuse(_at(token), f"`{_shown(token)}`", "a time with its zone", "Add Z for UTC, or +02:00.")
        time = time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:
        _refuse(_at(token), f"`{_shown(token)}`", "a time between the years 1 and 9999", "Write another time.")


def _is_none(token: Token) -> bool:
    return token.type == "WORD" and token.lower() == "none"


def _text(token: Token) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL) if token.type == "STRING" else str(token)


def _at(token: Token) -> int:
    return (token.start_pos or 0) + 1


def _place(node: Any) -> int:
    return _at(node) if isinstance(node, Token) else int(getattr(node.meta, "start_pos", 0)) + 1


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


Named = Callable[[str], Sequence[str]]
"""An address of somebody to the ids that it owns devices by."""
MAX_OWNERS = 10
"""Addresses in one query that are looked up."""


def with_owners(expression: Expression, named: Named) -> Expression:
    """The expression with ids of owners in place of addresses. Raises ``Refused``."""
    addresses = {value for term in terms(expression) if term.field == "owner" for value in _addresses(term)}
    if len(addresses) > MAX_OWNERS:
        _refuse(1, f"{len(addresses)} addresses of owners", f"at most {MAX_OWNERS}", "Ask in parts.")
    ids: dict[Value, tuple[Value, ...]] = {address: tuple(named(address)) for address in sorted(addresses)}

    def resolved(term: Term) -> Expression:
        if term.field != "owner":
            return term
        values = [one for value in term.values for one in ids.get(value, (value,))]
        return Term(term.field, term.operator, tuple(values))

    return changed(expression, resolved)


def _addresses(term: Term) -> Iterable[str]:
    return (value for value in term.values if isinstance(value, str) and "@" in value)
