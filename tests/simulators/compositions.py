"""Compositions as operators write them, and models in a registry that they can be made of."""

from typing import Any

from sqlmodel import Session
from tests.simulators.rows import add_version

from shoal_hub.registry.artifacts import ArtifactStore
from shoal_hub.registry.tables import Version

IMAGE = {"name": "image", "datatype": "FP32", "shape": [-1, 4]}
SCORES = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
CASCADE: dict[str, Any] = {"kind": "cascade", "stages": [{"model": "small", "confidence": 0.9}, {"model": "large"}]}
ENSEMBLE: dict[str, Any] = {"kind": "ensemble", "members": [{"model": "small", "weight": 2}, {"model": "large"}]}


def add_member(session: Session, store: ArtifactStore, model: str, number: int = 1, **changes: Any) -> Version:
    """Add a version that takes images and answers scores, but for `changes`."""
    version = add_version(session, store, number, {}, model)
    for name, value in ({"inputs": [IMAGE], "outputs": [SCORES]} | changes).items():
        setattr(version, name, value)
    session.add(version)
    session.flush()
    return version
