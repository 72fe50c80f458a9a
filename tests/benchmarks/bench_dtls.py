"""CPU of DTLS handshakes and records in the server, against the same primitives alone in the same run.

Handshake: both ClientHellos and the device's flight through an ``Endpoint``, without sockets; the reference is one
key generation, key agreement, signature and verification. Record: ``Endpoint.receive`` and ``Endpoint.send`` of a
64-byte message; the reference is AES-CCM alone. Garbage: what an endpoint spends on a datagram that is none of its,
and memory a session. Shown, not asserted; the goal for handshakes is 1.5 x the primitives.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from time import process_time

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from rich.console import Console
from rich.table import Table

from services.gateway.devices.particle.dtls import p256
from services.gateway.devices.particle.dtls.client import NEW, OLD, DeviceClient, Firmware
from services.gateway.devices.particle.dtls.endpoint import Endpoint
from services.gateway.devices.particle.dtls.entropy import SystemSource
from services.gateway.devices.particle.dtls.events import Established
from services.gateway.devices.particle.dtls.limits import DtlsLimits
from services.gateway.devices.particle.dtls.records import encode, number_of
from services.gateway.devices.particle.dtls.session import Session

ROUNDS = 5
HANDSHAKES = 400
RECORDS = 10_000
SERVER_KEY = ec.generate_private_key(ec.SECP256R1())
DEVICE_KEY = ec.generate_private_key(ec.SECP256R1())
UNLIMITED = DtlsLimits(
    handshakes=1 << 30, handshakes_per_host=1 << 30, handshakes_per_s=1 << 30, handshakes_per_host_per_s=1 << 30
)
POINT = p256.point_of(DEVICE_KEY)
SIGNATURE = p256.sign_digest(DEVICE_KEY, bytes(32))
HOME = ("192.0.2.7", 5_684)
CONTENT = bytes(64)


def best(measure: Callable[[], float]) -> float:
    """The least of some rounds: microseconds."""
    return 1e6 * min(measure() for _ in range(ROUNDS))


def timed(work: Callable[[], object], times: int) -> float:
    """CPU seconds of one."""
    started = process_time()
    for _ in range(times):
        work()
    return (process_time() - started) / times


def new_endpoint() -> Endpoint:
    return Endpoint(SERVER_KEY, SystemSource(), 0.0, limits=UNLIMITED)


def new_device(firmware: Firmware) -> DeviceClient:
    key = p256.public_key_of(SERVER_KEY)
    return DeviceClient(DEVICE_KEY, key, SystemSource(), device_id=bytes(12), firmware=firmware)


def handshake(endpoint: Endpoint, firmware: Firmware, address: tuple[str, int]) -> tuple[DeviceClient, Session, float]:
    """Device, session, and the CPU seconds of the endpoint alone."""
    device = new_device(firmware)
    pending, spent = device.connect(0.0), 0.0
    session: Session | None = None
    while pending:
        started = process_time()
        outputs = [endpoint.receive(datagram, address, 0.0) for datagram in pending]
        spent += process_time() - started
        answers = [datagram for output in outputs for datagram, _ in output.datagrams]
        for output in outputs:
            for event in output.events:
                if isinstance(event, Established):
                    session = event.session
        pending = [datagram for answer in answers for datagram in device.receive(answer, 0.0).datagrams]
    assert session is not None
    return device, session, spent


def primitives() -> None:
    """What the server's part of a handshake must calculate."""
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    p256.sign(SERVER_KEY, CONTENT)
    peer, certificate = p256.load_point(POINT), p256.load_point(POINT)
    assert peer is not None
    assert certificate is not None
    assert p256.is_digest_signed(certificate, SIGNATURE, bytes(32))
    p256.shared_secret(ephemeral, peer)


