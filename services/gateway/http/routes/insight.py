"""What a fleet does: the five questions, errors, usage, and the page of a device."""

from __future__ import annotations

from services.gateway.http import insight
from services.gateway.http import insight_schemas as schemas
from services.gateway.http.routes.rows import DEVICE, PRODUCT, get

ROUTES = [
    get(
        PRODUCT + "/questions",
        "products.read",
        "How many devices are online, which customers use theirs, how, which versions run, which errors are reported",
        insight.answer_questions,
        schemas.Questions(),
        query=schemas.Days(),
    ),
    get(
        PRODUCT + "/errors",
        "devices.read",
        "Errors that devices reported, by kind, by version and over time",
        insight.read_errors,
        schemas.Errors(),
        query=schemas.ErrorQuery(),
    ),
    get(
        PRODUCT + "/errors/devices",
        "devices.read",
        "The devices that reported most errors on a day",
        insight.list_erring_devices,
        schemas.ErringDevices(),
        query=schemas.ErringQuery(),
    ),
    get(
        PRODUCT + "/usage",
        "products.read",
        "How devices were used, by day",
        insight.read_usage,
        schemas.Usage(),
        query=schemas.UsageQuery(),
    ),
    get(
        PRODUCT + "/usage/customers",
        "customers.read",
        "Who has devices of the product, and who uses theirs",
        insight.list_customers_by_use,
        schemas.UsingCustomers(),
        query=schemas.CustomerQuery(),
    ),
    get(
        PRODUCT + "/usage/customers/{owner}",
        "customers.read",
        "How somebody's devices of the product were used, by day",
        insight.read_owner_usage,
        schemas.OwnerUsage(),
        query=schemas.UsageQuery(),
    ),
    get(
        DEVICE + "/timeline",
        "devices.read",
        "What happened to a device, the newest first",
        insight.read_timeline,
        schemas.Timeline(),
        query=schemas.Page(),
    ),
    get(
        DEVICE + "/updates",
        "devices.read",
        "The newest attempts to update a device, and their fates",
        insight.list_updates,
        schemas.Updates(),
    ),
    get(
        DEVICE + "/sessions",
        "devices.read",
        "When a device was connected, from where, and how that ended",
        insight.list_sessions,
        schemas.Sessions(),
        query=schemas.Page(),
    ),
    get(
        DEVICE + "/usage",
        "devices.read",
        "How a device was used, by day",
        insight.read_device_usage,
        schemas.DeviceUsage(),
        query=schemas.UsageQuery(),
    ),
]
