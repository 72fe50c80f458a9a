"""Every call of the API in one table: the dispatcher, the permissions test and OpenAPI all read it."""

from __future__ import annotations

from typing import Any

from services.gateway.http import (
    devices,
    documents,
    events,
    firmware,
    imports,
    orgs,
    past,
    products,
    requests,
    system,
    users,
)
from services.gateway.http.calls import Handler, Route

_TOKENS = "/v1/access_tokens"
_ORG = "/v1/orgs/{org}"
_PRODUCT = "/v1/products/{product}"
_DEVICE = _PRODUCT + "/devices/{device}"
_IMPORT = _PRODUCT + "/imports/{import}"
_VERSION = _PRODUCT + "/firmware/{version}"
_AS_OF: dict[str, Any] = {"query": requests.AsOf(), "past": True}


def _get(path: str, permission: str, summary: str, handler: Handler, response: Any, **options: Any) -> Route:
    return Route("GET", path, permission, summary, handler, response, **options)


def _post(path: str, permission: str, summary: str, handler: Handler, response: Any, **options: Any) -> Route:
    return Route("POST", path, permission, summary, handler, response, **{"body": "fields", **options})


def _put(path: str, permission: str, summary: str, handler: Handler, response: Any, **options: Any) -> Route:
    return Route("PUT", path, permission, summary, handler, response, **{"body": "fields", **options})


def _delete(path: str, permission: str, summary: str, handler: Handler, response: Any, **options: Any) -> Route:
    return Route("DELETE", path, permission, summary, handler, response, **options)


def _streams(path: str, summary: str, handler: Handler) -> list[Route]:
    return [
        _get(path + end, "events.read", summary, handler, None, media_type="text/event-stream")
        for end in ("/events", "/events/{prefix:path}")
    ]


_ACCOUNTS = [
    _post("/v1/users", "users.create", "Sign up", users.create_user, documents.Ok(), request=requests.NewUser()),
    _get("/v1/user", "users.read", "The caller's account", users.read_user, documents.User()),
    *(
        _post(
            path,
            "tokens.issue",
            "Log in, or trade a refresh token",
            users.issue_token,
            documents.TokenGrant(),
            request=requests.TokenRequest(),
            secret=True,
        )
        for path in ("/oauth/token", "/v1/oauth/token")
    ),
    _get(
        _TOKENS,
        "tokens.read",
        "The caller's tokens",
        users.list_tokens,
        documents.ListedToken(many=True),
        password=True,
    ),
    _delete(_TOKENS, "tokens.revoke_own", "Revoke all of them", users.revoke_tokens, documents.Ok()),
    _get(_TOKENS + "/current", "tokens.read", "The token in use", users.current_token, documents.CurrentToken()),
    _delete(
        _TOKENS + "/current", "tokens.revoke_own", "Revoke the token in use", users.revoke_current_token, documents.Ok()
    ),
    _delete(_TOKENS + "/{token}", "tokens.revoke", "Revoke a token", users.revoke_token, documents.Ok()),
]

_ORGANIZATIONS = [
    _get(
        "/v1/orgs",
        "orgs.list",
        "The caller's organization",
        orgs.list_organizations,
        documents.Organizations(),
    ),
    _post(
        "/v1/orgs",
        "orgs.create",
        "Found an organization",
        orgs.create_organization,
        documents.OrganizationAnswer(),
        request=requests.NewOrganization(),
        status=201,
    ),
    _get(_ORG, "orgs.read", "An organization", orgs.read_organization, documents.OrganizationAnswer()),
    _get(_ORG + "/products", "orgs.read", "Its products", products.list_products, documents.Products()),
    _post(
        _ORG + "/products",
        "products.create",
        "Create a product",
        products.create_product,
        documents.ProductCreated(),
        request=requests.NewProduct(),
        status=201,
    ),
    *_streams(_ORG, "Live events of an organization", events.org_events),
]

