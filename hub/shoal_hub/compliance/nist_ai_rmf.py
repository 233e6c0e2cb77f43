"""Sections of the NIST AI Risk Management Framework 1.0 (NIST AI 100-1, January 2023), its core by function. Pure."""

from typing import Final

from shoal_hub.compliance import facts
from shoal_hub.compliance.evidence import Evidence
from shoal_hub.compliance.report import ReportSection, outside

TITLE: Final = "NIST AI Risk Management Framework 1.0 (NIST AI 100-1), core functions"


def sections(evidence: Evidence) -> tuple[ReportSection, ...]:
    """Return the functions Govern, Map, Measure and Manage."""
    return (_govern(evidence), _map(evidence), _measure(evidence), _manage(evidence))


def _govern(evidence: Evidence) -> ReportSection:
    return ReportSection(
        id="GOVERN",
        title="Govern: policies, accountability and processes",
        fields=(
            outside("GOVERN 1: policies and legal requirements", "keep them with your organisation's documents"),
            facts.makers(evidence),
            facts.approvals(evidence),
            facts.trail(evidence),
            outside("GOVERN 3: diversity and roles of the team", "keep it with your organisation's documents"),
            outside("GOVERN 5: engagement with those who are affected", "keep it with your organisation's documents"),
            facts.said(evidence, "GOVERN 6: licences of third parties", "licence"),
        ),
    )


def _map(evidence: Evidence) -> ReportSection:
    return ReportSection(
        id="MAP",
        title="Map: context, categorisation and impacts",
        fields=(
            facts.said(evidence, "MAP 1: intended use", "intended_use"),
            facts.said(evidence, "MAP 1: uses out of scope", "out_of_scope_use"),
            facts.identity(evidence),
            facts.interface(evidence),
            facts.said(evidence, "MAP 2: data, and what it leaves out", "data"),
            facts.said(evidence, "MAP 3: limits", "limits"),
            facts.origin(evidence),
            facts.said(evidence, "MAP 5: impacts on people", "ethical_notes"),
        ),
    )


def _measure(evidence: Evidence) -> ReportSection:
    return ReportSection(
        id="MEASURE",
        title="Measure: assessment, trustworthiness and tracking",
        fields=(
            facts.metrics(evidence),
            facts.validation(evidence),
            facts.slices(evidence),
            facts.fairness(evidence),
            facts.explained(evidence),
            facts.champion(evidence),
            facts.watched(evidence),
            facts.drift(evidence),
            outside("MEASURE 4: feedback on the measurements", "keep what experts and users said of them"),
        ),
    )


def _manage(evidence: Evidence) -> ReportSection:
    return ReportSection(
        id="MANAGE",
        title="Manage: prioritisation, response and recovery",
        fields=(
            outside("MANAGE 1: risks by priority, and what is done about them", "keep a register of risks"),
            facts.stages(evidence),
            facts.deployments(evidence),
            facts.variants(evidence),
            outside("MANAGE 4: incidents and how they were told", "keep a register of incidents"),
        ),
    )
