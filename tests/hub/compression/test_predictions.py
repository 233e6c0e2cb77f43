"""What is predicted for a class by made profiles: the slowest board counts, and what is left out says why."""

from collections.abc import Mapping
from typing import Any

import pytest

from shoal_compression.errors import SourceError
from shoal_compression.measures import Measures
from shoal_compression.predictor.operators import FileProfile
from shoal_compression.search.candidates import Constraints
from shoal_contract.manifest import TensorSpec
from shoal_hub.compression.described import zeros
from shoal_hub.compression.figures import MadeFile, base_of, choose_for
from shoal_hub.compression.predictions import ClassPredictions, predict
from shoal_hub.compression.profiles import ProfiledFile
from shoal_numerics.operator_profile import Operator

INPUTS = (TensorSpec(name="x", datatype="FP32", shape=(-1, 4)),)
SIZES = {"small": 100_000, "large": 4_000_000}
FILES = {name: f"sha of {name}" for name in SIZES}


def operators(macs: int, kind: str = "MatMul") -> tuple[Operator, ...]:
    return (Operator(kind, "float", macs, 1000, 500, 125), Operator(kind, "float", 2 * macs, 1000, 500, 125))


def profiled(macs: int, speed: float, model: str = "digits", kind: str = "MatMul") -> ProfiledFile:
    """A file on a board that takes 1 ms for a million multiplications, over its speed."""
    found = operators(macs, kind)
    times = tuple(one.macs / 1000 / speed for one in found)
    profile = FileProfile(name=f"sha of {macs}", operators=found, times_us=times, latency_ms=sum(times) / 1000)
    return ProfiledFile(profile, INPUTS, model)


class Describer:
    """Finds what it was told."""

    def __init__(self, found: Mapping[str, tuple[Operator, ...]] | None = None) -> None:
        self.found = {FILES[name]: operators(macs) for name, macs in SIZES.items()} | dict(found or {})
        self.layouts: set[bool] = set()

    def operators(self, sha256: str, _feeds: Any, *, is_blocked: bool) -> tuple[Operator, ...]:
        self.layouts.add(is_blocked)
        if sha256 not in self.found:
            raise SourceError("finding the operators of a file: it does not run")
        return self.found[sha256]

    def again(self, sha256: str, _inputs: Any, *, is_blocked: bool) -> tuple[Operator, ...] | None:
        self.layouts.add(is_blocked)
        return self.found.get(sha256)


def predicted(describer: Describer, files: Mapping[str, str] = FILES, model: str = "digits", **boards: Any) -> Any:
    return predict(model, files, {}, boards, describer)  # type: ignore[arg-type]  # it finds as a Describer does


BOARD = [profiled(macs, 1.0) for macs in (50_000, 200_000, 1_000_000, 5_000_000)]
SLOW = [profiled(macs, 0.25) for macs in (50_000, 200_000, 1_000_000, 5_000_000)]


def test_the_slowest_board_of_a_class_counts() -> None:
    found = predicted(Describer(), fast=BOARD, slow=SLOW)
    assert {name: one.board for name, one in found.files.items()} == {"small": "slow", "large": "slow"}
    assert found.files["large"].latency_ms == pytest.approx(48.0, rel=0.05)
    assert {board: (one.files, one.worst < 0.05) for board, one in found.errors.items()} == {
        "fast": (4, True),
        "slow": (4, True),
    }


def test_a_board_of_which_too_little_is_known_is_not_looked_at_and_named() -> None:
    found = predicted(Describer(), fast=BOARD, slow=[SLOW[0], SLOW[1], SLOW[1]])
    assert {one.board for one in found.files.values()} == {"fast"}
    assert found.missing == {"slow": 2}, "versions that differ in their weights alone are one"
    choice = base_of("pi4", "digits", made_files(), {}, found)
    assert choice.reason == "too few files are known of slow (2): it is not looked at"