_PRODUCTS = [
    *(
        _get(
            path,
            "products.list",
            "Products of the caller's organization",
            products.list_own_products,
            documents.Products(),
        )
        for path in ("/v1/products", "/v1/user/products")
    ),
    _post(
        "/v1/user/products",
        "products.create_own",
        "Create a product in the caller's organization",
        products.create_own_product,
        documents.ProductCreated(),
        request=requests.NewProduct(),
        status=201,
    ),
    _get(_PRODUCT, "products.read", "A product", products.read_product, documents.ProductAnswer()),
    _get(
        _PRODUCT + "/stats", "products.read", "Its figures", products.read_statistics, documents.Statistics(), **_AS_OF
    ),
    _get(
        _PRODUCT + "/changes",
        "devices.read",
        "What changed in the fleet between two moments",
        past.list_changes,
        documents.Changes(),
        query=requests.Changes(),
        past=True,
    ),
    *_streams(_PRODUCT, "Live events of a product", events.product_events),
]

_DEVICES = [
    _get(
        _PRODUCT + "/devices",
        "devices.read",
        "Devices of a product",
        devices.list_devices,
        documents.Devices(),
        query=requests.DeviceQuery(),
        past=True,
    ),
    _post(
        _PRODUCT + "/devices",
        "devices.import",
        "Import devices, at most 10,000 lines",
        imports.import_devices,
        documents.ImportReport(),
        request=requests.DeviceImport(),
        body="upload",
    ),
    _post(
        _PRODUCT + "/devices/tokens",
        "devices.issue_tokens",
        "New tokens for up to 1,000 devices; their old ones end",
        devices.issue_device_tokens,
        documents.DeviceTokens(),
        request=requests.DeviceIds(),
        status=201,
        secret=True,
    ),
    _get(_DEVICE, "devices.read", "A device", devices.read_device, documents.Device(), **_AS_OF),
    _get(
        _DEVICE + "/why",
        "devices.read",
        "Why a device is as it is: for each aspect what brought it there, and the rule that decides what it gets",
        devices.read_why,
        documents.Why(),
    ),
    _put(
        _DEVICE,
        "devices.update",
        "Change a device; lock it to a version, or unlock it",
        devices.update_device,
        documents.DeviceChange(),
        request=requests.DeviceUpdate(),
    ),
    _delete(
        _DEVICE,
        "devices.remove",
        "Remove a device from its product",
        devices.remove_device,
        None,
        request=requests.DeviceRemoval(),
        body="fields",
        status=204,
    ),
    _post(
        _DEVICE + "/token",
        "devices.issue_tokens",
        "A new token for a device; its old one ends",
        devices.issue_device_token,
        documents.DeviceToken(),
        status=201,
        secret=True,
    ),
    *_streams(_DEVICE, "Live events of a device", events.device_events),
    _post(
        _PRODUCT + "/imports",
        "devices.import",
        "Start an import of any size",
        imports.start_import,
        documents.ImportAnswer(),
        request=requests.DeviceImport(),
        body="upload",
        status=202,
    ),
    _get(_IMPORT, "devices.import", "How far an import is", imports.read_import, documents.ImportAnswer()),
    _get(
        _IMPORT + "/problems",
        "devices.import",
        "Lines that an import refused",
        imports.list_problems,
        documents.Problems(),
        query=requests.Paging(),
    ),
]

_FIRMWARE = [
    _get(
        _PRODUCT + "/firmware",
        "firmware.read",
        "Firmware versions, the highest first",
        firmware.list_versions,
        documents.Firmware(many=True),
        **_AS_OF,
    ),
    _post(
        _PRODUCT + "/firmware",
        "firmware.upload",
        "Upload a version",
        firmware.upload_version,
        documents.Firmware(),
        request=requests.FirmwareUpload(),
        body="upload",
        status=201,
    ),
    _put(
        _PRODUCT + "/firmware/release",
        "firmware.release",
        "Release a version",
        firmware.release_version,
        documents.FirmwareReleased(),
        request=requests.FirmwareRelease(),
    ),
    _get(_VERSION, "firmware.read", "A version", firmware.read_version, documents.Firmware(), **_AS_OF),
    _get(
        _VERSION + "/binary",
        "firmware.read",
        "Its file",
        firmware.download_version,
        None,
        media_type="application/octet-stream",
    ),
]

_SYSTEM = [
    _get("/openapi.json", "api.read", "This description", system.read_openapi, None),
    _get("/health", "api.read", "Parts of this gateway and their lag", system.read_health, documents.Health()),
]

ROUTES: tuple[Route, ...] = (*_ACCOUNTS, *_ORGANIZATIONS, *_PRODUCTS, *_DEVICES, *_FIRMWARE, *_SYSTEM)
"""Where two paths fit, the earlier one of this table is taken: literal segments stand before parameters."""
