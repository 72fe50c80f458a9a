"""What the gateway says of itself."""

from __future__ import annotations

from services.gateway.http import (
    documents,
    system,
)
from services.gateway.http.routes.rows import (
    get,
    post,
)

ROUTES = [
    get(
        "/v1/build_targets",
        "api.read",
        "Platforms by name; nothing is compiled here",
        system.list_build_targets,
        documents.BuildTargets(),
    ),
    post(
        "/v1/binaries",
        "api.read",
        "Nothing is compiled here: not supported",
        system.refuse_to_compile,
        documents.Ok(),
        body="none",
    ),
    get(
        "/v1/device-os/versions",
        "api.read",
        "System firmware: none is kept",
        system.list_system_versions,
        documents.SystemVersions(),
    ),
    get("/openapi.json", "api.read", "This description", system.read_openapi, None),
    get("/health", "api.read", "Parts of this gateway and their lag", system.read_health, documents.Health()),
]
