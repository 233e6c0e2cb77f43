"""Writes a report as Markdown; what people wrote stands in it as plain text."""

from shoal_hub.compliance.report import ComplianceReport, ReportField
from shoal_hub.registry.card import as_line


def to_markdown(report: ComplianceReport) -> str:
    """Return a report as a page."""
    parts = [
        f"# {as_line(report.model)} version {report.version}",
        f"Framework: {report.framework_title}. Made {report.made_at:%Y-%m-%d %H:%M} UTC.",
        f"> {report.note}",
        f"{len(report.empty)} fields are empty." if report.empty else "No field is empty.",
    ]
    for section in report.sections:
        parts.append(f"## {section.id}. {section.title}" if section.id.isdigit() else f"## {section.title}")
        parts += [_field(one) for one in section.fields]
    if report.empty:
        parts += ["## Empty fields", "\n".join(f"- {as_line(one)}" for one in report.empty)]
    return "\n\n".join(parts) + "\n"


def _field(one: ReportField) -> str:
    heading = f"### {as_line(one.name)}"
    if one.is_empty:
        return f"{heading}\n\n**Empty.** To fill it: {as_line(one.remedy)}."
    lines = "\n".join(f"- {as_line(line)}" for line in one.value.splitlines() if line.strip())
    return f"{heading}\n\nFrom: {one.source}.\n\n{lines}"
