"""Compositions on the device: ensembles and cascades of the models that it serves, asked like models of their own.

What they are is declared by the hub as data (`shoal_contract.compositions`). Each is a served model whose engine asks
its members, so that the protocol, the cache and the statistics need to know nothing of it.
"""

from shoal_agent.compositions.errors import CompositionError, NotReadyError
from shoal_agent.compositions.follow import PREFIX, Compositions
from shoal_agent.compositions.metrics import composition_families

__all__ = ["PREFIX", "CompositionError", "Compositions", "NotReadyError", "composition_families"]
