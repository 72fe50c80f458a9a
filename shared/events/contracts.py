"""Event classes as contracts: names, versions, schemas, upcasters, bytes.

What is appended is checked against a marshmallow schema derived from the class. What is read is trusted and decoded
by msgspec. An old version is upcast on reading, as a plain dict, one version at a time (EVT-1). Personal fields are
sealed after the check and opened after the decoding (EVT-5); types without any pay nothing for that.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

import marshmallow as ma
import msgspec

from shared.context import Context
from shared.errors import Misuse
from shared.events import (
    billing,
    customers,
    devices,
    drafts,
    firmware,
    gateway,
    groups,
    oauth,
    orgs,
    rollouts,
    transfers,
    webhooks,
)
from shared.events.fields import Event
from shared.events.metadata import Metadata, metadata
from shared.events.quick import Check, quick_check
from shared.events.schemas import schema_of
from shared.ids import event_id
from shared.people.keys import Keys
from shared.people.personal import Sealer, forgets, personal_fields
from shared.store.port import New, Recorded

_Item = TypeVar("_Item")
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class UnknownEvent(Exception):
    """This type, or this version of it, is not in the registry: written by a newer release, or a foreign stream."""


@dataclass(frozen=True)
class Contract:
    """One event type: the service that owns it, the class of its present version, and the way there from older
    ones: ``upcasters[n]`` turns the data of version n into that of n + 1. ``sealed_since`` is the first version whose
    personal fields are stored sealed, 0 for a type that has none; an upcaster leaves sealed fields as they are."""

    service: str
    event: type[Event]
    version: int = 1
    upcasters: Mapping[int, Upcaster] = dataclasses.field(default_factory=dict)
    sealed_since: int = 0

    @property
    def name(self) -> str:
        """The event type, as stored and as routing key."""
        return self.event.__name__


class _Made(dict[str, _Item]):
    """By event type, each made when it is first asked for: a process needs those of its own events, not of all."""

    def __init__(self, make: Callable[[str], _Item]) -> None:
        self._make = make

    def __missing__(self, name: str) -> _Item:
        made = self[name] = self._make(name)
        return made


_STORED = itemgetter(1, 6, 7)
"""Type, data and metadata of a ``Recorded``: faster than its properties."""


class Registry:
    """All contracts of a process, and the codec over them. Without ``keys`` it encodes nothing personal, and what is
    personal reads as ``UNOPENED``."""

    def __init__(
        self, contracts: Iterable[Contract], keys: Keys | None = None, *, like: Registry | None = None
    ) -> None:
        """``like``: another registry of the same contracts, whose schemas are used again."""
        self._keys = keys
        self._sealers: dict[str, Sealer] = {}
        self._by_name: dict[str, Contract] = {}
        self._schemas: _Made[ma.Schema] = (
            _Made(lambda name: schema_of(self._by_name[name].event)) if like is None else like._schemas
        )
        self._quick: _Made[Check] = (
            _Made(lambda name: quick_check(self._by_name[name].event)) if like is None else like._quick
        )
        self._present: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {}
        self._last_meta: tuple[Context | None, int, bytes] = (None, 0, b"")
        for contract in contracts:
            self._add(contract)

    def _add(self, contract: Contract) -> None:
        if contract.name in self._by_name:
            raise Misuse(f"two contracts are called {contract.name}")
        missing = set(range(1, contract.version)) ^ set(contract.upcasters)
        if missing:
            raise Misuse(f"{contract.name} v{contract.version}: upcasters do not fit for versions {sorted(missing)}")
        self._by_name[contract.name] = contract
        if bool(personal_fields(contract.event)) != bool(contract.sealed_since):
            raise Misuse(f"{contract.name}: sealed_since is for the types that have personal fields")
        if contract.sealed_since:
            self._sealers[contract.name] = Sealer(contract.event, self._keys)
        decode = msgspec.json.Decoder(contract.event).decode
        self._present[contract.name] = (b'{"schema":%d,' % contract.version, self._reader(contract, decode))

    def _reader(self, contract: Contract, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        sealer, whom, keys = self._sealers.get(contract.name), forgets(contract.event), self._keys
        if sealer is not None:
            return lambda data: sealer.opened(decode(data))
        if whom is None or keys is None:
            return decode

        def read(data: bytes) -> Any:
            event = decode(data)
            keys.forgotten(getattr(event, whom))
            return event

        return read

    def with_keys(self, keys: Keys) -> Registry:
        """The same contracts for a process that may write and read what is personal."""
        return Registry(self, keys, like=self)

    @property
    def keys(self) -> Keys:
        """People's keys. Raises ``Misuse`` if this process has none."""
        if self._keys is None:
            raise Misuse("this process has no keys of people: use CONTRACTS.with_keys")
        return self._keys

    @property
    def sealed_types(self) -> frozenset[str]:
        """The event types with personal fields."""
        return frozenset(self._sealers)

    @property
    def forgetting_types(self) -> frozenset[str]:
        """The event types by which somebody is forgotten."""
        return frozenset(contract.name for contract in self if forgets(contract.event) is not None)

    def is_sealed(self, recorded: Recorded) -> bool:
        """Whether what is personal in this event was sealed when it was stored."""
        contract = self._by_name.get(recorded.type)
        return contract is not None and 0 < contract.sealed_since <= metadata(recorded).schema

    def __iter__(self) -> typing.Iterator[Contract]:
        return iter(self._by_name.values())

    def of_service(self, service: str) -> frozenset[str]:
        """The event types that this service owns, which its relay publishes."""
        return frozenset(contract.name for contract in self if contract.service == service)

    def schema(self, name: str) -> ma.Schema:
        """The marshmallow schema of the present version."""
        return self._schemas[name]

    def encode(self, event: object, index: int, context: Context, *, stream: str = "") -> New:
        """Check an event and make it ready to append, what is personal sealed. Raises ``Misuse`` if it breaks its
        contract, ``Unavailable`` if a person's key is lost. ``stream`` keeps the ids of one command's events in several
        streams apart."""
        meta = self._meta(context, self._checked(event).version)
        return self._new(event_id(context.command_id, index, stream), event, meta)

    def _meta(self, context: Context, version: int) -> bytes:
        """Remembered, because the many events of an import have one context."""
        known, of_version, encoded = self._last_meta
        if known is not context or of_version != version:
            encoded = _encode(
                Metadata(
                    schema=version,
                    actor=context.actor,
                    command=str(context.command_id),
                    correlation=context.correlation_id,
                    causation=context.causation_id,
                    causation_place=context.causation_place,
                    source=context.source,
                    token=context.token,
                    address=context.address,
                    about=context.about,
                )
            )
            self._last_meta = (context, version, encoded)
        return encoded

    def encode_seen(self, event: object, actor: str, source: str, id_: UUID) -> New:
        """As ``encode``, in less time, for what was seen and not asked for. There is no command that could be
        repeated, so the event has an id of its own, which stands for the command."""
        command = str(id_)
        meta = Metadata(self._checked(event).version, actor, command, command, source=source)
        return self._new(id_, event, _encode(meta))

    def _checked(self, event: object) -> Contract:
        name = type(event).__name__
        contract = self._by_name.get(name)
        if contract is None or contract.event is not type(event):
            raise Misuse(f"{type(event)!r} is no registered event")
        if not self._quick[name](event):
            problems = self._schemas[name].validate(msgspec.to_builtins(event))
            if problems:
                raise Misuse(f"{name} breaks its contract: {problems}")
        return contract

    def _new(self, id_: UUID, event: object, meta: bytes) -> New:
        name = type(event).__name__
        sealer = self._sealers.get(name)
        stored = event if sealer is None else sealer.sealed(event)
        return New(id_, name, _encode(stored), meta)

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
            return self._present[recorded.type][1](recorded.data)
        if not 1 <= version < contract.version:
            raise UnknownEvent(f"{recorded.type} has version {version}, known up to {contract.version}")
        data: dict[str, Any] = msgspec.json.decode(recorded.data)
        for step in range(version, contract.version):
            data = contract.upcasters[step](data)
        event = msgspec.convert(data, contract.event)
        return self._sealers[recorded.type].opened(event) if self.is_sealed(recorded) else event


