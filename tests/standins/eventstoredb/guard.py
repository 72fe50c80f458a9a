"""TLS with a throw-away CA, and users with passwords: what a server that is not insecure asks of its clients."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Authority:
    """A certificate authority that lives as long as a test; ``file`` is its certificate, PEM."""

    def __init__(self, folder: Path, name: str = "throw-away") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))

    def issue(self, host: str) -> tuple[bytes, bytes]:
        """Private key and certificate of a server at an IP address, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "eventstoredb-node")])
        certificate = _builder(subject, self._name, key.public_key()).add_extension(names, critical=False)
        kind = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return key.private_bytes(serialization.Encoding.PEM, *kind), _pem(certificate.sign(self._key, hashes.SHA256()))


@dataclass(frozen=True)
class Secured:
    """``users``: passwords by name."""

    authority: Authority
    users: dict[str, str]

    def credentials(self, host: str) -> grpc.ServerCredentials:
        """Of a server at this address."""
        return grpc.ssl_server_credentials([self.authority.issue(host)])

    def interceptor(self) -> grpc.ServerInterceptor:
        """Lets in who shows the password of a user."""
        return _Doorkeeper(self.users)


class _Doorkeeper(grpc.ServerInterceptor):  # type: ignore[misc]
    def __init__(self, users: dict[str, str]) -> None:
        pairs = (f"{name}:{password}".encode() for name, password in users.items())
        self._known = {f"Basic {base64.b64encode(pair).decode()}" for pair in pairs}

    def intercept_service(self, continuation: Callable[[Any], Any], call: Any) -> Any:
        """See ``grpc.ServerInterceptor``."""
        if dict(call.invocation_metadata).get("authorization") in self._known:
            return continuation(call)
        handler = continuation(call)
        is_stream = handler.response_streaming
        refusing = (grpc.unary_stream_rpc_method_handler, grpc.stream_stream_rpc_method_handler)
        plain = (grpc.unary_unary_rpc_method_handler, grpc.stream_unary_rpc_method_handler)
        make = (refusing if is_stream else plain)[1 if handler.request_streaming else 0]
        return make(_refuse, handler.request_deserializer, handler.response_serializer)


def _refuse(_request: object, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated")


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - DAY).not_valid_after(now + DAY)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
