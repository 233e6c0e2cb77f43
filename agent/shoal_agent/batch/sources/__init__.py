"""Kinds of input: Parquet, CSV, JSON lines, Avro, images; each read in chunks, from any place on."""

from shoal_agent.batch.sources.open import open_sources
from shoal_agent.batch.sources.source import Chunk, Position, Source

__all__ = ["Chunk", "Position", "Source", "open_sources"]
