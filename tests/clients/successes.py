"""A check of schemathesis: the document has ``default`` for errors alone, and names the status of every success."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.check
def success_is_named(ctx: Any, response: Any, case: Any) -> None:
    """Whatever is no error has its own line among the answers of the call."""
    if response.status_code < 400 and case.method.upper() == case.operation.method.upper():
        assert str(response.status_code) in case.operation.definition.raw["responses"], (
            f"{response.status_code} is not in the document"
        )
