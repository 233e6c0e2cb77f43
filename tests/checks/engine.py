"""What every engine must do, whatever its runtime. A test class names the runtime and inherits the claims."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tests.fixtures import tiny

from shoal_agent.engines import Engine, EngineError, GoldenMismatchError, load_engine, run_golden, to_tensor_data
from shoal_agent.engines.cost import release_free_memory
from shoal_agent.telemetry import resident_bytes
from shoal_contract.manifest import TensorSpec, Variant

RUNS = 20_000
MOST_GROWTH_BYTES = 4 * 1024 * 1024
"""Of the process over `RUNS` runs; a leak of 250 bytes a run would pass it."""


class EngineChecks:
    """The claims; `file_format` chooses the runtime."""

    file_format: Literal["onnx", "tflite"]
    long_runs: tuple[str, ...] = ("classify",)
    """Models that are run for long: one for each way in which the engine calls its runtime."""

    def variant(self, name: str = "classify", **changes: object) -> Variant:
        make = tiny.onnx_variant if self.file_format == "onnx" else tiny.litert_variant
        return make(name, **changes)

    @contextmanager
    def engine(
        self,
        name: str = "classify",
        inputs: tuple[TensorSpec, ...] = tiny.INPUTS,
        outputs: tuple[TensorSpec, ...] = tiny.OUTPUTS,
    ) -> Iterator[Engine]:
        variant = self.variant(name)
        engine = load_engine(tiny.path_of(variant, name), variant, inputs, outputs)
        yield engine
        engine.close()

    def refusal(self, path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> str:
        with pytest.raises(EngineError) as caught:
            load_engine(path, self.variant(), inputs, outputs)
        assert caught.value.remedy
        return str(caught.value)

    @pytest.mark.parametrize("batch", [1, 7, 64])
    def test_it_answers_like_numpy_for_any_batch_size(self, batch: int) -> None:
        x = np.random.default_rng(batch).normal(size=(batch, tiny.FEATURES)).astype(np.float32)
        with self.engine() as engine:
            answer = engine.infer({"x": x})
        assert set(answer) == {"probabilities"}
        assert answer["probabilities"].dtype == np.float32
        np.testing.assert_allclose(answer["probabilities"], tiny.probabilities(x), atol=1e-6)

    def test_a_batch_after_a_larger_one_is_not_padded_by_it(self) -> None:
        with self.engine() as engine:
            for batch in (5, 2, 5, 1):
                x = np.full((batch, tiny.FEATURES), 0.5, dtype=np.float32)
                assert engine.infer({"x": x})["probabilities"].shape == (batch, tiny.LABELS)

    def test_several_inputs_and_outputs_are_matched_by_name(self) -> None:
        values = np.array([[1.5, -2.0], [0.25, 4.0]], dtype=np.float32)
        factor = np.array([[3], [-2]], dtype=np.int32)
        with self.engine("pair", tiny.PAIR_INPUTS, tiny.PAIR_OUTPUTS) as engine:
            answer = engine.infer({"factor": factor, "values": values})
        np.testing.assert_array_equal(answer["scaled"], values * factor)
        np.testing.assert_array_equal(answer["negated"], -factor)
        assert answer["negated"].dtype == np.int32

    def test_an_answer_is_not_overwritten_by_the_next_one(self) -> None:
        with self.engine() as engine:
            first = engine.infer({"x": tiny.GOLDEN})["probabilities"]
            kept = first.copy()
            engine.infer({"x": tiny.GOLDEN + 1})
        np.testing.assert_array_equal(first, kept)

    def test_threads_that_share_an_engine_get_their_own_answers(self) -> None:
        def ask(seed: int) -> float:
            x = np.random.default_rng(seed).normal(size=(seed % 5 + 1, tiny.FEATURES)).astype(np.float32)
            return float(np.abs(engine.infer({"x": x})["probabilities"] - tiny.probabilities(x)).max())

        with self.engine() as engine, ThreadPoolExecutor(4) as threads:
            assert max(threads.map(ask, range(200))) < 1e-5

    def test_a_closed_engine_says_so_and_may_be_closed_again(self) -> None:
        with self.engine() as engine:
            engine.close()
            with pytest.raises(EngineError, match="is closed"):
                engine.infer({"x": tiny.GOLDEN})

    def test_it_names_its_tensors_as_the_manifest_does(self) -> None:
        with self.engine() as engine:
            assert (engine.inputs, engine.outputs) == (tiny.INPUTS, tiny.OUTPUTS)

    @pytest.mark.parametrize("kept", [0.5, 0.9])
    def test_a_truncated_file_does_not_load(self, tmp_path: Path, kept: float) -> None:
        whole = tiny.path_of(self.variant()).read_bytes()
        path = tmp_path / "model"
        path.write_bytes(whole[: int(len(whole) * kept)])
        assert str(path) in self.refusal(path, tiny.INPUTS, tiny.OUTPUTS)

    @pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 4096])
    def test_a_file_of_anything_else_does_not_load(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "model"
        path.write_bytes(content)
        assert str(path) in self.refusal(path, tiny.INPUTS, tiny.OUTPUTS)

    def test_a_file_of_the_other_format_is_named_as_such(self, tmp_path: Path) -> None:
        other = tiny.litert_variant() if self.file_format == "onnx" else tiny.onnx_variant()
        path = tmp_path / "model"
        shutil.copy(tiny.path_of(other), path)
        assert f"expected the format {self.file_format}" in self.refusal(path, tiny.INPUTS, tiny.OUTPUTS)

    def test_a_missing_file_is_an_error_that_names_it(self, tmp_path: Path) -> None:
        assert "cannot be read" in self.refusal(tmp_path / "absent", tiny.INPUTS, tiny.OUTPUTS)

    @pytest.mark.parametrize(
        ("spec", "complaint"),
        [
            (TensorSpec(name="pixels", datatype="FP32", shape=(-1, 4)), "'pixels' expected"),
            (TensorSpec(name="x", datatype="FP64", shape=(-1, 4)), "expected FP64"),
            (TensorSpec(name="x", datatype="FP32", shape=(-1, 5)), r"expected FP32 [-1, 5]"),
            (TensorSpec(name="x", datatype="FP32", shape=(-1, 4, 1)), r"expected FP32 [-1, 4, 1]"),
        ],
    )
    def test_an_input_that_is_not_the_manifests_is_refused(self, spec: TensorSpec, complaint: str) -> None:
        path = tiny.path_of(self.variant())
        # A file without signatures has no names to disagree on; the classify files have.
        assert complaint in self.refusal(path, (spec,), tiny.OUTPUTS)

    def test_an_output_that_is_not_the_manifests_is_refused(self) -> None:
        spec = TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 10))
        assert "[-1, 10]" in self.refusal(tiny.path_of(self.variant()), tiny.INPUTS, (spec,))

    def test_a_missing_or_surplus_input_is_refused(self) -> None:
        path = tiny.path_of(self.variant())
        assert "expected by the manifest" in self.refusal(path, (*tiny.INPUTS, tiny.PAIR_INPUTS[1]), tiny.OUTPUTS)

    def test_the_golden_input_passes_and_tells_its_largest_difference(self) -> None:
        with self.engine() as engine:
            assert 0 <= run_golden(engine, tiny.tiny_manifest(), self.variant()) < 1e-6

    def test_a_golden_output_that_is_off_is_refused_with_the_difference(self) -> None:
        off = tiny.probabilities(tiny.GOLDEN)
        off[1, 2] += 0.25
        variant = self.variant(golden_outputs={"probabilities": to_tensor_data(off)}, golden_tolerance=0.2)
        with self.engine() as engine, pytest.raises(GoldenMismatchError, match=r"differs by 0\.25"):
            run_golden(engine, tiny.tiny_manifest(), variant)

    def test_memory_does_not_climb_over_20_000_runs_of_varying_batch_sizes(self) -> None:
        batches = [np.full((size, tiny.FEATURES), 0.5, dtype=np.float32) for size in (1, 32, 7, 64, 2, 19)]

        def run(times: int) -> int:
            for turn in range(times):
                engine.infer({"x": batches[turn % len(batches)]})
            release_free_memory()
            return resident_bytes()

        for name in self.long_runs:
            with self.engine(name) as engine:
                before_bytes = run(RUNS // 10)
                assert run(RUNS) - before_bytes <= MOST_GROWTH_BYTES, name

    def test_loading_again_and_again_does_not_climb_either(self) -> None:
        def load(times: int) -> int:
            for _ in range(times):
                with self.engine() as engine:
                    engine.infer({"x": tiny.GOLDEN})
            release_free_memory()
            return resident_bytes()

        before_bytes = load(20)
        assert load(200) - before_bytes <= MOST_GROWTH_BYTES

    def test_it_tells_how_it_is_set_up(self) -> None:
        with self.engine() as engine:
            assert (engine.setup.accelerator, engine.setup.threads, engine.setup.has_arena) == ("cpu", 1, False)
