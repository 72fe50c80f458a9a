"""Answers to ``Read``: streams and all streams, both directions, filters, catch-up subscriptions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from uuid import uuid4

import grpc
from esdbclient.protos.Grpc import shared_pb2
from esdbclient.protos.Grpc.streams_pb2 import ReadReq, ReadResp

from tests.standins.eventstoredb.faults import SLOW_EVENTS, Faults
from tests.standins.eventstoredb.log import BadPosition, Deleted, Event, Log, NotFound

LOOK_S = 0.5
"""How often a subscription with nothing to tell looks whether its client is still there."""

Test = Callable[[Event], bool]


def read(log: Log, faults: Faults, request: ReadReq, context: grpc.ServicerContext) -> Iterator[ReadResp]:
    """All responses to one call."""
    options = request.options
    is_all = options.HasField("all")
    if options.HasField("subscription"):
        yield ReadResp(confirmation=ReadResp.SubscriptionConfirmation(subscription_id=str(uuid4())))
        if faults.deaf_subscriptions:
            _wait_for_end(log, context)
        elif is_all:
            yield from _follow_all(log, options, context)
        else:
            yield from _follow_stream(log, options, context)
        return
    is_scan = options.HasField("filter") and options.read_direction == ReadReq.Options.Forwards
    is_slow = is_scan and faults.strikes("slow_reads")
    if is_all:
        found: Iterator[Event] | None = _all(log, options, context, SLOW_EVENTS if is_slow else None)
    else:
        found = _stream(log, faults, options, context)
    if found is None:
        missing = ReadResp.StreamNotFound(stream_identifier=options.stream.stream_identifier)
        yield ReadResp(stream_not_found=missing)
        return
    is_cut = faults.strikes("cut_reads")
    for event in islice(found, options.count):
        yield _response(event)
        if is_cut:
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection lost in the middle")
    if is_slow:
        _wait_for_end(log, context)


def _stream(
    log: Log, faults: Faults, options: ReadReq.Options, context: grpc.ServicerContext
) -> Iterator[Event] | None:
    name = options.stream.stream_identifier.stream_name.decode()
    try:
        with log.changed:
            stored, first = log.stream(name)
            events = stored[:]
    except NotFound:
        return None
    except Deleted:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"Event stream '{name}' is deleted.")
    if first > 0 and faults.strikes("late_revivals"):
        return None
    last = len(events) - 1
    if options.read_direction == ReadReq.Options.Backwards:
        start = min(options.stream.revision, last) if options.stream.HasField("revision") else last
        return (events[number] for number in range(start, first - 1, -1))
    start = options.stream.revision if options.stream.HasField("revision") else 0
    return (events[number] for number in range(max(start, first), last + 1))


def _all(log: Log, options: ReadReq.Options, context: grpc.ServicerContext, most: int | None) -> Iterator[Event]:
    test = _test(options)
    with log.changed:
        end = len(log.all)
        position = _index(log, options, context)
    if options.read_direction == ReadReq.Options.Backwards:
        indices = range((end if position is None else position) - 1, -1, -1)
    else:
        indices = range(position or 0, end)
    return (log.all[index] for index in indices[:most] if test(log.all[index]))


def _follow_all(log: Log, options: ReadReq.Options, context: grpc.ServicerContext) -> Iterator[ReadResp]:
    test = _test(options)
    with log.changed:
        position = _index(log, options, context)
        index = 0 if position is None else position + 1
        if options.all.HasField("end"):
            index = len(log.all)
    is_filtered = options.HasField("filter")
    every = options.filter.max * max(options.filter.checkpointIntervalMultiplier, 1)
    considered, is_live = 0, False
    while context.is_active():
        if index == len(log.all):
            if not is_live:
                if is_filtered and index > 0:
                    yield _checkpoint(log.all[index - 1])
                yield ReadResp(caught_up=ReadResp.CaughtUp())
                is_live = True
            _wait(log, context, index)
            continue
        event = log.all[index]
        index += 1
        considered += 1
        if test(event):
            yield _response(event)
        if is_filtered and considered % every == 0:
            yield _checkpoint(event)


def _follow_stream(log: Log, options: ReadReq.Options, context: grpc.ServicerContext) -> Iterator[ReadResp]:
    name = options.stream.stream_identifier.stream_name.decode()
    index, is_live = 0, False
    if options.stream.HasField("end"):
        index = len(log.all)
    while context.is_active():
        if index == len(log.all):
            if not is_live:
                yield ReadResp(caught_up=ReadResp.CaughtUp())
                is_live = True
            _wait(log, context, index)
            continue
        event = log.all[index]
        index += 1
        is_behind = not options.stream.HasField("revision") or event.stream_revision > options.stream.revision
        if is_behind and event.stream_identifier.stream_name.decode() == name:
            yield _response(event)


def _index(log: Log, options: ReadReq.Options, context: grpc.ServicerContext) -> int | None:
    if not options.all.HasField("position"):
        return None
    try:
        return log.index(options.all.position.commit_position)
    except BadPosition:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid position")
        raise AssertionError("abort returned") from None


def _test(options: ReadReq.Options) -> Test:
    if not options.HasField("filter"):
        return lambda event: True
    is_by_stream = options.filter.HasField("stream_identifier")
    expression = options.filter.stream_identifier if is_by_stream else options.filter.event_type

    def name(event: Event) -> str:
        return event.stream_identifier.stream_name.decode() if is_by_stream else str(event.metadata["type"])

    if expression.regex:
        pattern = re.compile(expression.regex)
        return lambda event: pattern.search(name(event)) is not None
    prefixes = tuple(expression.prefix)
    return lambda event: name(event).startswith(prefixes)


def _response(event: Event) -> ReadResp:
    return ReadResp(event=ReadResp.ReadEvent(event=event, commit_position=event.commit_position))


def _checkpoint(event: Event) -> ReadResp:
    position = event.commit_position
    return ReadResp(checkpoint=ReadResp.Checkpoint(commit_position=position, prepare_position=position))


def _wait(log: Log, context: grpc.ServicerContext, index: int) -> None:
    with log.changed:
        log.changed.wait_for(lambda: len(log.all) > index or not context.is_active(), LOOK_S)


def _wait_for_end(log: Log, context: grpc.ServicerContext) -> None:
    with log.changed:
        while context.is_active():
            log.changed.wait(LOOK_S)


def stream_identifier(name: str) -> shared_pb2.StreamIdentifier:
    """As messages carry it."""
    return shared_pb2.StreamIdentifier(stream_name=name.encode())
