"""What the client's errors mean to a caller of the store."""

from __future__ import annotations

import re

import grpc
from esdbclient.exceptions import (
    AccessDeniedError,
    BadRequestError,
    EventStoreDBClientException,
    MaximumAppendSizeExceededError,
    NodeIsNotLeader,
    NotFound,
    StreamIsDeleted,
)

from shared.errors import Conflict, FlotillaError, Misuse, Unavailable, Unknown
from shared.store.esdb.wire import WrongVersion
from shared.store.port import AppendTooLarge, Expected, StreamNotFound, StreamTombstoned

FAILURES = (EventStoreDBClientException, grpc.RpcError, ValueError)
"""All that the client raises; ``ValueError`` is gRPC's for a channel that was closed meanwhile."""

_FORBIDDEN = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_HINTS = (
    ("CERTIFICATE_VERIFY_FAILED", "the server's certificate is not one of the CA in TlsCaFile of the URL"),
    ("not in peer certificate", "the server's certificate (of the CA in TlsCaFile) is not for the host in the URL"),
    ("empty address list", "there may be no certificate that can be read in TlsCaFile of the URL"),
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS: it wants Tls=false in the URL"),
    ("failed to connect.*Socket closed", "the server hangs up: it may want Tls=true in the URL"),
    ("grpc_status:16", "access denied; check the user in the URL"),
)
"""What gRPC says when no connection comes about, and which part of the URL that is about."""
_NOT_LEADER = "this node is not the leader: name all nodes of the cluster, or use esdb+discover://"


def explained(failure: Exception, doing: str) -> Exception:
    """The error for a call of which it does not matter whether it happened."""
    match failure:
        case NotFound():
            return StreamNotFound(doing)
        case StreamIsDeleted():
            return StreamTombstoned(doing)
        case _:
            return _certain(failure, doing) or Unavailable(f"{doing}: {text(failure)}")


def explained_append(failure: Exception, stream: str, expected: int | Expected) -> Exception:
    """The error for an append: ``Unknown`` unless the server said for certain that it did not happen."""
    match failure:
        case WrongVersion(actual=actual):
            wanted = expected.value if isinstance(expected, Expected) else str(expected)
            return Conflict(stream, wanted, str(actual))
        case StreamIsDeleted():
            return StreamTombstoned(stream)
        case MaximumAppendSizeExceededError():
            return AppendTooLarge(f"the server refuses the size: {text(failure)}")
        case _:
            doing = f"append to {stream}"
            return _certain(failure, doing) or Unknown(f"{doing}: {text(failure)}")


def text(failure: Exception) -> str:
    """What happened, in one line."""
    if isinstance(failure, NodeIsNotLeader):
        return _NOT_LEADER
    call = _call(failure)
    said = f"{type(failure).__name__} {failure}" if call is None else f"{call.code().name} {call.details() or ''}"
    hint = next((meaning for sign, meaning in _HINTS if re.search(sign, said, re.DOTALL)), None)
    if hint is None:
        return said.strip()
    return hint if "\n" in said else f"{hint} ({said.strip()})"


def _certain(failure: Exception, doing: str) -> FlotillaError | None:
    """The error if nothing has happened for certain."""
    call = _call(failure)
    code = call.code() if call is not None else None
    if isinstance(failure, ValueError) and "closed" not in str(failure).lower():
        raise failure  # not gRPC's: a bug, to be seen as it is
    if isinstance(failure, AccessDeniedError) or code in _FORBIDDEN:
        return Unavailable(f"{doing}: access denied; check the user in the URL")
    if isinstance(failure, BadRequestError) or code == grpc.StatusCode.INVALID_ARGUMENT:
        return Misuse(f"{doing}: {text(failure)}")
    return None


def _call(failure: Exception) -> grpc.Call | None:
    for candidate in (failure, *failure.args):
        if isinstance(candidate, grpc.Call):
            return candidate
    return None