def handshakes(firmware: Firmware) -> tuple[float, float]:
    """CPU seconds of one, and of its primitives alone, in turn, so that both find the caches equally cold."""
    endpoint = new_endpoint()
    spent = reference = 0.0
    for port in range(HANDSHAKES):
        spent += handshake(endpoint, firmware, (HOME[0], port))[2]
        reference += timed(primitives, 1)
    return spent / HANDSHAKES, reference / HANDSHAKES


def records(firmware: Firmware) -> tuple[float, float]:
    """CPU seconds of receiving and of sending one."""
    endpoint = new_endpoint()
    device, session, _ = handshake(endpoint, firmware, HOME)
    incoming = iter([device.seal(CONTENT) for _ in range(RECORDS)])
    opened = timed(lambda: endpoint.receive(next(incoming), HOME, 0.0), RECORDS)
    return opened, timed(lambda: endpoint.send(session, CONTENT), RECORDS)


def ccm() -> tuple[float, float]:
    """CPU seconds of opening and of sealing with the cipher alone."""
    cipher, nonce, aad = AESCCM(bytes(16), 8), bytes(12), bytes(13)
    sealed = cipher.encrypt(nonce, CONTENT, aad)
    opened = timed(lambda: cipher.decrypt(nonce, sealed, aad), RECORDS)
    return opened, timed(lambda: cipher.encrypt(nonce, CONTENT, aad), RECORDS)


def refused(datagram: bytes) -> float:
    """CPU seconds of a datagram that is refused, beside one session."""
    endpoint = new_endpoint()
    handshake(endpoint, OLD, HOME)
    return timed(lambda: endpoint.receive(datagram, HOME, 0.0), RECORDS)


def session_bytes(firmware: Firmware) -> float:
    """Memory of a session, without what OpenSSL holds."""
    endpoint = new_endpoint()
    handshake(endpoint, firmware, HOME)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for port in range(HANDSHAKES):
        device, session, _ = handshake(endpoint, firmware, ("192.0.2.8", port))
        endpoint.bind(session, port.to_bytes(12, "big"))
        endpoint.receive(device.seal(CONTENT), ("192.0.2.8", port), 0.0)
    del device, session
    endpoint.tick(1e6)
    assert len(endpoint) == HANDSHAKES
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return grown / HANDSHAKES


def main() -> None:
    table = Table("what", "CPU µs", "reference µs", "ratio", title="DTLS, server side")
    for name, firmware in (("2.x", OLD), ("3.x", NEW)):
        spent, reference = (1e6 * least for least in min(handshakes(firmware) for _ in range(ROUNDS)))
        table.add_row(f"handshake, firmware {name}", f"{spent:.0f}", f"{reference:.0f}", f"{spent / reference:.2f}")
    alone = [best(lambda at=at: ccm()[at]) for at in (0, 1)]  # type: ignore[misc]
    for name, firmware in (("2.x", OLD), ("3.x", NEW)):
        for at, what in enumerate(("received", "sent")):
            spent = best(lambda firmware=firmware, at=at: records(firmware)[at])  # type: ignore[misc]
            row = f"{spent:.1f}", f"{alone[at]:.1f}", f"{spent / alone[at]:.1f}"
            table.add_row(f"record {what}, firmware {name}", *row)
    number = number_of(1, 99)
    (hello,) = new_device(OLD).connect(0.0)
    for name, datagram in (
        ("random bytes", bytes(range(100))),
        ("record of an unknown session", encode(23, number, number + bytes(40))),
        ("forged record of a session", encode(23, number, number + bytes(72))),
        ("hello without cookie, answered", hello),
    ):
        table.add_row(name, f"{best(lambda datagram=datagram: refused(datagram)):.1f}", "", "")  # type: ignore[misc]
    console = Console()
    console.print(table)
    for name, firmware in (("2.x", OLD), ("3.x", NEW)):
        console.print(f"memory a session, firmware {name}: {session_bytes(firmware):.0f} bytes (with 400 of them)")


if __name__ == "__main__":
    main()