def test_for_a_model_that_was_never_profiled_files_of_each_other_model_are_left_out_together() -> None:
    """Within a model files are alike, between models they are not: the error is that of another model."""
    board = [
        profiled(macs * scale, speed, name) for name, scale, speed in MODELS for macs in (50_000, 200_000, 900_000)
    ]
    own = predicted(Describer(), model="a", board=board)
    other = predicted(Describer(), model="new", board=board)
    assert other.errors["board"].worst > own.errors["board"].worst
    two = [one for one in board if one.model != "c"]
    assert predicted(Describer(), model="new", board=two).files == {}
    assert predicted(Describer(), model="a", board=two).files != {}


MODELS = (("a", 1, 1.0), ("b", 3, 4.0), ("c", 7, 0.25))


def test_operators_that_are_not_those_of_the_file_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    lie = Describer({BOARD[0].profile.name: operators(50_000 * 100)})
    assert predicted(lie, board=BOARD).errors["board"].files == 3
    assert "operators that are not those of the file sha of 50000" in caplog.text
    assert predicted(lie, board=BOARD[:3]).files == {}


def test_a_board_that_runs_convolutions_in_blocks_is_described_as_such() -> None:
    reorder = profiled(70_000, 1.0, kind="ReorderOutput")
    for board, layout in ((BOARD, False), ([*BOARD, reorder], True)):
        describer = Describer()
        predicted(describer, board=board)
        assert describer.layouts == {layout}


def made_files(**runtimes: str) -> list[MadeFile]:
    names = {"source": "onnxruntime", "small": "onnxruntime"} | runtimes
    here = Measures(size_bytes=10, latency_p50_ms=1.0, latency_p95_ms=2.0, memory_bytes=5, accuracy=0.9)
    return [
        MadeFile(name=name, recipe_sha256=name, sha256=f"sha of {name}", runtime=runtime, here=here, drop_points=0.0)
        for name, runtime in names.items()
    ]


def test_files_of_which_nothing_is_predicted_are_left_out_and_say_why() -> None:
    found = predicted(Describer(), {"small": FILES["small"], "source": "sha of none"}, board=BOARD)
    base = base_of("pi4", "digits", made_files(lite="litert"), {}, found)
    choice = choose_for(base, Constraints(max_latency_ms=1e4), "latency")
    assert (choice.basis, choice.chosen, choice.front) == ("predicted", "small", ("small",))
    assert choice.left_out == {
        "source": "finding the operators of a file: it does not run",
        "lite": "litert tells nothing of its operators, so that no latency is predicted: measure it",
    }
    [small] = choice.candidates
    assert (small.measures.latency_p50_ms, small.measures.latency_p95_ms) == (found.files["small"].latency_ms, None)
    assert (small.measures.accuracy, small.measures.memory_bytes) == (0.9, 5)
    refused = choose_for(base, Constraints(max_latency_ms=1e-4), "latency")
    assert (refused.chosen, refused.front, refused.basis) == (None, (), "predicted")
    assert "Nearest: small for pi4 with" in refused.reason


@pytest.mark.parametrize("predictions", [None, ClassPredictions(missing={"Pi 4": 2})])
def test_where_nothing_can_be_predicted_it_is_said_how_to_get_there(predictions: ClassPredictions | None) -> None:
    choice = choose_for(base_of("pi4", "digits", made_files(), {}, predictions), Constraints(), "latency")
    assert (choice.basis, choice.chosen) == ("here", "small")
    known = "none" if predictions is None else "2 of Pi 4"
    assert f"have to be known of one of its boards: {known} found; compress with 2 recipes or more" in choice.reason


@pytest.mark.parametrize(
    ("shape", "datatype", "expected"),
    [
        ((-1, 4), "FP32", (1, 4)),
        ((3, 4), "INT64", (3, 4)),
        ((), "FP32", ()),
        ((-1, -1), "FP32", None),
        ((4, -1), "FP32", None),
        ((-1,), "BYTES", None),
    ],
)
def test_a_request_of_zeros_is_made_where_sizes_are_known(shape: Any, datatype: Any, expected: Any) -> None:
    found = zeros((TensorSpec(name="x", datatype=datatype, shape=shape),))
    assert (None if found is None else found["x"].shape) == expected
