"""A Kafka cluster: what a file says of it, the settings of Confluent's client that come of that, and sending to it."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from shoal_compression.values import Value
from shoal_training.secret import secret, without

_ROOM_S: Final = 1.0
"""How long confirmations are waited for at a time where the queue is full."""
_SERVE_EVERY: Final = 1_000
"""Messages between two looks at what brokers have confirmed."""
_SECRET_WORDS: Final = ("password", "secret", "key.pem", "pem", "oauthbearer.config", "token", "sasl.jaas")


def _without_secrets(settings: dict[str, str]) -> dict[str, str]:
    telling = [name for name in settings if any(word in name.lower() for word in _SECRET_WORDS)]
    if telling:
        raise ValueError(f"{telling[0]} holds a secret; name an environment variable as password_env")
    return settings


Servers = Annotated[str, Field(min_length=1, max_length=4096)]
KafkaTopic = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")]
ClientSettings = Annotated[dict[str, str], Field(max_length=100), AfterValidator(_without_secrets)]


class KafkaCluster(Value):
    """A cluster by its brokers, and how to be let in."""

    servers: Servers
    """`host:port`, with commas between."""
    username: str | None = Field(default=None, max_length=256)
    password_env: str | None = Field(default=None, min_length=1, max_length=256)
    """The environment variable that holds the password, for SASL."""
    settings: ClientSettings = Field(default={})
    """Of the client (librdkafka), such as `security.protocol: SASL_SSL`; no secrets."""

    def client_settings(self, purpose: str) -> dict[str, Any]:
        """Return what consumers and producers of it are made with.

        Args:
            purpose: What is being done, for the error.

        Raises:
            DataError: The password's variable is not set.
        """
        password = secret(self.password_env, purpose) if self.password_env else ""
        sasl = {"sasl.username": self.username, "sasl.password": password} if self.username else {}
        return {"log_level": 0, **self.settings, **sasl, "bootstrap.servers": self.servers}  # what is wrong is raised


def told(error: Exception, settings: dict[str, Any]) -> str:
    """Return what the client says of an error, without the password in it."""
    inner: Any = error.args[0]
    return without(str(inner.str()), settings.get("sasl.password", ""))


class NotSentError(Exception):
    """Messages were not sent, or not confirmed; says why, without what was being done."""


class KafkaPublisher:
    """Sends messages to topics of a cluster. What the client itself sends again is written once, and in its order.

    Args:
        cluster: Where.
        purpose: What is being done, for the error of a password that is not there.
        timeout_s: How long a message may wait for the brokers' word.

    Raises:
        DataError: The password's variable is not set.
        NotSentError: The settings are none of the client's.
    """

    def __init__(self, cluster: KafkaCluster, purpose: str, timeout_s: float) -> None:
        from confluent_kafka import KafkaException, Producer

        self._timeout_s = timeout_s
        self._settings = {
            **cluster.client_settings(purpose),
            "enable.idempotence": True,
            "message.timeout.ms": round(timeout_s * 1000),
        }
        self._sent, self._failed = 0, ""
        try:
            self._producer: Producer = Producer(self._settings)
        except KafkaException as error:
            raise NotSentError(told(error, self._settings)) from error

    def reach(self) -> None:
        """See that a broker answers.

        Raises:
            NotSentError: None does in time, or it refuses.
        """
        from confluent_kafka import KafkaException

        try:
            self._producer.list_topics(timeout=self._timeout_s)
        except KafkaException as error:
            raise NotSentError(told(error, self._settings)) from error

    def send(self, topic: str, value: bytes, key: str | None, headers: Mapping[str, bytes] | None = None) -> None:
        """Send a message, once there is room in the queue; `confirm` tells whether it arrived.

        Raises:
            NotSentError: The client takes it not: it may be too large, or the client has failed for good.
        """
        from confluent_kafka import KafkaException

        self._sent += 1
        if self._sent % _SERVE_EVERY == 0:
            self._producer.poll(0)
        encoded = None if key is None else key.encode()
        while True:
            try:
                self._producer.produce(
                    topic, value, key=encoded, headers=dict(headers or {}), on_delivery=self._delivered
                )
            except BufferError:
                self._producer.poll(_ROOM_S)
                continue
            except KafkaException as error:
                raise NotSentError(
                    f"{told(error, self._settings)}; where a message is too large, raise `message.max.bytes` in the "
                    "cluster's `settings`"
                ) from error
            return

    def confirm(self) -> None:
        """Wait until brokers have all that was sent.

        Raises:
            NotSentError: They have not, in time; what they have of it they keep.
        """
        left = self._producer.flush(self._timeout_s + _ROOM_S)
        failed, self._failed, sent, self._sent = self._failed, "", self._sent, 0
        if left or failed:
            raise NotSentError(failed or f"{left} of {sent} not confirmed within {self._timeout_s:g} s")

    def _delivered(self, error: Any, _message: object) -> None:  # noqa: ANN401 - Confluent's, without types
        if error is not None and not self._failed:
            self._failed = str(error.str())
