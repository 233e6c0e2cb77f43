"""What documents of operators may reach from the hub: what its settings name. Pipelines and batch inferences alike."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from shoal_hub.errors import InvalidInputError, RefusedError
from shoal_training.places import Place

_OPTIONS: Final = frozenset({f"kafka {one}" for one in ("security.protocol", "sasl.mechanism", "sasl.mechanisms")})
"""Others load files, or code, into the hub."""


@dataclass(frozen=True)
class Reach:
    """What the settings allow to one kind of documents.

    Attributes:
        doing: What they are for, for errors.
        named: Folders of this machine, beginnings of URLs, and whole URLs of databases.
        secrets: Names of environment variables.
        places_setting: The setting that names the first.
        secrets_setting: The setting that names the second.
        otherwise: What there is to do without that setting.
    """

    doing: str
    named: tuple[str, ...]
    secrets: tuple[str, ...]
    places_setting: str
    secrets_setting: str
    otherwise: str

    @property
    def folders(self) -> list[Path]:
        """The folders, whatever links lead to them."""
        return [Path(one).resolve() for one in self.named if "://" not in one and one.startswith("/")]

    def check(self, place: Place) -> None:
        """See that a place may be reached; where files of this machine really lie is looked at by `check_path`.

        Raises:
            RefusedError: It may not.
            InvalidInputError: No document at a hub has such a place.
        """
        if place.is_local and ("::" in place.text or ".." in Path(place.text).parts):
            raise self.refusal(place.text)  # ways to another file than the one that is looked at
        match place.kind:
            case "secret" if place.text not in self.secrets:
                raise RefusedError(
                    f"{self.doing}: the variable {place.text} may not be read", f"add it to {self.secrets_setting}"
                )
            case "bundle":  # its graph may name any file of the hub
                raise InvalidInputError(f"{self.doing}: a model is the folder {place.text}", "name one of the registry")
            case "option" if place.text not in _OPTIONS:
                raise RefusedError(f"{self.doing}: the option {place.text} may not be set", "leave it out")
            case "database" if place.text not in self.named:
                raise self.refusal(place.text)
            case "files" | "address" if not (place.is_local or _is_listed(place.text, self.named)):
                raise self.refusal(place.text)

    def check_path(self, path: Path, own: Path) -> Path:
        """Return where a path really leads, below a folder that is always allowed or one that is named.

        Raises:
            RefusedError: It leads elsewhere.
        """
        real = path.resolve()
        if not any(real.is_relative_to(root) for root in (own.resolve(), *self.folders)):
            raise self.refusal(str(path))
        return real

    def refusal(self, text: str) -> RefusedError:
        """Return the error that something is not among what may be reached."""
        return RefusedError(
            f"{self.doing}: {text[:200]} is not among what it may reach",
            f"{self.otherwise}; or have {self.places_setting} name it",
        )


def listed(text: str) -> tuple[str, ...]:
    """Return the parts of a list that a setting holds."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _is_listed(url: str, allowed: Iterable[str]) -> bool:
    """Whether a URL begins with one of those allowed, at a border of its parts."""
    if "::" in url or "\\" in url or ".." in urlsplit(url).path.split("/") or urlsplit(url).scheme in {"file", "local"}:
        return False  # of one file system within another, or a way out of what is allowed
    return any(
        url == one or (url.startswith(one) and (one.endswith("/") or url[len(one)] in "/?#"))
        for one in allowed
        if "://" in one
    )
