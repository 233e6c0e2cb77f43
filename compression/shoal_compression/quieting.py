"""Holds back what converters and quantizers say beside their work."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what converters log, warn and draw, which asks for nothing that we could do; errors still surface."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of all loggers: TensorFlow sets the levels of its own ones again
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
