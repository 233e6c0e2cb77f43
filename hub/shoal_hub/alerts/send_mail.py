"""Mail: one message to all recipients, by SMTP with TLS (RFC 3207, RFC 8314)."""

import smtplib
import socket
import ssl
from contextlib import closing
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from shoal_hub.alerts.errors import DeliveryError
from shoal_hub.alerts.messages import AlertMessage
from shoal_hub.alerts.reach import Reach, connected
from shoal_hub.alerts.send_http import IDEMPOTENCY_KEY
from shoal_hub.alerts.targets import EmailTarget


def send_mail(target: EmailTarget, key: str, message: AlertMessage, reach: Reach, timeout_s: float) -> str:
    """Send a message by mail; its Message-ID is made of the key, by which mail programs know a repetition.

    Returns:
        What a person should know although it was sent: recipients that the server refused while it took it for others,
        who would get it again with each further try.

    Raises:
        DeliveryError: The server has taken it for nobody.
    """
    mail = compose(target, key, message)
    with connected(target.host, target.port, reach, timeout_s) as opened:
        try:
            refused = _hand_over(target, mail, opened, timeout_s)
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(f"{target.host} has refused the mail with {error.smtp_code}") from error
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(f"handing a mail to {target.host}: {type(error).__name__}") from error
    return f"{target.host} has refused {refused} of {len(target.to)} recipients" if refused else ""


def compose(target: EmailTarget, key: str, message: AlertMessage) -> EmailMessage:
    """Return the mail."""
    mail = EmailMessage()
    mail["From"] = target.sender
    mail["To"] = ", ".join(target.to)
    mail["Subject"] = " ".join(message.title.split())
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = f"<{key}@{target.sender.rpartition('@')[2]}>"
    mail[IDEMPOTENCY_KEY] = key
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers
    mail.set_content(f"{message.title}\n\n{message.text}\n")
    return mail


def _hand_over(target: EmailTarget, mail: EmailMessage, opened: socket.socket, timeout_s: float) -> int:
    """Return how many recipients were refused, of which not all were."""
    context = ssl.create_default_context()
    if target.security == "tls":
        opened = context.wrap_socket(opened, server_hostname=target.host)
    with closing(_Connected(target.host, target.port, opened, timeout_s)) as server:  # without QUIT: DATA was the end
        if target.security == "starttls":
            server.starttls(context=context)
        if target.username:
            server.login(target.username, target.password.get_secret_value())
        return len(server.send_message(mail, target.sender, target.to))


class _Connected(smtplib.SMTP):
    """Speaks SMTP over a connection that stands; the name is what its certificate is checked for."""

    def __init__(self, host: str, port: int, opened: socket.socket, timeout_s: float) -> None:
        self._opened = opened
        super().__init__(host, port, timeout=timeout_s)

    def _get_socket(self, host: Any, port: Any, timeout: Any) -> socket.socket:  # noqa: ANN401, ARG002 - smtplib's
        return self._opened
