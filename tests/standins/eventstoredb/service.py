"""The gRPC services of one node, with the stubs that the client was generated with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import grpc
from esdbclient.protos.Grpc import (
    code_pb2,
    gossip_pb2,
    gossip_pb2_grpc,
    shared_pb2,
    status_pb2,
    streams_pb2,
    streams_pb2_grpc,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from tests.standins.eventstoredb.faults import Faults
from tests.standins.eventstoredb.log import (
    ANY,
    EXISTS,
    MAX_APPEND_BYTES,
    NO_STREAM,
    Deleted,
    Done,
    Log,
    Proposed,
    TooLarge,
    WrongVersion,
)
from tests.standins.eventstoredb.reading import read, stream_identifier

HOLD_S = 30.0
Options = TypeVar("Options")
_EXPECTED = {"no_stream": NO_STREAM, "any": ANY, "stream_exists": EXISTS}


class Streams(streams_pb2_grpc.StreamsServicer):
    """``leader`` gives the address of the leader where that is another node."""

    def __init__(self, log: Log, faults: Faults, leader: Callable[[], tuple[str, int] | None]) -> None:
        self.log = log
        self.faults = faults
        self._leader = leader

    def Read(  # noqa: N802 - the protocol's name
        self, request: streams_pb2.ReadReq, context: grpc.ServicerContext
    ) -> Iterator[streams_pb2.ReadResp]:
        self._require_leader(context)
        context.add_callback(self._wake)
        yield from read(self.log, self.faults, request, context)

    def Append(  # noqa: N802 - the protocol's name
        self, requests: Iterator[streams_pb2.AppendReq], context: grpc.ServicerContext
    ) -> streams_pb2.AppendResp:
        self._require_leader(context)
        options = next(requests).options
        events = [_proposed(request.proposed_message) for request in requests]
        name, expected = _stream_and_version(options, "expected_stream_revision")
        self._hold()
        response = streams_pb2.AppendResp()
        try:
            done = self.log.append(name, expected, events)
        except WrongVersion as wrong:
            if wrong.current < 0:
                response.wrong_expected_version.current_no_stream.SetInParent()
            else:
                response.wrong_expected_version.current_revision = wrong.current
            return response
        except Deleted:
            _abort_deleted(context, name)
        except TooLarge:
            context.set_trailing_metadata((("exception", "maximum-append-size-exceeded"),))
            text = f"Maximum Append Size of {MAX_APPEND_BYTES} Exceeded."
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        self._lose_reply(context)
        _fill(response.success, done)
        return response

    def BatchAppend(  # noqa: N802 - the protocol's name
        self, requests: Iterator[streams_pb2.BatchAppendReq], context: grpc.ServicerContext
    ) -> Iterator[streams_pb2.BatchAppendResp]:
        self._require_leader(context)
        gathered: dict[UUID, tuple[Any, list[Proposed]]] = {}
        for request in requests:
            key = UUID(request.correlation_id.string)
            options, events = gathered.setdefault(key, (request.options, []))
            events += [_proposed(message) for message in request.proposed_messages]
            if request.is_final:
                del gathered[key]
                yield self._batch(key, options, events, context)

    def Delete(  # noqa: N802 - the protocol's name
        self, request: streams_pb2.DeleteReq, context: grpc.ServicerContext
    ) -> streams_pb2.DeleteResp:
        self._forget(request.options, self.log.delete, context)
        return streams_pb2.DeleteResp(no_position=shared_pb2.Empty())

    def Tombstone(  # noqa: N802 - the protocol's name
        self, request: streams_pb2.TombstoneReq, context: grpc.ServicerContext
    ) -> streams_pb2.TombstoneResp:
        self._forget(request.options, self.log.tombstone, context)
        return streams_pb2.TombstoneResp(no_position=shared_pb2.Empty())

    def _batch(
        self, key: UUID, options: Any, events: list[Proposed], context: grpc.ServicerContext
    ) -> streams_pb2.BatchAppendResp:
        name, expected = _stream_and_version(options, "expected_stream_position")
        response = streams_pb2.BatchAppendResp(stream_identifier=options.stream_identifier)
        for part, bits in (("most_significant_bits", key.int >> 64), ("least_significant_bits", key.int & 2**64 - 1)):
            setattr(response.correlation_id.structured, part, bits - 2**64 if bits >= 2**63 else bits)
        self._hold()
        if self.faults.error_details:
            return _refused(response, self.faults.error_details.popleft())
        try:
            done = self.log.append(name, expected, events)
        except WrongVersion as wrong:
            details = shared_pb2.WrongExpectedVersion()
            if wrong.current < 0:
                details.current_no_stream.SetInParent()
            else:
                details.current_stream_revision = wrong.current
            return _refused(response, details)
        except Deleted:
            return _refused(response, shared_pb2.StreamDeleted(stream_identifier=stream_identifier(name)))
        except TooLarge:
            return _refused(response, shared_pb2.MaximumAppendSizeExceeded(maxAppendSize=MAX_APPEND_BYTES))
        self._lose_reply(context)
        _fill(response.success, done)
        return response

    def _forget(self, options: Any, forget: Callable[[str, int], None], context: grpc.ServicerContext) -> None:
        self._require_leader(context)
        name, expected = _stream_and_version(options, "expected_stream_revision")
        try:
            forget(name, expected)
        except WrongVersion as wrong:
            text = f"Stream: {name}, Expected version: {expected}, Actual version: {wrong.current}"
            text = f"Append failed due to WrongExpectedVersion. {text}"
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        except Deleted:
            _abort_deleted(context, name)

    def _hold(self) -> None:
        if self.faults.hold_appends is not None:
            self.faults.hold_appends.wait(HOLD_S)

    def _lose_reply(self, context: grpc.ServicerContext) -> None:
        if self.faults.strikes("lost_replies"):
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection lost before the reply")

    def _require_leader(self, context: grpc.ServicerContext) -> None:
        leader = self._leader()
        if leader is None or dict(context.invocation_metadata()).get("requires-leader") != "true":
            return
        host, port = leader
        context.set_trailing_metadata(
            (("exception", "not-leader"), ("leader-endpoint-host", host), ("leader-endpoint-port", str(port)))
        )
        context.abort(grpc.StatusCode.NOT_FOUND, "Leader info available")

    def _wake(self) -> None:
        with self.log.changed:
            self.log.changed.notify_all()


class Gossip(gossip_pb2_grpc.GossipServicer):
    """Tells who belongs to the cluster."""

    def __init__(self, members: Callable[[], list[tuple[str, int, bool]]]) -> None:
        self._members = members

    def Read(  # noqa: N802 - the protocol's name
        self, request: shared_pb2.Empty, context: grpc.ServicerContext
    ) -> gossip_pb2.ClusterInfo:
        states = gossip_pb2.MemberInfo.VNodeState
        return gossip_pb2.ClusterInfo(
            members=[
                gossip_pb2.MemberInfo(
                    state=states.Leader if is_leader else states.Follower,
                    is_alive=True,
                    http_end_point=gossip_pb2.EndPoint(address=host, port=port),
                )
                for host, port, is_leader in self._members()
            ]
        )


def _proposed(message: Any) -> Proposed:
    about = message.metadata
    return Proposed(
        UUID(message.id.string), about["type"], about["content-type"], message.data, message.custom_metadata
    )


def _stream_and_version(options: Any, oneof: str) -> tuple[str, int]:
    kind = options.WhichOneof(oneof)
    expected = _EXPECTED[kind] if kind in _EXPECTED else int(getattr(options, kind))
    return options.stream_identifier.stream_name.decode(), expected


def _fill(success: Any, done: Done) -> None:
    if done.last < 0:
        success.no_stream.SetInParent()
    else:
        success.current_revision = done.last
    if done.position is None:
        success.no_position.SetInParent()
    else:
        success.position.commit_position = success.position.prepare_position = done.position


def _refused(response: streams_pb2.BatchAppendResp, details: Message) -> streams_pb2.BatchAppendResp:
    packed = AnyMessage()
    packed.Pack(details)
    response.error.CopyFrom(status_pb2.Status(code=code_pb2.Code.UNKNOWN, message="refused", details=packed))
    return response


def _abort_deleted(context: grpc.ServicerContext, name: str) -> NoReturn:
    context.set_trailing_metadata((("exception", "stream-deleted"), ("stream-name", name)))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"Event stream '{name}' is deleted.")
    raise AssertionError("abort returned")
