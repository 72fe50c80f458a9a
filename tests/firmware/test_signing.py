"""What is decided about the keys of a product."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import msgspec
import pytest

from services.firmware.signing import MAX_KEYS, AddSigningKey, RemoveSigningKey, RequireSignatures
from services.firmware.versions import VERSIONS, Command, Event, UploadVersion, Versions
from shared.errors import NotFound, Refused
from shared.events.firmware import SignaturesRequired, SigningKeyAdded, SigningKeyRemoved, VersionUploaded

A, B = "a" * 16, "b" * 16
VERSION = VersionUploaded(1000, 7, "seven", "", "k.bin", 5, "0" * 64, "anna@example.com", "a" * 24)


def key(key_id: str = A, name: str = "build") -> SigningKeyAdded:
    return SigningKeyAdded(1000, key_id, name, "A" * 43 + "=")


def after(*events: Event) -> Versions:
    return reduce(VERSIONS.evolve, events, VERSIONS.initial)


def code(state: Versions, command: Command) -> str:
    with pytest.raises(Refused) as refusal:
        VERSIONS.decide(state, command)
    return refusal.value.code


def test_a_key_is_added_once():
    assert VERSIONS.decide(after(), AddSigningKey(key())) == [key()]
    assert VERSIONS.decide(after(key()), AddSigningKey(key())) == []
    assert code(after(key()), AddSigningKey(key(name="another"))) == "key_known"


def test_a_product_has_a_bounded_number_of_keys():
    full = after(*(key(f"{number:016x}") for number in range(MAX_KEYS)))
    assert code(full, AddSigningKey(key())) == "too_many_keys"


def test_signatures_are_required_only_where_there_is_a_key():
    assert code(after(), RequireSignatures(1000, True)) == "no_signing_keys"
    assert VERSIONS.decide(after(key()), RequireSignatures(1000, True)) == [SignaturesRequired(1000, True)]
    required = after(key(), SignaturesRequired(1000, True))
    assert VERSIONS.decide(required, RequireSignatures(1000, True)) == []
    assert VERSIONS.decide(required, RequireSignatures(1000, False)) == [SignaturesRequired(1000, False)]


def test_the_last_key_stays_while_signatures_are_required():
    required = after(key(), key(B), SignaturesRequired(1000, True))
    removed = SigningKeyRemoved(1000, B)
    assert VERSIONS.decide(required, RemoveSigningKey(1000, B)) == [removed]
    assert code(VERSIONS.evolve(required, removed), RemoveSigningKey(1000, A)) == "signature_required"
    assert VERSIONS.decide(after(key()), RemoveSigningKey(1000, A)) == [SigningKeyRemoved(1000, A)]
    with pytest.raises(NotFound):
        VERSIONS.decide(required, RemoveSigningKey(1000, "c" * 16))


def test_an_upload_is_judged_by_the_keys_of_this_moment():
    signed = msgspec.structs.replace(VERSION, signature="0" * 128, signature_key=A)
    required = after(key(), SignaturesRequired(1000, True))
    assert code(required, UploadVersion(VERSION)) == "signature_required"
    assert VERSIONS.decide(required, UploadVersion(signed)) == [signed]
    assert code(after(key(B)), UploadVersion(signed)) == "bad_signature"  # removed while the file was looked at
    assert VERSIONS.decide(after(key()), UploadVersion(VERSION)) == [VERSION]


def test_a_removed_key_leaves_what_it_signed():
    signed = msgspec.structs.replace(VERSION, signature="0" * 128, signature_key=A)
    state = after(key(), signed, SigningKeyRemoved(1000, A))
    assert state == replace(after(signed), signing=state.signing)
    assert state.signing.keys == {}
