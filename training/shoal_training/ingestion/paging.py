"""How an API hands out long lists page by page: by a link, a cursor, the number of a page, or an offset."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import BeforeValidator, Field, SerializeAsAny

from shoal_compression.values import Value
from shoal_training.errors import DataError
from shoal_training.named_kinds import by_kind

Parameters = Mapping[str, str | int | float | bool]
ParameterName = Annotated[str, Field(min_length=1, max_length=128)]


@dataclass(frozen=True)
class Page:
    """What came back.

    Attributes:
        body: The whole answer, what JSON has.
        rows: The list in it.
        links: Of the header `Link` (RFC 8288), by relation: absolute or relative URLs.
    """

    body: Any
    rows: Sequence[Any]
    links: Mapping[str, str]


@dataclass(frozen=True)
class Next:
    """What to ask for next.

    Attributes:
        parameters: Of the URL, that are added to the source's own or replace them.
        link: Another URL, with parameters of its own.
    """

    parameters: Parameters
    link: str = ""


class Paging(Value, ABC):
    """A way of paging. Subclasses name their `kind`, declare fields, and say what comes next."""

    kind: ClassVar[str]
    can_repeat: ClassVar[bool] = False
    """Whether an API that does not know the parameters would answer with the same page for ever."""

    def first(self) -> Next:
        """Return what the first page is asked for with."""
        return Next({})

    @abstractmethod
    def after(self, asked: Next, page: Page) -> Next | None:
        """Return what to ask for after a page; None: that was the last one.

        Raises:
            DataError: The page does not say.
        """


class LinkPaging(Paging):
    """The header `Link` names the next page, `rel="next"`; the last page has none (RFC 8288)."""

    kind: ClassVar[str] = "link"

    def after(self, asked: Next, page: Page) -> Next | None:  # noqa: ARG002 - see `Paging`
        """See `Paging`."""
        link = page.links.get("next")
        return None if link is None else Next({}, link)


class CursorPaging(Paging):
    """The answer names the cursor of the next page; the last one has none, or an empty one."""

    kind: ClassVar[str] = "cursor"

    cursor: str = Field(min_length=1, max_length=256)
    """Where it stands in the answer, with dots between: `meta.next`."""
    parameter: ParameterName = "cursor"

    def after(self, asked: Next, page: Page) -> Next | None:
        """See `Paging`."""
        found = inside(page.body, self.cursor)
        if found is None or found == "":
            return None
        if not isinstance(found, str | int):
            raise DataError(f"{str(found)[:80]!r} found at {self.cursor}, a text or a whole number expected")
        if asked.parameters.get(self.parameter) == found:
            raise DataError(f"the cursor stays at {found!r}: the API does not know the parameter {self.parameter}")
        return Next({self.parameter: found})


class PagePaging(Paging):
    """Pages have numbers; one without rows is after the last."""

    kind: ClassVar[str] = "page"
    can_repeat: ClassVar[bool] = True

    parameter: ParameterName = "page"
    first_page: int = Field(default=1, ge=0)

    def first(self) -> Next:
        """See `Paging`."""
        return Next({self.parameter: self.first_page})

    def after(self, asked: Next, page: Page) -> Next | None:
        """See `Paging`."""
        return Next({self.parameter: int(asked.parameters[self.parameter]) + 1}) if page.rows else None


class OffsetPaging(Paging):
    """Pages begin at a row; one without rows is after the last. An API may give fewer than it is asked for."""

    kind: ClassVar[str] = "offset"
    can_repeat: ClassVar[bool] = True

    parameter: ParameterName = "offset"
    limit_parameter: ParameterName = "limit"
    limit: int = Field(default=100, ge=1, le=1_000_000)

    def first(self) -> Next:
        """See `Paging`."""
        return self._at(0)

    def after(self, asked: Next, page: Page) -> Next | None:
        """See `Paging`."""
        return self._at(int(asked.parameters[self.parameter]) + len(page.rows)) if page.rows else None

    def _at(self, offset: int) -> Next:
        return Next({self.parameter: offset, self.limit_parameter: self.limit})


BY_KIND: Final[dict[str, type[Paging]]] = {
    one.kind: one for one in (LinkPaging, CursorPaging, PagePaging, OffsetPaging)
}
AnyPaging = Annotated[SerializeAsAny[Paging], BeforeValidator(by_kind("paging", BY_KIND))]
"""A way of paging with its fields; in a file its name, or a mapping whose `kind` names it."""


def inside(body: Any, path: str) -> Any:  # noqa: ANN401 - what JSON has
    """Return what stands at a path with dots, such as `data.items`, in nested mappings; None: nothing. Empty: all."""
    for name in filter(None, path.split(".")):
        body = body.get(name) if isinstance(body, Mapping) else None
    return body
