"""How to reach a Kafka cluster: what a file says of it, and the settings of Confluent's client that come of that."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from shoal_compression.values import Value
from shoal_training.secret import secret, without

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
