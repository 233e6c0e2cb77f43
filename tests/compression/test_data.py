"""Samples: what their fingerprint tells apart."""

import numpy as np

from shoal_compression.data import Data, Samples


def _fingerprint(labels: np.ndarray) -> str:
    samples = Samples({"x": np.zeros((len(labels), 2), np.float32)}, labels)
    return Data(samples, samples).fingerprint


def test_one_text_among_thousands_is_another_fingerprint() -> None:
    texts = np.array([str(one) for one in range(5_000)], object)
    other = texts.copy()
    other[2_500] = "another"
    assert _fingerprint(texts) == _fingerprint(texts.copy())
    assert _fingerprint(texts) != _fingerprint(other)


def test_texts_that_are_cut_elsewhere_are_another_fingerprint() -> None:
    assert _fingerprint(np.array(["ab", "c"], object)) != _fingerprint(np.array(["a", "bc"], object))
    assert _fingerprint(np.array(["1", "2"], object)) != _fingerprint(np.array([1, 2], object))
