"""A product's firmware, now or as it was at a past moment (EVT-3).

Who uploaded a version is asked of the present: copies of the past hold nothing personal, and a version has one uploader
for ever (EVT-5).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.firmware import queries
from shared.bus.past_answers import answer
from shared.bus.providers import WorkerViews
from shared.projections.past import Past


def list_versions(past: Past, views: WorkerViews, product_id: int, as_of: str | None) -> dict[str, Any]:
    """All versions of a product, the highest first (FW-2)."""
    found = answer(past, views, as_of, lambda chosen: {"versions": queries.list_versions(chosen, product_id)})
    if as_of is not None and found.get("versions"):
        _name_uploaders(found["versions"], queries.list_versions(views, product_id))
    return found


def get_version(past: Past, views: WorkerViews, product_id: int, version: int, as_of: str | None) -> dict[str, Any]:
    """One version. Raises ``NotFound``."""
    found = answer(past, views, as_of, lambda chosen: queries.get_version(chosen, product_id, version))
    if as_of is not None and "version" in found:
        _name_uploaders([found], [queries.get_version(views, product_id, version)])
    return found


def _name_uploaders(then: Iterable[dict[str, Any]], now: Iterable[dict[str, Any]]) -> None:
    uploaders = {one["version"]: one["uploaded_by"] for one in now}
    for one in then:
        one["uploaded_by"] = uploaders.get(one["version"], one["uploaded_by"])
