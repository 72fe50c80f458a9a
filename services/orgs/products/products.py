"""One product, how its devices get in, and what its team says of it. Stream ``product-<number>``. PRD-1 to PRD-3.

==============  ===========  ================================================
``device_type``  platform     from ``platform_id`` alone
==============  ===========  ================================================
Core            0            Core
Photon, P0      6            Photon
P1              8            P1
Electron        10           Electron
mqtt            65535        mqtt; no Particle module carries this number
==============  ===========  ================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from services.orgs.names import comparable
from services.orgs.products import device_access, questionnaire
from services.orgs.products.device_access import ConfigureDeviceAccess
from shared.aggregates import Aggregate
from shared.errors import Conflict, NotFound, Refused
from shared.events.orgs import (
    ConfigurationAnswered,
    DeviceAccessConfigured,
    DeviceType,
    ManufacturingStarted,
    ProductChanged,
    ProductCreated,
    ProductRemoved,
    ProvisioningKeyIssued,
)

ProductType = Literal["Consumer", "Hobbyist", "Industrial"]

PLATFORMS: dict[DeviceType, int] = {"Core": 0, "Photon": 6, "P0": 6, "P1": 8, "Electron": 10, "mqtt": 65_535}


@dataclass(frozen=True, slots=True)
class CreateProduct:
    """Make the product of this number; name and slug are reserved before."""

    product_id: int
    org_id: str
    org_slug: str
    name: str
    slug: str
    description: str
    device_type: DeviceType
    type: ProductType
    hardware_version: str


@dataclass(frozen=True, slots=True)
class IssueProvisioningKey:
    """Let this key, with the secret of this digest, provision devices of the product, and no earlier one."""

    key: str
    secret_digest: str


@dataclass(frozen=True, slots=True)
class ChangeProduct:
    """Say something else of it; None leaves that as it is. Another name is reserved before."""

    name: str | None = None
    description: str | None = None
    type: ProductType | None = None
    hardware_version: str | None = None


@dataclass(frozen=True, slots=True)
class RemoveProduct:
    """Let it be gone; the caller has seen that it has no devices."""


@dataclass(frozen=True, slots=True)
class AnswerConfiguration:
    """Answers by key, see ``questionnaire``; null takes one back."""

    answers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StartManufacturing:
    """The team is ready to manufacture."""


Command = (
    CreateProduct
    | ChangeProduct
    | RemoveProduct
    | ConfigureDeviceAccess
    | IssueProvisioningKey
    | AnswerConfiguration
    | StartManufacturing
)
Event = (
    ProductCreated
    | ProductChanged
    | ProductRemoved
    | DeviceAccessConfigured
    | ProvisioningKeyIssued
    | ConfigurationAnswered
    | ManufacturingStarted
)
MISSING = "Product not found."


@dataclass(frozen=True, slots=True)
class Product:
    """``created`` is None for a number that no product has; ``firmware_names`` are the present one and all before it,
    in the form in which they are compared. ``changed`` is what is said of it now, ``answers`` those of the team."""

    created: ProductCreated | None = None
    changed: ProductChanged | None = None
    removed: bool = False
    answers: Mapping[str, Any] = field(default_factory=dict)
    manufacturing: bool = False
    access: DeviceAccessConfigured | None = None
    firmware_names: frozenset[str] = frozenset()
    issued: ProvisioningKeyIssued | None = None


def decide(state: Product, command: Command) -> list[Event]:
    """What this means now; ``Conflict`` if another product has the number, for then a new one gets the next."""
    if isinstance(command, CreateProduct):
        if state.created is not None:
            raise Conflict(stream_of(command.product_id), "none")
        return [_created(command)]
    if state.created is None or state.removed:
        raise NotFound(MISSING)
    product_id = state.created.product_id
    match command:
        case ChangeProduct():
            said = _said(state.created, state.changed)
            wanted_now = _changed(said, command)
            return [] if wanted_now == said else [wanted_now]
        case RemoveProduct():
            return [ProductRemoved(product_id, state.created.org_id)]
        case AnswerConfiguration(answers):
            news = {key: answer for key, answer in answers.items() if state.answers.get(key) != answer}
            text = json.dumps(news, ensure_ascii=False, separators=(",", ":"))
            return [ConfigurationAnswered(product_id, questionnaire.VERSION, text)] if news else []
        case StartManufacturing():
            missing = questionnaire.unanswered(state.answers)
            if missing:
                raise questionnaire.incomplete(missing)
            return [] if state.manufacturing else [ManufacturingStarted(product_id, questionnaire.VERSION)]
        case ConfigureDeviceAccess():
            present = state.access or device_access.at_first(product_id)
            wanted = device_access.changed(present, command)
            return [] if wanted == present else [wanted]
        case IssueProvisioningKey(key, secret_digest):
            issued = ProvisioningKeyIssued(product_id, key, secret_digest)
            return [] if issued == state.issued else [issued]


def _created(command: CreateProduct) -> ProductCreated:
    return ProductCreated(
        product_id=command.product_id,
        org_id=command.org_id,
        org_slug=command.org_slug,
        name=command.name,
        slug=command.slug,
        description=command.description,
        device_type=command.device_type,
        platform_id=PLATFORMS[command.device_type],
        type=command.type,
        hardware_version=command.hardware_version,
    )


def _said(created: ProductCreated, changed: ProductChanged | None) -> ProductChanged:
    """What is said of a product that was never changed, too."""
    made = (created.product_id, created.name, created.description, created.type, created.hardware_version)
    return changed or ProductChanged(*made)


def _changed(said: ProductChanged, command: ChangeProduct) -> ProductChanged:
    return ProductChanged(
        product_id=said.product_id,
        name=said.name if command.name is None else command.name,
        description=said.description if command.description is None else command.description,
        type=said.type if command.type is None else command.type,
        hardware_version=said.hardware_version if command.hardware_version is None else command.hardware_version,
    )


def name_of(state: Product) -> str:
    """What the product is called now; nothing for one that does not exist."""
    return "" if state.created is None else _said(state.created, state.changed).name


def evolve(state: Product, event: Event) -> Product:
    """The product after this event."""
    match event:
        case ProductCreated():
            return Product(event, firmware_names=frozenset({str(event.product_id)}))
        case DeviceAccessConfigured():
            names = state.firmware_names | {comparable(event.firmware_name)}
            return replace(state, access=event, firmware_names=names)
        case ProvisioningKeyIssued():
            return replace(state, issued=event)
        case ProductChanged():
            return replace(state, changed=event)
        case ProductRemoved():
            return replace(state, removed=True)
        case ConfigurationAnswered():
            return replace(state, answers=answered(state.answers, event))
        case ManufacturingStarted():
            return replace(state, manufacturing=True)


def answered(answers: Mapping[str, Any], event: ConfigurationAnswered) -> dict[str, Any]:
    """The answers with those of this event, and without those that it takes back."""
    now = {**answers, **json.loads(event.answers)}
    return {key: answer for key, answer in now.items() if answer is not None}


PRODUCTS: Aggregate[Product, Command] = Aggregate(Product(), decide, evolve)


def stream_of(product_id: int) -> str:
    """The stream of the product with this number."""
    return f"product-{product_id}"


def number_of(stream: str) -> int:
    """The number of the product with this stream."""
    return int(stream.removeprefix("product-"))


def device_type_of(platform_id: int | None, device_type: str | None) -> DeviceType:
    """The device type that these two name together, either of which may be left out. Raises ``Refused``."""
    if platform_id is None and device_type is None:
        raise Refused("invalid_request", "A product needs a platform_id or a device_type.")
    fitting = [
        known
        for known, platform in PLATFORMS.items()
        if platform_id in (None, platform) and device_type in (None, known)
    ]
    if fitting:
        return fitting[0]
    if platform_id in (None, *PLATFORMS.values()) and device_type in (None, *PLATFORMS):
        raise Refused("invalid_request", f"A {device_type} has not the platform_id {platform_id}.")
    known_types = ", ".join(f"{known} ({platform})" for known, platform in PLATFORMS.items())
    raise Refused("unsupported_platform", f"Platforms are {known_types}.")
