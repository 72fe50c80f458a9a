from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec

from services.devices.imports import (
    IMPORT,
    Advance,
    CancelImport,
    Finish,
    Import,
    Outcome,
    StartImport,
    decide,
    evolve,
    stream_of,
)
from shared.blobs import open_blobs
from shared.context import Context
from shared.errors import Misuse, NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.devices import (
    DeviceImported,
    DeviceKeySet,
    ImportAdvanced,
    ImportCancelled,
    ImportFinished,
    ImportStarted,
)
from shared.streams import Streams

P = 1000
IMPORT_ID = "a" * 24
STARTED = ImportStarted(IMPORT_ID, P, "0" * 64, 100, 7, False)
KEY, OTHER_KEY = (
    b64encode(
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    for _ in range(2)
)


def ids(count: int, first: int = 0) -> list[str]:
    return [f"{number:024x}" for number in range(first, first + count)]


def wait_until_done(platform: Any, import_id: str) -> dict[str, Any]:
    platform.wait_for_event(f"import-{import_id}", ImportFinished)
    platform.after = platform.store.head()
    found: dict[str, Any] = platform.call("get_import", product_id=P, import_id=import_id)["import"]
    return found


def test_an_import_counts_on_from_chunk_to_chunk():
    state = evolve(Import(), STARTED)
    (first,) = decide(state, Advance(4, 60, Outcome(2, 1, (), 2)))
    (second,) = decide(evolve(state, first), Advance(7, 100, Outcome(1, 1, (), 1)))
    assert second == ImportAdvanced(IMPORT_ID, P, 100, 7, 3, 2, 0, [], 3, 0)
    state = evolve(evolve(state, first), second)
    assert decide(state, Advance(7, 100, Outcome(1, 1, ()))) == []
    assert decide(state, Finish()) == [ImportFinished(IMPORT_ID, P, 7, 3, 2, 0, 3)]
    assert decide(evolve(state, ImportFinished(IMPORT_ID, P, 7, 3, 2, 0, 3)), Finish()) == []


def test_an_import_is_cancelled_once_and_what_is_in_hand_still_counts():
    cancelled = evolve(evolve(Import(), STARTED), ImportCancelled(IMPORT_ID, P))
    assert decide(cancelled, CancelImport(P)) == []
    (advanced,) = decide(cancelled, Advance(4, 0, Outcome(4, 0, ()), ahead=4))
    assert isinstance(advanced, ImportAdvanced)
    (finished,) = decide(evolve(cancelled, advanced), Finish())
    assert finished == ImportFinished(IMPORT_ID, P, 4, 4, 0, 0, 0)
    done = evolve(evolve(cancelled, advanced), finished)
    assert decide(done, CancelImport(P)) == decide(done, Advance(7, 100, Outcome(3, 0, ()))) == []


def test_what_is_done_or_somebody_elses_is_not_cancelled():
    started = evolve(Import(), STARTED)
    for state, product_id in ((Import(), P), (started, P + 1)):
        with pytest.raises(NotFound):
            decide(state, CancelImport(product_id))
    with pytest.raises(Refused) as refusal:
        decide(evolve(started, ImportFinished(IMPORT_ID, P, 7, 7, 0, 0, 0)), CancelImport(P))
    assert refusal.value.code == "import_done"


def test_an_import_begins_once_and_before_anything_else():
    start = StartImport(IMPORT_ID, P, "0" * 64, 100, 7, False)
    assert decide(Import(), start) == [STARTED]
    assert decide(evolve(Import(), STARTED), start) == []
    with pytest.raises(Misuse):
        decide(Import(), Finish())


def test_a_file_of_too_many_lines_is_refused():
    assert decide(Import(), StartImport(IMPORT_ID, P, "0" * 64, 100, 10_000_000, False))
    with pytest.raises(Refused) as refusal:
        decide(Import(), StartImport(IMPORT_ID, P, "0" * 64, 100, 10_000_001, False))
    assert refusal.value.code == "too_large"


def test_a_file_is_imported_as_a_job_that_can_be_watched(platform: Any):  # DEV-1
    lines = [*ids(1_100), "", "nope", ids(1)[0].upper(), *(f"bad {number}" for number in range(1_200))]
    data = ("\ufeff" + "\r\n".join(lines)).encode()
    blob = open_blobs(platform.settings.blobs).put([data])
    arguments = {"product_id": P, "blob": blob.sha256, "size_bytes": blob.size_bytes, "force": False}
    started = platform.call("start_import", **arguments)["import"]
    counts = {"lines_done": 0, "updated": 0, "existing": 0, "refused": 0, "keys_set": 0}
    known = {"id": started["id"], "lines_total": 2_303, "force": False, "started_at": started["started_at"]}
    assert started == {**known, "state": "running", **counts, "updated_at": started["started_at"]}
    done = wait_until_done(platform, started["id"])
    counts = {"lines_done": 2_303, "updated": 1_100, "existing": 0, "refused": 1_201, "keys_set": 0}
    assert done == {**known, "state": "done", **counts, "updated_at": done["updated_at"]}
    assert platform.call("statistics", product_id=P)["devices"]["total"] == 1_100
    listed = platform.call("list_imports", product_id=P, page=1, per_page=10)
    assert listed == {"imports": [done], "meta": {"page": 1, "per_page": 10, "total": 1, "total_pages": 1}}
    assert platform.call("list_imports", product_id=2000)["imports"] == []
    problems: list[dict[str, Any]] = []
    for page in range(1, 6):
        answer = platform.call("import_problems", product_id=P, import_id=started["id"], page=page, per_page=300)
        assert answer["meta"] == {"page": page, "per_page": 300, "total": 1_201, "total_pages": 5}
        problems += answer["problems"]
    assert [problem["line"] for problem in problems] == [1_102, *range(1_104, 2_304)]
    assert problems[0] == {
        "line": 1_102,
        "text": "nope",
        "code": "malformed",
        "reason": "line 1102: a device ID has 24 hex digits",
    }


def import_file(platform: Any, *lines: str) -> dict[str, Any]:
    blob = open_blobs(platform.settings.blobs).put(["\n".join(lines).encode()])
    arguments = {"product_id": P, "blob": blob.sha256, "size_bytes": blob.size_bytes, "force": False}
    return wait_until_done(platform, platform.call("start_import", **arguments)["import"]["id"])


def test_a_file_brings_keys_and_another_replaces_them(lasting_platform: Any):
    a, b, c = ids(3, 10)
    counts = ("updated", "existing", "refused", "keys_set")

    def counted(*lines: str) -> tuple[int, ...]:
        job = import_file(lasting_platform, *lines)
        return tuple(job[name] for name in counts)

    assert counted(f"{a},{KEY}", b, f"{c};{KEY[:-8]}", f"{c}\t{OTHER_KEY}") == (3, 0, 1, 2)
    assert counted(f"{a},{KEY}", b, c) == (0, 3, 0, 0)
    assert counted(f"{a},{OTHER_KEY}", f"{b} {KEY}") == (0, 2, 0, 2)
    told = [CONTRACTS.decode(event) for event in lasting_platform.store.read(f"device-{a}")]
    assert told == [
        DeviceImported(a, P, False),
        DeviceKeySet(a, P, "ecc", KEY, False),
        DeviceKeySet(a, P, "ecc", OTHER_KEY, False),
    ]


def test_of_several_keys_of_a_device_the_last_counts(lasting_platform: Any):
    (a,) = ids(1, 20)
    assert import_file(lasting_platform, f"{a},{KEY}", f"{a},{OTHER_KEY}", a, f"{a},no key")["keys_set"] == 1
    told = [CONTRACTS.decode(event) for event in lasting_platform.store.read(f"device-{a}")]
    assert told == [DeviceImported(a, P, False), DeviceKeySet(a, P, "ecc", OTHER_KEY, False)]


def test_an_import_of_another_product_is_not_found(lasting_platform: Any):
    blob = open_blobs(lasting_platform.settings.blobs).put([b"\n".join(map(str.encode, ids(3)))])
    arguments = {"product_id": P, "blob": blob.sha256, "size_bytes": blob.size_bytes, "force": True}
    started = lasting_platform.call("start_import", **arguments)["import"]
    for product_id, import_id in ((2000, started["id"]), (P, "0" * 24)):
        with pytest.raises(NotFound, match="Import not found"):
            lasting_platform.call("get_import", product_id=product_id, import_id=import_id)
        with pytest.raises(NotFound, match="Import not found"):
            lasting_platform.call("import_problems", product_id=product_id, import_id=import_id, page=1, per_page=10)


@pytest.mark.parametrize(("data", "size_bytes"), [(b" \r\n\n", 4), (b"\xef\xbb\xbf\n", 4), (b"x", 2)])
def test_a_file_without_ids_or_not_stored_in_full_is_refused(lasting_platform: Any, data: bytes, size_bytes: int):
    blob = open_blobs(lasting_platform.settings.blobs).put([data])
    with pytest.raises(Refused) as refusal:
        lasting_platform.call("start_import", product_id=P, blob=blob.sha256, size_bytes=size_bytes, force=False)
    assert refusal.value.code == "invalid_request"


def test_an_import_whose_file_is_lost_keeps_no_other_from_its_end(lasting_platform: Any):
    lasting_platform.record("import-" + "b" * 24, ImportStarted("b" * 24, P, "0" * 64, 10, 1, False))
    blob = open_blobs(lasting_platform.settings.blobs).put([ids(1, 40)[0].encode()])
    started = lasting_platform.call("start_import", product_id=P, blob=blob.sha256, size_bytes=24, force=False)[
        "import"
    ]
    assert wait_until_done(lasting_platform, started["id"])["updated"] == 1
    assert lasting_platform.call("get_import", product_id=P, import_id="b" * 24)["import"]["state"] == "running"
    lasting_platform.call("cancel_import", product_id=P, import_id="b" * 24)
    assert wait_until_done(lasting_platform, "b" * 24)["state"] == "cancelled"


def test_an_import_goes_on_after_a_restart(platform: Any):
    platform.runtime.stop()
    blob = open_blobs(platform.settings.blobs).put(["\n".join(ids(50)).encode()])
    start = StartImport(IMPORT_ID, P, blob.sha256, blob.size_bytes, 50, False)
    Streams(platform.store, CONTRACTS).handle(
        IMPORT, stream_of(IMPORT_ID), start, Context.new("account:tester", "tests")
    )
    platform.restart()
    assert wait_until_done(platform, IMPORT_ID)["updated"] == 50
