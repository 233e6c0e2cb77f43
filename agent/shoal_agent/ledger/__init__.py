"""The byte ledger: what has travelled, in which month and of what kind; what budgets and the hub go by."""

from shoal_agent.ledger.ledger import Ledger
from shoal_agent.ledger.link_meter import LinkMeter, Passage
from shoal_agent.ledger.reports import LedgerReports

__all__ = ["Ledger", "LedgerReports", "LinkMeter", "Passage"]
