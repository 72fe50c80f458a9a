"""Who may sign a product's firmware, as part of its stream: what is decided about keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from shared.errors import NotFound, Refused
from shared.events.firmware import SignaturesRequired, SigningKeyAdded, SigningKeyRemoved, VersionUploaded

MAX_KEYS = 16
NO_SUCH_KEY = "Signing key not found."

SigningEvent = SigningKeyAdded | SigningKeyRemoved | SignaturesRequired


@dataclass(frozen=True, slots=True)
class AddSigningKey:
    """Accept what this key signs."""

    key: SigningKeyAdded


@dataclass(frozen=True, slots=True)
class RemoveSigningKey:
    """Accept it no longer."""

    product_id: int
    key_id: str


@dataclass(frozen=True, slots=True)
class RequireSignatures:
    """Accept nothing that is not signed, or again everything."""

    product_id: int
    required: bool


SigningCommand = AddSigningKey | RemoveSigningKey | RequireSignatures


@dataclass(frozen=True, slots=True)
class Signing:
    """Name and public key of each key by its id."""

    keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    required: bool = False

    @property
    def public_keys(self) -> dict[str, str]:
        """By their ids."""
        return {key_id: public_key for key_id, (_, public_key) in self.keys.items()}


def must_be_signed(state: Signing, is_signed: bool) -> None:
    """Raises ``Refused("signature_required")``."""
    if state.required and not is_signed:
        reason = "the product takes only firmware that one of its keys has signed; upload the signature with the file"
        raise Refused("signature_required", reason)


def must_be_signed_by_a_key(state: Signing, uploaded: VersionUploaded) -> None:
    """Whatever the keys were when the signature was checked. Raises ``Refused`` ``signature_required``,
    ``bad_signature``."""
    must_be_signed(state, uploaded.signature is not None)
    if uploaded.signature_key is not None and uploaded.signature_key not in state.keys:
        raise Refused("bad_signature", "the key that has signed the file is no key of the product any more")


def decide(state: Signing, command: SigningCommand) -> list[SigningEvent]:
    """What the command means now; an empty list if it changes nothing."""
    match command:
        case AddSigningKey(key):
            return _add(state, key)
        case RemoveSigningKey(product_id, key_id):
            if key_id not in state.keys:
                raise NotFound(NO_SUCH_KEY)
            if state.required and len(state.keys) == 1:
                reason = "it is the last key, and the product takes only signed firmware; add another, or give that up"
                raise Refused("signature_required", reason)
            return [SigningKeyRemoved(product_id, key_id)]
        case RequireSignatures(product_id, required):
            if required and not state.keys:
                raise Refused("no_signing_keys", "the product has no signing keys; nothing could be uploaded")
            return [] if required == state.required else [SignaturesRequired(product_id, required)]
        case _:
            assert_never(command)


def _add(state: Signing, key: SigningKeyAdded) -> list[SigningEvent]:
    known = state.keys.get(key.key_id)
    if known == (key.name, key.public_key):
        return []
    if known is not None:
        raise Refused("key_known", f"the product has this key already; it is called {known[0]!r}")
    if len(state.keys) >= MAX_KEYS:
        raise Refused("too_many_keys", f"a product has at most {MAX_KEYS} signing keys; remove one")
    return [key]


def evolve(state: Signing, event: SigningEvent) -> Signing:
    """What the event makes true."""
    match event:
        case SigningKeyAdded(_, key_id, name, public_key):
            return replace(state, keys={**state.keys, key_id: (name, public_key)})
        case SigningKeyRemoved(_, key_id):
            return replace(state, keys={one: kept for one, kept in state.keys.items() if one != key_id})
        case SignaturesRequired(_, required):
            return replace(state, required=required)
        case _:
            assert_never(event)
