"""A small, real SMTP server on loopback: EHLO, STARTTLS, AUTH PLAIN, one mail after the other."""

import base64
import email
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import NamedTuple


class Mail(NamedTuple):
    """A mail that was taken."""

    recipients: list[str]
    login: str
    was_encrypted: bool
    message: EmailMessage


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail for all recipients but `refused`; with `is_failing`, none at all."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, certificate: Path | None, key: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate, key)
        self.mails: list[Mail] = []
        self.refused: set[str] = set()
        self.is_failing = False

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextmanager
def mail_server(certificate: Path | None = None, key: Path | None = None) -> Iterator[MailServer]:
    """Serve for the length of the block; with a certificate, STARTTLS is offered."""
    with MailServer(certificate, key) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._recipients: list[str] = []
        self._login, self._is_encrypted = "", False
        self._say("220 mail.test ESMTP")
        try:
            while line := self.rfile.readline().decode().strip():
                if not self._answer(line):
                    return
        except OSError:
            return  # the client has gone

    def _answer(self, line: str) -> bool:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO":
                offers = ["STARTTLS"] if self.server.context and not self._is_encrypted else ["AUTH PLAIN"]
                self._say("250-mail.test", *(f"250 {one}" for one in offers))
            case "STARTTLS":
                self._start_tls()
            case "AUTH":
                self._login = base64.b64decode(rest.partition(" ")[2]).decode().replace("\0", "|")
                self._say("235 welcome")
            case "MAIL":
                self._recipients = []
                self._say("451 not now" if self.server.is_failing else "250 ok")
            case "RCPT":
                mailbox = rest[rest.index("<") + 1 : rest.index(">")]
                is_refused = mailbox in self.server.refused
                self._recipients += [] if is_refused else [mailbox]
                self._say("550 no such mailbox" if is_refused else "250 ok")
            case "DATA":
                self._take()
            case "QUIT":
                self._say("221 bye")
                return False
            case _:
                self._say("250 ok")
        return True

    def _start_tls(self) -> None:
        assert self.server.context is not None
        self._say("220 go ahead")
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
        self._is_encrypted = True

    def _take(self) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line)
        message = email.message_from_bytes(b"".join(lines), policy=default)
        self.server.mails.append(Mail(self._recipients, self._login, self._is_encrypted, message))
        self._say("250 taken")

    def _say(self, *lines: str) -> None:
        for line in lines:
            self.wfile.write(f"{line}\r\n".encode())

    def finish(self) -> None:
        """Close the connection, which may be another one since TLS."""
        self.rfile.close()
        self.wfile.close()
        self.connection.close()
