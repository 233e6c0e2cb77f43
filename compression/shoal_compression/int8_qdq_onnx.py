"""Int8 ONNX in QDQ form: static quantization by ONNX Runtime, weights per channel.

Activations and weights are both *unsigned*: signed weights saturate on x86 processors without VNNI, so that a
golden output made at the hub would not hold there, and ONNX Runtime fuses this pair into integer convolutions on
every processor, while of a signed pair it leaves some in float (measured on the digits network: 19 against 24 µs).
"""

import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from shoal_compression.errors import SourceError
from shoal_compression.file_technique import Format
from shoal_compression.source import Source
from shoal_contract.reported import Runtime

LOWEST_OPSET = 13
"""Below it DequantizeLinear has no axis, and the quantizer writes an invalid graph for per-channel weights."""
CALIBRATION_BATCH = 1
"""The entropy calibrator stacks the batches, which must then be of one size."""
Calibration = Literal["MinMax", "Entropy"]


@dataclass(frozen=True)
class Int8QdqOnnx:
    """Static quantization after ONNX Runtime's own pre-processing (shape inference and constant folding)."""

    name: str = "int8-qdq-onnx"
    target: str = "generic-onnx-int8"
    runtime: Runtime = "onnxruntime"
    format: Format = "onnx"
    precision: str = "int8"
    golden_tolerance: float = 0.05
    tools: tuple[str, ...] = ("onnxruntime", "onnx")
    calibration: Calibration = "MinMax"

    def apply(self, source: Source, out: Path) -> None:
        """Quantize the ONNX original with its calibration inputs.

        Raises:
            SourceError: The original's opset is too old for per-channel QDQ.
        """
        _check_opset(source.onnx_path)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", category=DeprecationWarning)
            prepared = Path(folder) / "prepared.onnx"
            _prepare(source.onnx_path, prepared)
            self._quantize(source, prepared, out)

    def _quantize(self, source: Source, prepared: Path, out: Path) -> None:
        from onnxruntime import quantization as ort_quantization

        class Samples(ort_quantization.CalibrationDataReader):  # type: ignore[misc]
            """Hands the calibration inputs to ONNX Runtime, batch by batch."""

            def __init__(self) -> None:
                x, step = source.calibration_x, CALIBRATION_BATCH
                self.batches = iter([x[i : i + step] for i in range(0, len(x), step)])

            def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
                batch = next(self.batches, None)
                return None if batch is None else {source.input.name: batch}

        ort_quantization.quantize_static(
            prepared,
            out,
            Samples(),
            quant_format=ort_quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort_quantization.QuantType.QUInt8,
            weight_type=ort_quantization.QuantType.QUInt8,
            calibrate_method=ort_quantization.CalibrationMethod[self.calibration],
        )


def _check_opset(path: Path) -> None:
    import onnx

    opsets = {entry.domain: entry.version for entry in onnx.load(path, load_external_data=False).opset_import}
    if opsets.get("", 0) < LOWEST_OPSET:
        raise SourceError(
            f"quantizing {path}: opset {opsets.get('', 0)} found, at least {LOWEST_OPSET} expected; "
            "export the model again with a newer opset"
        )


def _prepare(original: Path, prepared: Path) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it logs advice that is followed here already
    try:
        quant_pre_process(original, prepared, skip_symbolic_shape=True)  # the symbolic part needs SymPy
    finally:
        logging.disable(before)