_encode = msgspec.json.Encoder().encode


def _contracts(service: str, *events: type[Event]) -> list[Contract]:
    return [Contract(service, event) for event in events]


def _sealed_from_now_on(service: str, *events: type[Event]) -> list[Contract]:
    """Types whose version 1 was stored as plain text."""
    return [Contract(service, event, 2, {1: lambda data: data}, sealed_since=2) for event in events]


def _sealed(service: str, *events: type[Event]) -> list[Contract]:
    """Types whose personal fields were never stored as plain text."""
    return [Contract(service, event, sealed_since=1) for event in events]


def _wider_from_now_on(service: str, *events: type[Event]) -> list[Contract]:
    """Types that got further fields, whose defaults are what was true before."""
    return [Contract(service, event, 2, {1: lambda data: data}) for event in events]


def _without_keys(data: dict[str, Any]) -> dict[str, Any]:
    """Of an import of a time when files brought none."""
    return {**data, "keys_set": 0}


def _by_nobody_known(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "uploader_id": None}


CONTRACTS = Registry(
    [
        *_sealed_from_now_on(
            "orgs",
            orgs.NameReserved,
            orgs.AccountCreated,
            orgs.OrganizationFounded,
            orgs.OrganizationCreated,
            orgs.MemberJoined,
        ),
        *_contracts(
            "orgs",
            orgs.AccountForgotten,
            orgs.EmailVerificationAsked,
            orgs.EmailVerified,
            orgs.PasswordResetAsked,
            orgs.TokensEnded,
            orgs.OrganizationLeft,
            orgs.OrganizationRenamed,
            orgs.InvitationAccepted,
            orgs.InvitationDeclined,
            orgs.InvitationWithdrawn,
            orgs.MemberRoleChanged,
            orgs.MemberRemoved,
            orgs.TokenRevoked,
            orgs.ProductCreated,
            orgs.ProductChanged,
            orgs.ProductRemoved,
            orgs.ConfigurationAnswered,
            orgs.ManufacturingStarted,
            orgs.DeviceAccessConfigured,
            orgs.ProvisioningKeyIssued,
            orgs.DeviceAuthorityAdded,
            orgs.DeviceAuthorityRemoved,
            oauth.ClientCreated,
            oauth.ClientChanged,
            oauth.ClientDeleted,
            oauth.AuthorizationGranted,
            oauth.AuthorizationUsed,
            oauth.AuthorizationReplayed,
            customers.CustomerResetAsked,
            customers.CustomerTokensEnded,
            customers.CustomerDeleted,
            customers.ActivationCodeUsed,
            customers.InviteeForgotten,
            customers.ActivationCodeRefused,
            transfers.TransferAsked,
            transfers.TransferAccepted,
            transfers.TransferDeclined,
        ),
        *_wider_from_now_on("orgs", orgs.TokenIssued),
        *_sealed(
            "orgs",
            orgs.PasswordChanged,
            orgs.ProfileChanged,
            orgs.EmailChanged,
            orgs.OrganizationJoined,
            orgs.MemberInvited,
            customers.CustomerCreated,
            customers.CustomerPasswordChanged,
            customers.BetaInvited,
        ),
        *_contracts(
            "devices",
            devices.DeviceImported,
            devices.DeviceForced,
            devices.DeviceQuarantined,
            devices.DeviceApproved,
            devices.DeviceDenied,
            devices.DeviceDescribed,
            devices.DevelopmentMarked,
            devices.DeviceGrouped,
            devices.DeviceLocked,
            devices.DeviceUnlocked,
            devices.UpdateRetryAsked,
            devices.DeviceTokenReplaced,
            devices.DeviceKeySet,
            devices.DeviceCertificateSet,
            devices.DeviceProvisioned,
            devices.DeviceUnclaimed,
            devices.AttributesDesired,
            devices.ClaimCodeUsed,
            devices.ClaimCodeEnded,
            devices.ClaimWindowOpened,
            devices.ClaimSecretRefused,
            devices.ClaimWindowClosed,
            devices.ImportStarted,
            devices.ImportCancelled,
            groups.GroupCreated,
            groups.GroupDescribed,
            groups.GroupRenamed,
            groups.GroupDeleted,
            groups.GroupEmptied,
        ),
        *_wider_from_now_on("devices", devices.DeviceClaimed, devices.ClaimCodeIssued, devices.DeviceRemoved),
        Contract("devices", devices.ImportFinished, 2, {1: _without_keys}),
        Contract("devices", devices.ImportAdvanced, 3, {1: _without_keys, 2: lambda data: data}),
        Contract(
            "firmware",
            firmware.VersionUploaded,
            3,
            {1: _by_nobody_known, 2: lambda data: data},
            sealed_since=2,
        ),
        *_contracts(
            "firmware",
            firmware.VersionDescribed,
            firmware.VersionDeleted,
            firmware.VersionFirstRan,
            firmware.FirmwareReleased,
            firmware.FirmwareReleasedToGroups,
            firmware.ReleaseWithdrawn,
            rollouts.RolloutPlanned,
            rollouts.RolloutStageBegan,
            rollouts.RolloutStageSized,
            rollouts.RolloutHeld,
            rollouts.RolloutApproved,
            rollouts.RolloutPaused,
            rollouts.RolloutResumed,
            rollouts.RolloutCancelled,
            rollouts.RolloutRolledBack,
            rollouts.RolloutCompleted,
            rollouts.RolloutRegrouped,
            rollouts.RolloutTurnsGiven,
            rollouts.RolloutTurnsEnded,
            firmware.SigningKeyAdded,
            firmware.SigningKeyRemoved,
            firmware.SignaturesRequired,
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
            gateway.DescriptionReported,
            gateway.AttributesReported,
            gateway.KeyPresented,
            gateway.ClaimPresented,
            gateway.ClaimOpened,
            gateway.FlashAsked,
            gateway.RolloutTurnAsked,
            gateway.UpdatesDeclared,
            gateway.UpdateStarted,
            gateway.UpdateAdvanced,
            gateway.DeviceErred,
            gateway.UsageCounted,
        ),
        *_wider_from_now_on(
            "gateway",
            gateway.FunctionCalled,
            gateway.DeviceMisbehaved,
            gateway.UpdateInterrupted,
            gateway.UpdateSucceeded,
            gateway.UpdateFailed,
        ),
        *_contracts("telemetry", gateway.DevicePublished, gateway.ServerPublished),
        *_contracts(
            "billing",
            billing.TrialStarted,
            billing.SubscriptionStarted,
            billing.CustomerRegistered,
            billing.CardReplaced,
            billing.SeatAdded,
            billing.SeatRemoved,
            billing.PlanSwitched,
            billing.InvoiceIssued,
            billing.InvoiceSettledWithoutCharge,
            billing.ChargeRequested,
            billing.ChargePrepared,
            billing.ChargePostponed,
            billing.PaymentSucceeded,
            billing.PaymentFailed,
            billing.InvoiceVoided,
            billing.AccountLocked,
            billing.SubscriptionCancelled,
            billing.CancellationWithdrawn,
            billing.SubscriptionEnded,
            billing.SubscriptionReactivated,
            billing.TrialEndingSoon,
            billing.RenewalUpcoming,
            billing.CardExpiringSoon,
            billing.ChargesHeld,
            billing.ChargesReleased,
            billing.ChargeRefunded,
            billing.ChargeDisputed,
            billing.StrayPaymentFound,
            billing.ChargeResumed,
            billing.PeriodWaived,
            billing.CreditGranted,
            billing.RefundRequested,
            billing.RefundFailed,
            billing.ClockMoved,
            billing.ClockReached,
            drafts.OrganizationDrafted,
            drafts.DraftCardSaved,
            drafts.DraftUsed,
            drafts.DraftExpired,
        ),
        *_contracts(
            "hooks",
            webhooks.WebhookCreated,
            webhooks.WebhookChanged,
            webhooks.WebhookEnabled,
            webhooks.WebhookDisabled,
            webhooks.WebhookRewound,
            webhooks.WebhookDeleted,
        ),
    ]
)
"""Every event of the platform."""
