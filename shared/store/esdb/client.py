"""The client with what it lacks: a keep-alive that works, answers of appends in full, appends in a pipeline, reads
that end with an error when they are cut, and reconnecting that closes no healthy connection.

It is pinned to one version of ``esdbclient``, because it reaches for members that are not public.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import grpc
from esdbclient.client import EventStoreDBClient, autoreconnect
from esdbclient.common import GrpcOptions, handle_rpc_error
from esdbclient.connection import ESDBConnection
from esdbclient.connection_spec import URI_SCHEME_ESDB
from esdbclient.exceptions import EventStoreDBClientException, NotFound, ServiceUnavailable, StreamIsDeleted
from esdbclient.protos.Grpc import streams_pb2
from esdbclient.streams import StreamsService
from grpc.experimental import ChannelOptions

from shared.store.esdb.wire import Written, correlation, recorded, written
from shared.store.port import Recorded

RECONNECT_EVERY_S = 0.5
"""A connection younger than this is not replaced because an older one failed."""
CONNECT_MS = 2_000
"""Longest attempt to reach a server, with TLS and a slow link; gRPC calls it the least back-off."""
MAX_BACK_OFF_MS = 1_000
"""Longest pause of a channel between two attempts to reach its server."""

Answers = dict[UUID, Written | EventStoreDBClientException]


class Streams(StreamsService):
    """The calls on streams of one connection."""

    @staticmethod
    def _convert_batch_append_resp(
        response: streams_pb2.BatchAppendResp, stream_name: str, current_version: Any
    ) -> Written:
        return written(response, stream_name, current_version)

    def pipeline(self, wanted: Mapping[UUID, streams_pb2.BatchAppendReq], answers: Answers, **call_args: Any) -> None:
        """Send those requests that have no answer yet, in order, and gather what comes back.

        Raises when the call ends before all are answered; those answers that came are kept.
        """
        left = [request for key, request in wanted.items() if key not in answers]
        call = self._stub.BatchAppend(iter(left), **self._with_metadata(call_args, requires_leader=True))
        try:
            for response in call:
                key = correlation(response)
                request = wanted.get(key)
                if request is None:
                    continue
                try:
                    answers[key] = written(response, request.options.stream_identifier.stream_name.decode(), None)
                except EventStoreDBClientException as refusal:
                    answers[key] = refusal
                if len(answers) == len(wanted):
                    return
        except grpc.RpcError as failure:
            raise handle_rpc_error(failure) from None
        finally:
            call.cancel()
        raise ServiceUnavailable("the server ended the call before all was answered")

    def fetch(self, into: list[Recorded], where: dict[str, Any], **call_args: Any) -> None:
        """Add the events of one read to ``into``; those that came stay there when it fails in the middle.

        (The client's own iterator ends as if all had been read when another thread replaces the connection.)
        """
        call = self._stub.Read(self._construct_read_request(**where), **self._with_metadata(call_args))
        try:
            for response in call:
                kind = response.WhichOneof("content")
                if kind == "event":
                    into.append(recorded(response.event.event))
                elif kind == "stream_not_found":
                    raise NotFound(f"stream {where.get('stream_name')!r} not found")
        except grpc.RpcError as failure:
            raise _read_failure(failure) from None
        finally:
            call.cancel()

    def follow(self, where: dict[str, Any], **call_args: Any) -> Any:
        """A catch-up subscription as the call itself, which gives responses and can be cancelled."""
        request = self._construct_read_request(subscribe=True, **where)
        return self._stub.Read(request, **self._with_metadata(call_args))

    def _with_metadata(self, call_args: dict[str, Any], requires_leader: bool = False) -> dict[str, Any]:
        return {**call_args, "metadata": self._metadata(call_args.get("metadata"), requires_leader)}


class Client(EventStoreDBClient):
    """See the module. Made by whoever first needs it, in the process that uses it."""

    def __init__(self, uri: str) -> None:
        self._swap = threading.RLock()
        self._is_closing = False
        self._connected_at = time.monotonic()
        super().__init__(uri)

    @property
    def deadline_s(self) -> int:
        """How long a write may take; a write that fails takes twice that, because the client repeats it."""
        return self.connection_spec.options.DefaultDeadline or 0

    def construct_call_credentials(self, username: str | None, password: str | None) -> Any:
        """The client takes both from the URL as they are; in a URL they are percent-encoded."""
        return self._credentials(unquote(username or ""), unquote(password or ""))

    @autoreconnect
    def pipeline(self, wanted: Mapping[UUID, streams_pb2.BatchAppendReq], answers: Answers, timeout_s: float) -> None:
        """As ``Streams.pipeline``; what has no answer is sent once more after a reconnection."""
        self._streams.pipeline(wanted, answers, **self._call_args(timeout_s))

    @autoreconnect
    def fetch(self, where: dict[str, Any], timeout_s: float, into: list[Recorded]) -> None:
        """As ``Streams.fetch``; read again from the start after a reconnection."""
        into.clear()
        self._streams.fetch(into, where, **self._call_args(timeout_s))

    def follow(self, where: dict[str, Any], timeout_s: float | None) -> Any:
        """As ``Streams.follow``; ``timeout_s`` is its whole life."""
        return self._streams.follow(where, **self._call_args(timeout_s))

    def reconnect(self, grpc_target: str | None = None) -> None:
        """Go to another node. A single node needs none of it: its channel mends itself."""
        with self._swap:
            if self._is_closing:
                raise ServiceUnavailable("the store is closed")
            if grpc_target is None:
                is_young = time.monotonic() - self._connected_at < RECONNECT_EVERY_S
                if is_young or self._is_single:
                    return
            elif grpc_target == self.connection_target:
                return
            super().reconnect(grpc_target)
            self._connected_at = time.monotonic()

    def close(self) -> None:
        """End all calls and close the channel."""
        self._is_closing = True
        super().close()

    def _credentials(self, username: str, password: str) -> Any:
        return super().construct_call_credentials(username, password)

    @property
    def _streams(self) -> Streams:
        streams = self.streams
        assert isinstance(streams, Streams)
        return streams

    @property
    def _is_single(self) -> bool:
        spec = self.connection_spec
        return spec.scheme == URI_SCHEME_ESDB and len(spec.targets) == 1

    def _call_args(self, timeout_s: float | None) -> dict[str, Any]:
        return {"timeout": timeout_s, "metadata": self._call_metadata, "credentials": self._call_credentials}

    def _construct_esdb_connection(self, grpc_target: str, grpc_options: GrpcOptions = ()) -> ESDBConnection:
        connection = super()._construct_esdb_connection(grpc_target, grpc_options)
        connection.streams = Streams(connection._grpc_channel, self.connection_spec, connection._grpc_streamers)
        return connection

    def _construct_grpc_channel(self, grpc_target: str, grpc_options: GrpcOptions = ()) -> grpc.Channel:
        options = self.connection_spec.options
        return super()._construct_grpc_channel(
            grpc_target,
            (
                # The client's own option has a name that gRPC does not know; the second is the one that closes.
                ("grpc.keepalive_time_ms", options.KeepAliveInterval or 0),
                ("grpc.http2.ping_timeout_ms", options.KeepAliveTimeout or 0),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.max_pings_without_data", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
                ("grpc.max_reconnect_backoff_ms", MAX_BACK_OFF_MS),
                # Responses of reads are taken by the thread that asks, not handed over by another: half the CPU.
                (ChannelOptions.SingleThreadedUnaryStream, 1),
                *grpc_options,
            ),
        )


def positions(call: Any) -> Iterator[int | Recorded | None]:
    """What a catch-up subscription gives: events, positions that were looked at, and None when it has caught up.

    Zero and what is beyond ``END`` is no position. Raises the client's errors, and at the end of the call, too.
    """
    try:
        for response in call:
            kind = response.WhichOneof("content")
            if kind == "event":
                yield recorded(response.event.event)
            elif kind == "checkpoint":
                if 0 < response.checkpoint.commit_position < 2**63:
                    yield response.checkpoint.commit_position
            elif kind == "caught_up":
                yield None
    except grpc.RpcError as failure:
        raise handle_rpc_error(failure) from None
    finally:
        call.cancel()
    raise ServiceUnavailable("the server ended the subscription")


def _read_failure(failure: grpc.RpcError) -> EventStoreDBClientException:
    if failure.code() == grpc.StatusCode.FAILED_PRECONDITION and "is deleted" in (failure.details() or ""):
        return StreamIsDeleted(failure.details())
    return handle_rpc_error(failure)
