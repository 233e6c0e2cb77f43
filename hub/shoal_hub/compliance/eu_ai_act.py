"""Sections of Annex IV of Regulation (EU) 2024/1689 (technical documentation, Article 11(1)), by its points. Pure."""

from typing import Final

from shoal_hub.compliance import facts
from shoal_hub.compliance.evidence import Evidence
from shoal_hub.compliance.report import ReportSection, outside

TITLE: Final = "Regulation (EU) 2024/1689, Annex IV: technical documentation referred to in Article 11(1)"
_OWN: Final = "write it for the system that the model is a part of"


def sections(evidence: Evidence) -> tuple[ReportSection, ...]:
    """Return the nine points of the annex."""
    return (
        _general(evidence),
        _elements(evidence),
        _control(evidence),
        ReportSection(
            id="4",
            title="Appropriateness of the performance metrics",
            fields=(
                facts.metrics(evidence),
                outside("Why these metrics suit the system", _OWN),
            ),
        ),
        ReportSection(
            id="5", title="Risk management system (Article 9)", fields=(outside("Risk management system", _OWN),)
        ),
        ReportSection(
            id="6",
            title="Changes through the lifecycle",
            fields=(facts.stages(evidence), facts.trail(evidence), facts.champion(evidence)),
        ),
        ReportSection(
            id="7",
            title="Harmonised standards applied",
            fields=(outside("List of standards, or of other solutions adopted", _OWN),),
        ),
        ReportSection(
            id="8",
            title="EU declaration of conformity",
            fields=(outside("Copy of the declaration (Article 47)", _OWN),),
        ),
        ReportSection(
            id="9",
            title="Post-market monitoring (Article 72)",
            fields=(facts.watched(evidence), facts.drift(evidence), outside("Post-market monitoring plan", _OWN)),
        ),
    )


def _general(evidence: Evidence) -> ReportSection:
    return ReportSection(
        id="1",
        title="General description of the system",
        fields=(
            facts.said(evidence, "1(a) Intended purpose", "intended_use"),
            facts.makers(evidence),
            facts.identity(evidence),
            facts.interface(evidence),
            facts.variants(evidence),
            facts.deployments(evidence),
            outside("1(g) User interface for the deployer", _OWN),
            outside("1(h) Instructions for use", _OWN),
        ),
    )


def _elements(evidence: Evidence) -> ReportSection:
    return ReportSection(
        id="2",
        title="Elements of the system and process of its development",
        fields=(
            facts.training(evidence),
            facts.origin(evidence),
            facts.said(evidence, "2(d) Data: where it is from, how it was chosen, what it leaves out", "data"),
            outside("2(e) Human oversight measures (Article 14)", _OWN),
            outside("2(f) Pre-determined changes", _OWN),
            facts.validation(evidence),
            facts.slices(evidence),
            facts.fairness(evidence),
            outside("2(h) Cybersecurity measures", "describe them; docs/guides/threats.md says what the hub does"),
        ),
    )


def _control(evidence: Evidence) -> ReportSection:
    return ReportSection(
        id="3",
        title="Monitoring, functioning and control",
        fields=(
            facts.said(evidence, "Capabilities and limitations", "limits"),
            facts.said(evidence, "Uses out of scope", "out_of_scope_use"),
            facts.said(evidence, "Foreseeable unintended outcomes and sources of risk", "ethical_notes"),
            facts.explained(evidence),
            facts.approvals(evidence),
            outside("Specifications of input data", _OWN),
        ),
    )
