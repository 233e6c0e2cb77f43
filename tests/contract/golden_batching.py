"""A manifest of a version whose requests are one sample each, with golden tensors that are too large to travel."""

from shoal_contract.manifest import GeneratedTensor, SampledTensor, TensorData, TensorSpec, VersionManifest


def one_sample_manifest(base: VersionManifest) -> VersionManifest:
    """Sound and a rate, of which the sound alone is watched."""
    heard = SampledTensor(datatype="FP32", shape=(1, 3), step=2, data="AACAPwAAAAA=")
    return base.model_copy(
        update={
            "batching": "none",
            "inputs": (
                TensorSpec(name="sound", datatype="INT16", shape=(-1, -1)),
                TensorSpec(name="rate", datatype="INT64", shape=()),
            ),
            "outputs": (TensorSpec(name="heard", datatype="FP32", shape=(-1, 3)),),
            "labels": (),
            "golden_inputs": {
                "sound": GeneratedTensor(datatype="INT16", shape=(1, 200_000), seed=7, low=-2048.0, high=2047.0),
                "rate": TensorData(datatype="INT64", shape=(), data="gD4AAAAAAAA="),
            },
            "variants": tuple(
                variant.model_copy(update={"golden_outputs": {"heard": heard}}) for variant in base.variants
            ),
            "baseline": base.baseline.model_copy(
                update={"features_of": "statistics", "inputs": ("sound",), "predictions": ()}
            ),
        }
    )
