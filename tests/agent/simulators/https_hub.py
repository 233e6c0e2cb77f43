"""A hub's enrolment routes over HTTPS with a CA of the test's own, and what somebody in between could answer."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.agent.simulators.director import DEVICE
from tests.simulators.tuf_repository import TufRepository

from shoal_contract.device_signature import device_key_id
from shoal_contract.enrolment import EnrolmentPending, EnrolmentResponse, RenewalRequest, RenewalResponse
from shoal_contract.envelope import RENEWAL_TYPE, verify

SECRET = "s" * 40


class Authority:
    """A certificate authority and its server certificate for 127.0.0.1."""

    def __init__(self, name: str = "hub", valid: tuple[datetime, datetime] | None = None) -> None:
        now = datetime.now(timezone.utc)
        self._valid = valid or (now - timedelta(hours=1), now + timedelta(hours=1))
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def token(self) -> str:
        return f"shoal1.{self.certificate.fingerprint(hashes.SHA256()).hex()}.{SECRET}"

    def issue(self, public_key: Any, name: str) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        return self._builder(subject, public_key).add_extension(names, critical=False).sign(self._key, hashes.SHA256())

    def server_context(self, folder: Path) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        certificate = self.issue(key.public_key(), "127.0.0.1").public_bytes(serialization.Encoding.PEM)
        path = folder / f"{self._name.rfc4514_string()}.pem"
        path.write_bytes(pem + certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _builder(self, subject: x509.Name, public_key: Any) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(public_key)
        times = builder.not_valid_before(self._valid[0]).not_valid_after(self._valid[1])
        return times.serial_number(x509.random_serial_number())


@dataclass
class HttpsHub:
    """Answers `GET ca.pem`, `POST enrol` and `POST renew`; keeps what it was asked.

    `looks` is how often it lets a device wait for an operator; `clock_s` how far its clock is ahead.
    """

    authority: Authority
    ca_pem: str
    url: str = ""
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refusal: tuple[int, bytes] | None = None
    answer: bytes | None = None
    looks: int = 0
    clock_s: float = 0.0
    keys: dict[str, ec.EllipticCurvePublicKey] = field(default_factory=dict)
    trust_root: str = field(default_factory=TufRepository().trust_root.decode)

    @property
    def now(self) -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=self.clock_s)

    def reply(self, path: str, body: bytes) -> tuple[int, bytes]:
        return self.renew(body) if path.endswith("/renew") else self.enrol(json.loads(body))

    def renew(self, body: bytes) -> tuple[int, bytes]:
        """Give a certificate for the next key to who signs with a key that is known."""
        if self.refusal is not None:
            return self.refusal
        if self.answer is not None:
            return 200, self.answer
        request = RenewalRequest.model_validate_json(verify(body, RENEWAL_TYPE, self.keys, 16_384).payload)
        if abs((request.at - self.now).total_seconds()) > 60:
            error = {"code": "clock", "message": "another time", "remedy": "sign again"}
            return 409, json.dumps({"error": error}).encode()
        pem = self._issue(request.csr_pem)
        return 200, RenewalResponse(certificate_pem=pem, ca_pem=self.authority.pem).to_bytes()

    def _issue(self, csr_pem: str) -> str:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        key = csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.keys[device_key_id(key)] = key
        return self.authority.issue(key, DEVICE).public_bytes(serialization.Encoding.PEM).decode()

    def enrol(self, body: dict[str, Any]) -> tuple[int, bytes]:
        if self.refusal is not None:
            return self.refusal
        if self.answer is not None:
            return 200, self.answer
        if self.looks > 0:
            self.looks -= 1
            key = x509.load_pem_x509_csr(body["csr_pem"].encode()).public_key()
            assert isinstance(key, ec.EllipticCurvePublicKey)
            return 202, EnrolmentPending(key_sha256=device_key_id(key), retry_after_s=1).to_bytes()
        response = EnrolmentResponse(
            device_id=DEVICE,
            certificate_pem=self._issue(body["csr_pem"]),
            ca_pem=self.authority.pem,
            broker_host="127.0.0.1",
            broker_port=8883,
            api_url=self.url,
            trust_root=self.trust_root,
        )
        return 200, response.to_bytes()


@contextmanager
def https_hub(folder: Path, authority: Authority, ca_pem: str | None = None) -> Iterator[HttpsHub]:
    """Serve for the length of the block; `ca_pem` is what it says its CA is, by default the truth."""
    hub = HttpsHub(authority, ca_pem or authority.pem)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.requests.append((self.path, {}))
            self._answer(200, hub.ca_pem.encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hub.requests.append((self.path, json.loads(body)))
            self._answer(*hub.reply(self.path, body))

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002
            return format_datetime(hub.now, usegmt=True)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = authority.server_context(folder).wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust us hangs up
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    hub.url = f"https://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
