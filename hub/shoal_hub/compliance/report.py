"""What a report is: sections of a framework with fields, each with its value and where that is from, or empty."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

Framework = Literal["nist-ai-rmf", "eu-ai-act"]
Source = Literal["model card", "registry", "provenance", "audit trail", "monitoring", "rollouts", "not kept here"]
NOTE: Final = (
    "This report puts what the hub knows of a version into the order of a framework. It says nothing of whether the "
    "framework, or any law, applies or is met: that is for people to judge."
)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReportField(_Model):
    """One thing that a section asks for."""

    name: str
    source: Source
    """Where it is, or would be, from."""
    value: str
    """Lines of plain text; empty: nothing is known."""
    is_empty: bool
    remedy: str
    """How an empty one is filled."""


class ReportSection(_Model):
    """A section of the framework."""

    id: str
    title: str
    fields: tuple[ReportField, ...]


class ComplianceReport(_Model):
    """A report."""

    framework: Framework
    framework_title: str
    model: str
    version: int
    made_at: datetime
    note: str = NOTE
    sections: tuple[ReportSection, ...]
    empty: tuple[str, ...]
    """Fields that nothing is known of, as `section: field`."""


def filled(name: str, source: Source, value: object, remedy: str) -> ReportField:
    """Return a field; a value that is empty, or lines of which none says anything, make it an empty one."""
    lines = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [str(value)]
    text = "\n".join(str(line) for line in lines if str(line).strip())
    return ReportField(name=name, source=source, value=text, is_empty=not text, remedy="" if text else remedy)


def outside(name: str, remedy: str) -> ReportField:
    """Return a field for what a hub can not know; it stays empty, so that nobody takes it for done."""
    return ReportField(name=name, source="not kept here", value="", is_empty=True, remedy=remedy)


def empty_fields(sections: Iterable[ReportSection]) -> tuple[str, ...]:
    """Return the names of the fields that nothing is known of."""
    return tuple(f"{section.id}: {one.name}" for section in sections for one in section.fields if one.is_empty)
