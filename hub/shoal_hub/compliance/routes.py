"""Routes of compliance reports: as JSON, and as a Markdown page."""

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response
from sqlmodel import Session

from shoal_contract.ids import Name
from shoal_hub.compliance import eu_ai_act, nist_ai_rmf
from shoal_hub.compliance.evidence import Evidence, gather
from shoal_hub.compliance.markdown import to_markdown
from shoal_hub.compliance.report import ComplianceReport, Framework, ReportSection, empty_fields
from shoal_hub.context import HubContext
from shoal_hub.database import utc_now
from shoal_hub.dependencies import Hub, Reading, Viewer
from shoal_hub.error_response import documented
from shoal_hub.registry.record_routes import MarkdownResponse
from shoal_hub.registry.versions import find_version
from shoal_hub.requests import Line

router = APIRouter(prefix="/models/{name}/versions/{ref}", tags=["models"])

_FRAMEWORKS: Final[dict[Framework, tuple[str, Callable[[Evidence], tuple[ReportSection, ...]]]]] = {
    "nist-ai-rmf": (nist_ai_rmf.TITLE, nist_ai_rmf.sections),
    "eu-ai-act": (eu_ai_act.TITLE, eu_ai_act.sections),
}


@router.get("/compliance", responses=documented(401, 403, 404, 422))
def read_compliance(
    name: Name, ref: Line, framework: Framework, hub: Hub, session: Reading, _viewer: Viewer
) -> ComplianceReport:
    """Return what is known of a version in the order of a framework; what is not known is named as empty."""
    return _report(hub, session, name, ref, framework)


@router.get("/compliance.md", response_class=MarkdownResponse, responses=documented(401, 403, 404, 422))
def read_compliance_page(
    name: Name, ref: Line, framework: Framework, hub: Hub, session: Reading, _viewer: Viewer
) -> Response:
    """Return the same as a Markdown page."""
    page = to_markdown(_report(hub, session, name, ref, framework))
    return MarkdownResponse(page, headers={"x-content-type-options": "nosniff"})


def _report(hub: HubContext, session: Session, name: str, ref: str, framework: Framework) -> ComplianceReport:
    title, sections_of = _FRAMEWORKS[framework]
    version = find_version(session, name, ref)
    sections = sections_of(gather(session, hub.artifacts, version))
    return ComplianceReport(
        framework=framework,
        framework_title=title,
        model=version.model,
        version=version.number,
        made_at=utc_now(),
        sections=sections,
        empty=empty_fields(sections),
    )
