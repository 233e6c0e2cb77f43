"""`python -m shoal_training.bring MODEL.onnx ...`: makes the bundle of a model that was trained elsewhere."""

import zipfile
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer
from pydantic import BaseModel, ValidationError

from shoal_contract.processing import Processing
from shoal_training.bundle import Bundle, SliceSpec
from shoal_training.errors import DataError
from shoal_training.model_card import ModelCard
from shoal_training.onnx_bundle import About, bundle_from_onnx
from shoal_training.onnx_samples import Array
from shoal_training.program import follow

app = typer.Typer(add_completion=False)
_Described = TypeVar("_Described", bound=BaseModel)


@app.command()
def main(
    model: Annotated[Path, typer.Argument(help="The ONNX file; it is taken as it is.", exists=True, dir_okay=False)],
    samples: Annotated[
        Path,
        typer.Option(
            help="An .npz with an array of samples for each input, and `y` if their labels are known.",
            exists=True,
            dir_okay=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="Of the model in the registry.")],
    author: Annotated[str, typer.Option(help="Who made the model.")],
    out: Annotated[Path, typer.Option(help="Folder for the bundle; new or empty.")],
    labels: Annotated[
        Path | None, typer.Option(help="A text file with the label of each place, a line each.", exists=True)
    ] = None,
    watch: Annotated[
        list[str] | None, typer.Option(help="An input to watch for drift; may be repeated. All without it.")
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(help="A feature whose whole numbers are categories, like x[3]; may be repeated."),
    ] = None,
    embedding: Annotated[
        str | None, typer.Option(help="The output that stands for a sample in drift, as its last but one layer.")
    ] = None,
    slice_: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            help="Count a part of the samples by itself: NAME=FEATURE:LOW:HIGH (either may be empty; above LOW, up to "
            "HIGH) or NAME=FEATURE:VALUE; may be repeated.",
        ),
    ] = None,
    processing: Annotated[
        Path | None, typer.Option(help="JSON: how inputs are made and what outputs mean.", exists=True)
    ] = None,
    card: Annotated[Path | None, typer.Option(help="JSON: the model card, with the licence.", exists=True)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write the result as JSON lines.")] = False,
) -> None:
    """Make the bundle of an ONNX model that was trained elsewhere."""

    def work(_: object) -> Bundle:
        about = About(
            name=name,
            author=author,
            labels=tuple(labels.read_text().splitlines()) if labels else (),
            watched=tuple(watch or ()),
            categorical=tuple(categorical or ()),
            embedded=embedding,
            slices=tuple(read_slice(text) for text in slice_ or ()),
            processing=_read(Processing, processing) if processing else None,
            card=_read(ModelCard, card) if card else None,
        )
        return bundle_from_onnx(model, _samples(samples), out, about)

    follow(work, _summary, as_json=json_)


def read_slice(text: str) -> SliceSpec:
    """Return a slice that was given as NAME=FEATURE:LOW:HIGH or NAME=FEATURE:VALUE.

    Raises:
        DataError: It was not.
    """
    name, _, rest = text.partition("=")
    feature, *bounds = rest.split(":")
    try:
        numbers = [float(bound) if bound else None for bound in bounds]
        match numbers:
            case [float(value)]:
                return SliceSpec(name=name, feature=feature, equals=value)
            case [low, high] if numbers != [None, None]:
                return SliceSpec(name=name, feature=feature, low=low, high=high)
    except ValueError as error:
        raise DataError(f"reading the slice {text!r}: {error}") from error
    raise DataError(f"reading the slice {text!r}: expected NAME=FEATURE:LOW:HIGH or NAME=FEATURE:VALUE")


def _samples(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"reading the samples: {path}: {error}; expected an .npz of numbers and texts") from error


def _read(kind: type[_Described], path: Path) -> _Described:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DataError(f"reading {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _summary(bundle: Bundle) -> str:
    requests = "a request is one sample" if bundle.batching else "a request holds any number of samples"
    inputs = ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in bundle.inputs)
    return f"{bundle.name}: {inputs}; {requests}"


if __name__ == "__main__":
    app(prog_name="python -m shoal_training.bring")
