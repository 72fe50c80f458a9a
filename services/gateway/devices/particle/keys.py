"""Keys of servers and devices (protocol section 1): which can work, as PEM and DER; the block for a device's flash.

What a person hands in and is not such a key is ``Refused``; of devices' keys ``shared.device_keys`` decides that.
"""

from __future__ import annotations

import hashlib
import ipaddress

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from shared.device_keys import RSA_BITS, RSA_EXPONENT, parse_public_key
from shared.errors import Misuse, Refused

SERVER_RSA_BITS = 2_048
DEVICE_RSA_BITS = RSA_BITS
MAX_ADDRESS_BYTES = 64
TCP_ADDRESS_OFFSET = 384
UDP_ADDRESS_OFFSET = 192
_IPV4, _DOMAIN, _NONE = b"\x00", b"\x01", b"\xff"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def new_rsa(bits: int = SERVER_RSA_BITS) -> rsa.RSAPrivateKey:
    """A new key for TCP: of a server, or with ``DEVICE_RSA_BITS`` of a simulated device."""
    return rsa.generate_private_key(RSA_EXPONENT, bits)


def new_ec() -> ec.EllipticCurvePrivateKey:
    """A new key for UDP, of a server or of a simulated device."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: PrivateKey) -> str:
    """The private key as unencrypted PKCS#8, to be written where only the gateway can read it."""
    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()


def public_pem(key: PublicKey) -> str:
    """The public key as people and tools exchange it."""
    return key.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()


def public_der(key: PublicKey) -> bytes:
    """The public key as devices hold and show it."""
    return key.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)


def server_rsa(pem: str) -> rsa.RSAPrivateKey:
    """The server's key for TCP; devices can work with no other size or exponent."""
    key = _private(pem)
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != SERVER_RSA_BITS:
        raise _refused("unfit_server_key", f"the server's key for TCP has to be RSA with {SERVER_RSA_BITS} bits")
    if key.public_key().public_numbers().e != RSA_EXPONENT:
        raise _refused("unfit_server_key", f"the server's key for TCP has to have the exponent {RSA_EXPONENT}")
    return key


def server_ec(pem: str) -> ec.EllipticCurvePrivateKey:
    """The server's key for UDP."""
    key = _private(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _refused("unfit_server_key", "the server's key for UDP has to be of the curve P-256 (secp256r1)")
    return key


def _private(pem: str) -> object:
    try:
        return s.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _refused("unreadable_key", "this is not an unencrypted private key in PEM") from None


def device_rsa(key: bytes | str) -> rsa.RSAPublicKey:
    """The public key of a device on TCP, from what ``parse_public_key`` takes."""
    found = s.load_der_public_key(parse_public_key(key)[1])
    if not isinstance(found, rsa.RSAPublicKey):
        raise _refused("invalid_key", "a device on TCP has an RSA key; this is one for UDP")
    return found


def device_ec(key: bytes | str) -> ec.EllipticCurvePublicKey:
    """The public key of a device on UDP, from what ``parse_public_key`` takes."""
    found = s.load_der_public_key(parse_public_key(key)[1])
    if not isinstance(found, ec.EllipticCurvePublicKey):
        raise _refused("invalid_key", "a device on UDP has a key of the curve P-256; this is one for TCP")
    return found


def _refused(code: str, reason: str) -> Refused:
    return Refused(code, reason)


def nobodys_rsa(secret: bytes, device_id: str) -> bytes:
    """DER of a key that nobody holds, always the same for one device ID: what is sealed with it looks as if sealed with
    a key on record."""
    drawn = int.from_bytes(hashlib.shake_256(secret + device_id.encode()).digest(DEVICE_RSA_BITS // 8), "big")
    modulus = drawn | 1 << DEVICE_RSA_BITS - 1 | 1
    return public_der(rsa.RSAPublicNumbers(RSA_EXPONENT, modulus).public_key())


def server_block(key: PublicKey, address: str | None = None, port: int | None = None) -> bytes:
    """What is flashed into a device so that it talks to this server: up to and including the port, 452 or 260 bytes.

    ``address`` is an IPv4 address or a domain name, in which ``$id`` stands for the device id on UDP; without one the
    device uses the name that is built into it, without ``port`` the default.
    """
    offset = TCP_ADDRESS_OFFSET if isinstance(key, rsa.RSAPublicKey) else UDP_ADDRESS_OFFSET
    if port is not None and not 0 < port < 0xFFFF:
        raise Refused("bad_port", f"{port} is no port that a device can be told")
    der = public_der(key)
    if len(der) > offset:
        raise Misuse(f"a key of {len(der)} bytes does not fit")
    port_field = b"\xff\xff" if port is None else port.to_bytes(2, "big")
    return der.ljust(offset, b"\xff") + _address(address).ljust(2 + MAX_ADDRESS_BYTES, b"\xff") + port_field


def _address(address: str | None) -> bytes:
    if address is None:
        return _NONE
    try:
        return _IPV4 + b"\x04" + ipaddress.IPv4Address(address).packed
    except ValueError:
        name = address.encode()
    if not 0 < len(name) <= MAX_ADDRESS_BYTES or not address.isascii():
        raise Refused("bad_address", f"{address!r} is neither an IPv4 address nor a name of at most 64 ASCII letters")
    return _DOMAIN + bytes((len(name),)) + name
