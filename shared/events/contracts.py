"""Event classes as contracts: names, versions, schemas, upcasters, bytes.

What is appended is checked against a marshmallow schema derived from the class. What is read is trusted and decoded
by msgspec. An old version is upcast on reading, as a plain dict, one version at a time (EVT-1).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Annotated, Any, Literal, get_args, get_origin

import marshmallow as ma
import msgspec

from shared.context import Context
from shared.errors import Misuse
from shared.events import billing, devices, firmware, gateway, orgs
from shared.events.fields import Event, Items, Text, Whole
from shared.events.quick import Check, quick_check
from shared.ids import event_id
from shared.store.port import New, Recorded

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """The envelope's metadata as JSON. ``schema`` is the version of the event's contract."""

    schema: int
    actor: str
    command: str
    correlation: str
    causation: str | None = None
    source: str = ""


class UnknownEvent(Exception):
    """This type, or this version of it, is not in the registry: written by a newer release, or a foreign stream."""


@dataclass(frozen=True)
class Contract:
    """One event type: the service that owns it, the class of its present version, and the way there from older
    ones: ``upcasters[n]`` turns the data of version n into that of n + 1."""

    service: str
    event: type[Event]
    version: int = 1
    upcasters: Mapping[int, Upcaster] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The event type, as stored and as routing key."""
        return self.event.__name__


def schema_of(event: type[Event]) -> ma.Schema:
    """The marshmallow schema of an event class; every field needs a limit from ``shared.events.fields``."""
    hints = typing.get_type_hints(event, include_extras=True)
    fields = {name: _field(hints[name], f"{event.__name__}.{name}") for name in event.__struct_fields__}
    return ma.Schema.from_dict(fields, name=event.__name__)(unknown=ma.RAISE)


def _field(hint: Any, where: str, *, nullable: bool = False) -> ma.fields.Field[Any]:
    options: dict[str, Any] = {"required": True, "allow_none": nullable}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) != 1:
            raise Misuse(f"{where}: a union other than with None")
        return _field(inner[0], where, nullable=True)
    if origin is Literal:
        return ma.fields.String(validate=ma.validate.OneOf(arguments), **options)
    if origin is Annotated:
        return _limited_field(arguments[0], arguments[1:], options, where)
    if hint is bool:
        return _TrueOrFalse(**options)
    if hint is datetime:
        return ma.fields.AwareDateTime(format="iso", **options)
    if isinstance(hint, type) and issubclass(hint, Event):
        return ma.fields.Nested(schema_of(hint), **options)
    raise Misuse(f"{where}: {hint!r} has no limit")


def _limited_field(base: Any, limits: Sequence[object], options: dict[str, Any], where: str) -> ma.fields.Field[Any]:
    match limits[0]:
        case Text(longest, shortest, pattern):
            checks: list[Any] = [ma.validate.Length(shortest, longest)]
            if pattern:
                checks.append(ma.validate.Regexp(f"(?:{pattern})\\Z"))
            return ma.fields.String(validate=checks, **options)
        case Whole(least, most):
            return ma.fields.Integer(strict=True, validate=ma.validate.Range(least, most), **options)
        case Items(most):
            inner = _field(get_args(base)[0], f"{where}[]")
            return ma.fields.List(inner, validate=ma.validate.Length(max=most), **options)
    raise Misuse(f"{where}: {limits[0]!r} is no limit")


