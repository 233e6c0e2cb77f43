"""Loads TensorFlow, Keras and tf_keras late, and without their chatter.

Always by `import keras` or `import tf_keras`: once tensorflow-model-optimization is loaded, `tf.keras` is tf_keras.
"""

import os
from typing import Any

from shoal_compression.extras import says_extra
from shoal_compression.quieting import quiet


def load_tensorflow() -> Any:  # noqa: ANN401 - TensorFlow has no types
    """Import TensorFlow; takes 3 to 10 s in a process that has not done so.

    Raises:
        MissingLibraryError: It is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read by the C++ part once, on import
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its order of summing differs between processors
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with says_extra("loading TensorFlow"), quiet():
        import tensorflow as tf
    return tf


def load_keras() -> Any:  # noqa: ANN401 - as above
    """Import Keras 3 on the TensorFlow backend.

    Raises:
        MissingLibraryError: It is not installed.
    """
    load_tensorflow()
    with says_extra("loading Keras"), quiet():
        import keras
    return keras


def load_tf_keras() -> Any:  # noqa: ANN401 - as above
    """Import tf_keras, the Keras 2 that tensorflow-model-optimization works on.

    Raises:
        MissingLibraryError: It is not installed.
    """
    load_tensorflow()
    with says_extra("loading tf_keras"), quiet():
        import tf_keras
    return tf_keras


def load_tfmot() -> Any:  # noqa: ANN401 - as above
    """Import tensorflow-model-optimization, after Keras 3: what is imported first keeps its own Keras.

    Raises:
        MissingLibraryError: It is not installed.
    """
    load_keras()
    load_tf_keras()
    with says_extra("loading tensorflow-model-optimization"), quiet():
        import tensorflow_model_optimization as tfmot
    return tfmot
