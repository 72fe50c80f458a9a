"""Calls, variables and pings of devices, behind all other rows (contract 8, DEV-9)."""

from __future__ import annotations

from services.gateway.http import (
    device_calls,
    documents,
    requests,
)
from services.gateway.http.calls import Route
from services.gateway.http.routes.rows import DEVICE, OWN_DEVICE, get, post, put


def _questions(path: str, permission: str) -> list[Route]:
    """Behind all other rows: any word that is none of theirs names a function or a variable."""
    return [
        put(
            path + "/ping",
            permission,
            "Whether the device is there",
            device_calls.ping,
            documents.Ping(),
            request=requests.PingRequest(),
            query=requests.Waiting(),
        ),
        post(
            path + "/{name}",
            permission,
            "Call a function of the device",
            device_calls.call_function,
            documents.FunctionAnswer(),
            request=requests.FunctionArgument(),
            query=requests.CallQuery(),
        ),
        get(
            path + "/{name}",
            permission,
            "Read a variable of the device",
            device_calls.read_variable,
            documents.VariableAnswer(),
            query=requests.VariableQuery(),
        ),
    ]


ROUTES = [*_questions(DEVICE, "devices.call"), *_questions(OWN_DEVICE, "own_devices.call")]
