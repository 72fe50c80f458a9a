"""The questions that a product's team answers before it goes into manufacturing, as data (PRD-2, PRD-3). Pure.

A later version of the questionnaire gets another ``VERSION``; answers keep the version that they were given to, and
what is asked no more is left out when answers are shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from shared.errors import Refused
from shared.events.orgs import AT_SETUP

VERSION = 1
LONGEST_TEXT = 4_000
MOST_UNITS = 10**12

Kind = Literal["text", "count", "choice", "flag"]
Answer = str | int | bool


@dataclass(frozen=True, slots=True)
class Question:
    """One question; ``choices`` are the answers to one of the kind ``choice``."""

    section: str
    name: str
    kind: Kind
    text: str
    choices: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """How it is called over all sections."""
        return f"{self.section}.{self.name}"


SECTIONS: Mapping[str, str] = {
    "overview": "Overview",
    "working_with_particle": "Working with us",
    "customers": "Customers",
    "firmware": "Firmware",
}
AUTHENTICATION, PRIVATE_BETA = "working_with_particle.authentication", "customers.private_beta"
QUESTIONS: tuple[Question, ...] = (
    Question("overview", "summary", "text", "What is the product, and whom is it for?"),
    Question("overview", "expected_units", "count", "How many devices do you expect to make in the first year?"),
    Question(
        "working_with_particle",
        "authentication",
        "choice",
        "How do your customers get their accounts: at us, by your server, or by logging in with us?",
        ("simple_auth", "two_legged_auth", "login_with_particle"),
    ),
    Question("customers", "private_beta", "flag", "May only customers with an activation code claim a device?"),
    Question(
        "firmware",
        "programming",
        "choice",
        "Does a device get its firmware on the manufacturing line, or over the air when it is set up?",
        ("manufacturing_line", AT_SETUP),
    ),
)
_BY_KEY = {question.key: question for question in QUESTIONS}


def read(given: Mapping[str, Any]) -> dict[str, Answer | None]:
    """Answers by key from ``{section: {question: answer}}``; null takes one back. Raises ``Refused``
    ``invalid_configuration``, naming the first thing that is wrong."""
    answers: dict[str, Answer | None] = {}
    for section, inner in given.items():
        if section not in SECTIONS:
            raise _refused(f"There is no section {section!r}; there are {', '.join(SECTIONS)}.")
        if not isinstance(inner, Mapping):
            raise _refused(f"{section} must be an object of questions and answers.")
        for name, answer in inner.items():
            question = _BY_KEY.get(f"{section}.{name}")
            if question is None:
                raise _refused(f"There is no question {name!r} in {section}.")
            answers[question.key] = None if answer is None else _answer(question, answer)
    return answers


def _answer(question: Question, answer: Any) -> Answer:
    is_number = isinstance(answer, int) and not isinstance(answer, bool)
    match question.kind:
        case "text" if isinstance(answer, str) and 0 < len(answer.strip()) <= LONGEST_TEXT and "\x00" not in answer:
            return answer.strip()
        case "count" if is_number and 1 <= answer <= MOST_UNITS:
            return int(answer)
        case "choice" if answer in question.choices:
            return str(answer)
        case "flag" if isinstance(answer, bool):
            return answer
    expected = {
        "text": f"a text of 1 to {LONGEST_TEXT} characters",
        "count": f"an integer from 1 to {MOST_UNITS}",
        "choice": " or ".join(question.choices),
        "flag": "true or false",
    }
    raise _refused(f"{question.key} must be {expected[question.kind]}.")


def _refused(reason: str) -> Refused:
    return Refused("invalid_configuration", reason)


def unanswered(answers: Mapping[str, Any]) -> list[str]:
    """The keys of the questions without an answer, in order."""
    return [question.key for question in QUESTIONS if answers.get(question.key) is None]


def configuration(answers: Mapping[str, Any]) -> dict[str, Any]:
    """All of it as the contract shows it (6.1)."""
    shown: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for question in QUESTIONS:
        shown[question.section][question.name] = answers.get(question.key)
    missing = unanswered(answers)
    return {
        "configuration": shown,
        "product_configuration": shown,
        "unanswered": missing,
        "complete": not missing,
        "questionnaire": VERSION,
    }


def incomplete(missing: list[str]) -> Refused:
    """The refusal to manufacture what is not thought through (PRD-2)."""
    detail = json.dumps({"unanswered": missing})
    return Refused("configuration_incomplete", f"Not answered yet: {', '.join(missing)}.", detail)


def json_schema() -> dict[str, Any]:
    """The questions as a JSON schema, for front ends that make a form of it."""
    kinds: dict[Kind, dict[str, Any]] = {
        "text": {"type": ["string", "null"], "maxLength": LONGEST_TEXT},
        "count": {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_UNITS},
        "flag": {"type": ["boolean", "null"]},
        "choice": {},
    }
    sections: dict[str, Any] = {
        section: {"type": "object", "title": title, "properties": {}} for section, title in SECTIONS.items()
    }
    for question in QUESTIONS:
        shape = {"enum": [*question.choices, None]} if question.kind == "choice" else kinds[question.kind]
        sections[question.section]["properties"][question.name] = {"title": question.text, **shape}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Product configuration",
        "version": VERSION,
        "type": "object",
        "properties": sections,
    }


WAYS = {"simple_auth": "simple", "two_legged_auth": "two_legged", "login_with_particle": "log_in_with_us"}


def refuse_other_way(answers: Mapping[str, Any], way: str) -> None:
    """Raises ``Refused`` for a way of getting an account that is not the one which the team has chosen; before it has
    chosen all are open, and the team itself may always make customers (PRD-3)."""
    chosen = answers.get(AUTHENTICATION)
    if chosen is not None and way not in (WAYS[chosen], "team"):
        raise Refused("authentication_method", f"Customers of this product get their accounts by {chosen}.")