class _TrueOrFalse(ma.fields.Boolean):
    """JSON's two booleans; marshmallow's own field also takes 1, 0 and words."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if value is not True and value is not False:
            raise self.make_error("invalid", input=value)
        return bool(value)


_STORED = itemgetter(1, 6, 7)
"""Type, data and metadata of a ``Recorded``: faster than its properties."""


class Registry:
    """All contracts of a process, and the codec over them."""

    def __init__(self, contracts: Iterable[Contract]) -> None:
        self._by_name: dict[str, Contract] = {}
        self._schemas: dict[str, ma.Schema] = {}
        self._quick: dict[str, Check] = {}
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._present: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {}
        for contract in contracts:
            self._add(contract)

    def _add(self, contract: Contract) -> None:
        if contract.name in self._by_name:
            raise Misuse(f"two contracts are called {contract.name}")
        missing = set(range(1, contract.version)) ^ set(contract.upcasters)
        if missing:
            raise Misuse(f"{contract.name} v{contract.version}: upcasters do not fit for versions {sorted(missing)}")
        self._by_name[contract.name] = contract
        self._schemas[contract.name] = schema_of(contract.event)
        self._quick[contract.name] = quick_check(contract.event)
        decoder = self._decoders[contract.name] = msgspec.json.Decoder(contract.event)
        self._present[contract.name] = (b'{"schema":%d,' % contract.version, decoder.decode)

    def __iter__(self) -> typing.Iterator[Contract]:
        return iter(self._by_name.values())

    def of_service(self, service: str) -> frozenset[str]:
        """The event types that this service owns, which its relay publishes."""
        return frozenset(contract.name for contract in self if contract.service == service)

    def schema(self, name: str) -> ma.Schema:
        """The marshmallow schema of the present version."""
        return self._schemas[name]

    def encode(self, event: object, index: int, context: Context, *, stream: str = "") -> New:
        """Check an event and make it ready to append. Raises ``Misuse`` if it breaks its contract. ``stream`` keeps the
        ids of one command's events in several streams apart."""
        name = type(event).__name__
        contract = self._by_name.get(name)
        if contract is None or contract.event is not type(event):
            raise Misuse(f"{type(event)!r} is no registered event")
        if not self._quick[name](event):
            problems = self._schemas[name].validate(msgspec.to_builtins(event))
            if problems:
                raise Misuse(f"{name} breaks its contract: {problems}")
        meta = Metadata(
            schema=contract.version,
            actor=context.actor,
            command=str(context.command_id),
            correlation=context.correlation_id,
            causation=context.causation_id,
            source=context.source,
        )
        return New(
            event_id(context.command_id, index, stream), name, msgspec.json.encode(event), msgspec.json.encode(meta)
        )

    def decode_all(self, events: Iterable[Recorded]) -> list[Any]:
        """``decode`` of each. Metadata that begins as ``encode`` writes it for the present version is not decoded."""
        present, decoded = self._present, []
        for recorded in events:
            name, data, meta = _STORED(recorded)
            known = present.get(name)
            if known is not None and meta.startswith(known[0]):
                decoded.append(known[1](data))
            else:
                decoded.append(self.decode(recorded))
        return decoded

    def decode(self, recorded: Recorded) -> Any:
        """The event as its present class. Raises ``UnknownEvent`` for a type or version that this process does not
        know, ``msgspec.MsgspecError`` for data that is not what its contract says."""
        contract = self._by_name.get(recorded.type)
        if contract is None:
            raise UnknownEvent(f"{recorded.type} is in no contract")
        version = metadata(recorded).schema
        if version == contract.version:
            return self._decoders[recorded.type].decode(recorded.data)
        if not 1 <= version < contract.version:
            raise UnknownEvent(f"{recorded.type} has version {version}, known up to {contract.version}")
        data: dict[str, Any] = msgspec.json.decode(recorded.data)
        for step in range(version, contract.version):
            data = contract.upcasters[step](data)
        return msgspec.convert(data, contract.event)


_metadata_decoder = msgspec.json.Decoder(Metadata)


def metadata(recorded: Recorded) -> Metadata:
    """The decoded metadata of a stored event."""
    return _metadata_decoder.decode(recorded.meta)


def _contracts(service: str, *events: type[Event]) -> list[Contract]:
    return [Contract(service, event) for event in events]


CONTRACTS = Registry(
    [
        *_contracts(
            "orgs",
            orgs.NameReserved,
            orgs.AccountCreated,
            orgs.OrganizationFounded,
            orgs.OrganizationCreated,
            orgs.MemberJoined,
            orgs.TokenIssued,
            orgs.TokenRevoked,
            orgs.ProductCreated,
        ),
        *_contracts(
            "devices",
            devices.DeviceImported,
            devices.DeviceForced,
            devices.DeviceQuarantined,
            devices.DeviceApproved,
            devices.DeviceDenied,
            devices.DeviceRemoved,
            devices.DeviceDescribed,
            devices.DevelopmentMarked,
            devices.DeviceGrouped,
            devices.DeviceLocked,
            devices.DeviceUnlocked,
            devices.DeviceTokenReplaced,
            devices.ImportStarted,
            devices.ImportAdvanced,
            devices.ImportFinished,
        ),
        *_contracts(
            "firmware",
            firmware.VersionUploaded,
            firmware.VersionFirstRan,
            firmware.FirmwareReleased,
            firmware.ReleaseWithdrawn,
        ),
        *_contracts(
            "gateway",
            gateway.GatewayStarted,
            gateway.GatewayBeat,
            gateway.GatewayStopped,
            gateway.GatewayLost,
            gateway.DeviceConnected,
            gateway.SessionReplaced,
            gateway.DeviceDisconnected,
            gateway.FirmwareReported,
            gateway.UpdateStarted,
            gateway.UpdateAdvanced,
            gateway.UpdateInterrupted,
            gateway.UpdateSucceeded,
            gateway.UpdateFailed,
            gateway.DeviceMisbehaved,
        ),
        *_contracts("telemetry", gateway.DevicePublished),
        *_contracts("billing", billing.TrialStarted),
    ]
)
"""Every event of the platform."""
