"""Federated rounds on the device: labelled data stays here, a child with limits trains, a coded update leaves."""

from shoal_agent.federated.dataset import DatasetError, Datasets
from shoal_agent.federated.participant import Participant

__all__ = ["DatasetError", "Datasets", "Participant"]
