"""Every call of the API in one table: the dispatcher, the permissions test and OpenAPI all read it."""

from __future__ import annotations

from services.gateway.http.calls import Route
from services.gateway.http.routes import (
    accounts,
    billing,
    clients,
    customers,
    devices,
    firmware,
    groups,
    insight,
    organizations,
    own_devices,
    products,
    questions,
    rollouts,
    system,
    team,
    webhooks,
)

ROUTES: tuple[Route, ...] = (
    *accounts.ROUTES,
    *clients.ROUTES,
    *organizations.ROUTES,
    *billing.ROUTES,
    *team.ROUTES,
    *products.ROUTES,
    *customers.ROUTES,
    *devices.ROUTES,
    *own_devices.ROUTES,
    *firmware.ROUTES,
    *rollouts.ROUTES,
    *groups.ROUTES,
    *webhooks.ROUTES,
    *insight.ROUTES,
    *system.ROUTES,
    *questions.ROUTES,
)
"""Where two paths fit, the earlier one of this table is taken: literal segments stand before parameters."""
