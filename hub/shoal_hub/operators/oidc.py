"""Login by an OIDC provider: authorization code with PKCE (RFC 7636), OpenID Connect Core 1.0, section 3.1.

What is asked of the provider, and what is believed of its answer. Discovery happens at each login, so that a provider
that is away keeps nobody but its own users out.
"""

import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from shoal_hub.errors import RefusedError, UnavailableError
from shoal_hub.operators.oidc_roles import parse_roles, role_of
from shoal_hub.operators.roles import Role
from shoal_hub.settings import Settings, is_safe_url

_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by a key pair only: with HMAC, or none, whoever has the client's secret could be anybody."""
_TIMEOUT_S: Final = 10.0
_CLOCK_LEEWAY_S: Final = 60


@dataclass(frozen=True)
class Asked:
    """A login as it was sent to the provider: what its answer is held against."""

    url: str
    state: str
    nonce: str
    code_verifier: str


@dataclass(frozen=True)
class Identity:
    """Whom the provider vouches for."""

    issuer: str
    subject: str
    name: str
    role: Role


class Provider:
    """The provider of the settings, as its discovery document describes it now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._issuer = settings.oidc_issuer
        self._metadata = self._fetch(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if self._metadata.get("issuer") != self._issuer:
            raise UnavailableError(
                f"asking {self._issuer}: it calls itself {self._metadata.get('issuer')!r}",
                "set SHOAL_OIDC_ISSUER to the issuer's name exactly as its discovery document has it",
            )

    def ask(self, redirect_uri: str) -> Asked:
        """Make a new login for the browser to take to the provider."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        url = prepare_grant_uri(
            self._endpoint("authorization_endpoint"),
            client_id=self._settings.oidc_client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=self._settings.oidc_scope,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return Asked(url, state, nonce, verifier)

    def redeem(self, code: str, *, nonce: str, code_verifier: str, redirect_uri: str) -> Identity:
        """Take the provider's code, and return whom its ID token vouches for.

        Raises:
            RefusedError: The provider takes the code back, or its token is not one for this login at this hub.
            UnavailableError: The provider does not answer as one does.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
            "client_id": self._settings.oidc_client_id,
        }
        secret = _read_secret(self._settings.oidc_client_secret_file)
        auth = httpx.BasicAuth(self._settings.oidc_client_id, secret) if secret else None
        answer = self._fetch(self._endpoint("token_endpoint"), form, auth)
        claims = self._verify(str(answer.get("id_token", "")), nonce)
        return self._read(claims)

    def _verify(self, id_token: str, nonce: str) -> dict[str, Any]:
        keys = KeySet.import_key_set(self._fetch(self._endpoint("jwks_uri")))  # type: ignore[arg-type]  # checked there
        options = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": self._settings.oidc_client_id},
            "sub": {"essential": True, "allow_blank": False},
        }
        try:
            registry = jws.JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
            token = jwt.decode(id_token, keys, registry=registry)
            params = {"nonce": nonce, "client_id": self._settings.oidc_client_id}
            claims = CodeIDToken(token.claims, token.header, options, params)
            claims.validate(leeway=_CLOCK_LEEWAY_S)
        except (JoseError, ValueError, TypeError) as error:
            raise RefusedError(
                f"login by {self._issuer}: its ID token is not acceptable: {error}", "begin the login again"
            ) from error
        return dict(claims)

    def _read(self, claims: dict[str, Any]) -> Identity:
        names = (claims.get(name) for name in ("preferred_username", "email", "sub"))
        name = next(str(one) for one in names if one)
        role = role_of(claims, self._settings.oidc_role_claim, parse_roles(self._settings.oidc_roles))
        if role is None:
            raise RefusedError(
                f"login by {self._issuer}: {name} has no role at this hub",
                f"have the provider put a value of SHOAL_OIDC_ROLES into the claim {self._settings.oidc_role_claim}",
            )
        return Identity(self._issuer, str(claims["sub"]), name, role)

    def _endpoint(self, name: str) -> str:
        url = self._metadata.get(name)
        if not isinstance(url, str) or not is_safe_url(url):
            raise UnavailableError(
                f"asking {self._issuer}: its {name} is {url!r}, which is no https address",
                "mend the provider's discovery document",
            )
        return url

    def _fetch(self, url: str, form: dict[str, str] | None = None, auth: httpx.Auth | None = None) -> dict[str, Any]:
        try:
            with httpx.Client(verify=ssl.create_default_context(), timeout=_TIMEOUT_S) as http:
                response = http.get(url) if form is None else http.post(url, data=form, auth=auth or httpx.Auth())
            answer = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnavailableError(
                f"asking {self._issuer}: {url.partition('?')[0]}: {str(error) or type(error).__name__}",
                "check SHOAL_OIDC_ISSUER and that the provider answers; passwords and tokens work without it",
            ) from error
        if not isinstance(answer, dict) or response.is_error:
            found = answer.get("error", response.status_code) if isinstance(answer, dict) else "no JSON object"
            raise RefusedError(f"login by {self._issuer}: it answered {found}", "begin the login again")
        return answer


def _read_secret(path: str) -> str:
    """Return the client secret, read at each login, so that a new one needs no restart.

    Raises:
        UnavailableError: The file cannot be read.
    """
    if not path:
        return ""
    try:
        return Path(path).expanduser().read_text().strip()
    except OSError as error:
        raise UnavailableError(
            f"reading the OIDC client secret {path}: {error.strerror}", "set SHOAL_OIDC_CLIENT_SECRET_FILE to its file"
        ) from error
