"""Loads TensorFlow and Keras late, on the TensorFlow backend, without their start-up chatter.

Always Keras 3 by `import keras`: other tools may turn `tf.keras` into `tf_keras` in the same process.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def load_tensorflow() -> Any:  # noqa: ANN401  (TensorFlow has no types)
    """Import TensorFlow; takes 3 to 10 s in a process that has not done so."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read by the C++ part once, on import
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its order of summing differs between processors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own imports use what NumPy and Python deprecate
        import tensorflow as tf
    return tf


def load_keras() -> Any:  # noqa: ANN401  (Keras has no types; its modules are reached by attribute)
    """Import Keras 3 on the TensorFlow backend."""
    load_tensorflow()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
    return keras


@contextmanager
def quiet_conversion() -> Iterator[None]:
    """Hold back what TensorFlow's exporters log and warn; their errors still surface as exceptions.

    tf2onnx needs a NumPy name that Keras restores with a FutureWarning, and the converter warns about gradients
    of gradients, which no signature of ours asks for.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of all loggers: TensorFlow sets the levels of its own ones again
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
