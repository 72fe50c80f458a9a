"""Rows of the table of calls, one function a method, and the paths that they begin with."""

from __future__ import annotations

from typing import Any

from services.gateway.http import requests
from services.gateway.http.calls import STREAM, Handler, Route

TOKENS = "/v1/access_tokens"
ORG = "/v1/orgs/{org}"
PRODUCT = "/v1/products/{product}"
DEVICE = PRODUCT + "/devices/{device}"
ACCESS = PRODUCT + "/device_access"
AUTHORITIES = ORG + "/device_authorities"
OWN_DEVICE = "/v1/devices/{device}"
ROLLOUT = PRODUCT + "/rollouts/{rollout}"
IMPORT = PRODUCT + "/imports/{import}"
VERSION = PRODUCT + "/firmware/{version}"
SIGNING = PRODUCT + "/signing"
AS_OF: dict[str, Any] = {"query": requests.AsOf(), "past": True}


def get(path: str, permission: str, summary: str, handler: Handler, response: Any, **options: Any) -> Route:
    return Route("GET", path, permission, summary, handler, response, **options)


def post(path: str, permission: str, summary: str, handler: Handler, response: Any, **options: Any) -> Route:
    return Route("POST", path, permission, summary, handler, response, **{"body": "fields", **options})


def put(path: str, permission: str, summary: str, handler: Handler, response: Any, **options: Any) -> Route:
    return Route("PUT", path, permission, summary, handler, response, **{"body": "fields", **options})


def delete(path: str, permission: str, summary: str, handler: Handler, response: Any, **options: Any) -> Route:
    return Route("DELETE", path, permission, summary, handler, response, **options)


def streams(path: str, summary: str, handler: Handler, permission: str = "events.read") -> list[Route]:
    return [
        get(path + end, permission, summary, handler, None, media_type=STREAM)
        for end in ("/events", "/events/{prefix:path}")
    ]
