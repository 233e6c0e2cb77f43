"""How a technique trains: what a recipe may set of it."""

from pydantic import Field

from shoal_compression.values import Value


class Training(Value):
    """Training by Adam, with a learning rate that falls to nothing by a cosine.

    The loss is a mix of the teacher's answers and the labels (Hinton, Vinyals and Dean 2015, arXiv 1503.02531); without
    labels, or without a teacher, the other one is all of it.
    """

    epochs: int = Field(default=6, ge=0, le=1_000)
    """Passes over the samples; 0 trains nothing."""
    batch: int = Field(default=64, ge=1, le=65_536)
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    most_samples: int = Field(default=100_000, ge=1)
    """As many samples are drawn, if there are more."""
    temperature: float = Field(default=3.0, gt=0, le=100)
    """By which the logits of teacher and student are divided."""
    soft: float = Field(default=0.7, ge=0)
    """Weight of the teacher's answers."""
    hard: float = Field(default=0.3, ge=0)
    """Weight of the labels."""
