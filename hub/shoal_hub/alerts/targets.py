"""Where a channel leads: its kind, its address and its secrets. Pure; what may be shown of it is said here, too."""

import json
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from shoal_contract import topics
from shoal_contract.ids import Host
from shoal_hub.settings import is_safe_url

Url = Annotated[SecretStr, Field(min_length=8, max_length=2048)]
MailAddress = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}$")]
"""One mailbox, as SMTP commands and headers take it: no line break, comma or bracket gets into either."""


class _Target(BaseModel):
    """What all targets have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _UrlTarget(_Target):
    url: Url
    """https://…; http:// only to this machine, where the hub's settings let alerts go there."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, given: SecretStr) -> SecretStr:
        text = given.get_secret_value()
        if not is_safe_url(text) or not text.isascii() or not text.isprintable() or " " in text:
            msg = "an https address is needed"
            raise ValueError(msg)
        try:
            has_password = urlsplit(text).port == 0 or "@" in urlsplit(text).netloc
        except ValueError as error:
            msg = "the address has no valid port"
            raise ValueError(msg) from error
        if has_password:
            msg = "an address with a port other than 0, and without user and password, is needed"
            raise ValueError(msg)
        return given

    @property
    def address(self) -> str:
        """The host; the path may be the secret."""
        return f"{urlsplit(self.url.get_secret_value()).hostname}"


class WebhookTarget(_UrlTarget):
    """A program of one's own that gets each message as JSON, signed."""

    kind: Literal["webhook"] = "webhook"
    secret: Annotated[SecretStr, Field(min_length=16, max_length=256)]
    """The key of the HMAC-SHA256 that signs what is sent."""


class SlackTarget(_UrlTarget):
    """An incoming webhook of Slack, or of what takes the same: Mattermost, Rocket.Chat, Discord's /slack."""

    kind: Literal["slack"] = "slack"


class EmailTarget(_Target):
    """Mail by an SMTP server; never without TLS, but to this machine."""

    kind: Literal["email"] = "email"
    host: Host
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`none` is for a server on this machine."""
    sender: MailAddress
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1, max_length=50)]
    username: Annotated[str, Field(max_length=256)] = ""
    password: Annotated[SecretStr, Field(max_length=256)] = SecretStr("")

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        if self.security == "none" and (self.host not in {"localhost", "127.0.0.1", "::1"} or self.username):
            msg = "without TLS, mail goes to this machine only, and without a password"
            raise ValueError(msg)
        return self

    @property
    def address(self) -> str:
        """The recipients and the server."""
        return f"{', '.join(self.to)} by {self.host}:{self.port}"[:500]


class MqttTarget(_Target):
    """A topic of the hub's broker, `shoal/1/hub/alerts/<name of the channel>`."""

    kind: Literal["mqtt"] = "mqtt"

    @property
    def address(self) -> str:
        """Where the topics are."""
        return topics.HUB_ALERTS_FILTER


Target = Annotated[WebhookTarget | SlackTarget | EmailTarget | MqttTarget, Field(discriminator="kind")]
_TARGET: TypeAdapter[Target] = TypeAdapter(Target, config=ConfigDict(hide_input_in_errors=True))


def to_bytes(target: Target) -> bytes:
    """Return a target with its secrets, to be sealed."""
    plain = {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in target}
    return json.dumps(plain).encode()


def from_bytes(content: bytes) -> Target:
    """Return a target from what was sealed."""
    return _TARGET.validate_json(content)
