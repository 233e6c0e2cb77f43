"""`python -m shoal_training.bring MODEL.onnx ...`: makes the bundle of a model that was trained elsewhere."""

import zipfile
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer
from pydantic import BaseModel, ValidationError

from shoal_contract.processing import Processing
from shoal_training.bundle import Bundle
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
            processing=_read(Processing, processing) if processing else None,
            card=_read(ModelCard, card) if card else None,
        )
        return bundle_from_onnx(model, _samples(samples), out, about)

    follow(work, _summary, as_json=json_)


def _samples(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"reading the samples: {path}: {error}; expected an .npz of numbers") from error


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
