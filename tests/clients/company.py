"""What the stories with the official clients are about, and what they tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deploy.api import Api

PASSWORD = "correct horse battery"
Told = list[dict[str, Any]]
"""A JSON object a step: ``step``, ``status`` and ``body``."""


@dataclass
class Company:
    """``username`` is its one member, who owns ``kettle``, which is online; ``spare`` is a device of the product that
    is switched off, and nobody's."""

    url: str
    username: str
    product: int
    kettle: str
    spare: str
    switch_on: Callable[[str, str], None]
    api: Api = field(repr=False)
