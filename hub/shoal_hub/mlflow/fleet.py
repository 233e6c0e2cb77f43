"""Makes of a version's files one that devices can serve, if they are that: a bundle of the hub's, or ONNX and samples.

What is neither stays a tracked version with the reason. Nothing of either is there before all of it is.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from shoal_hub.context import HubContext
from shoal_hub.errors import HubError
from shoal_hub.mlflow.bundle_child import EXAMPLES, MakeRequest, make_in_child
from shoal_hub.registry.inspection import Inspection, inspect_in_child
from shoal_hub.registry.limits import BundleLimits
from shoal_hub.registry.register import read_checked_bundle
from shoal_hub.tracking.tables import TrackedFile
from shoal_training.bundle import BUNDLE_FILE, Bundle, Parameter

SAMPLES: Final = ("samples.npz", "calibration.npz")
"""Which archive of samples is meant where there are several."""


@dataclass(frozen=True)
class Trained:
    """What the run says of a version.

    Attributes:
        author: Who registers it.
        parameters: Of the run.
        metrics: Of the run, all finite.
    """

    author: str
    parameters: dict[str, Parameter]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Served:
    """A version that devices can serve, ready to be registered: its folder, its bundle, and what was seen of it."""

    folder: Path
    bundle: Bundle
    inspection: Inspection


@contextmanager
def prepared(hub: HubContext, model: str, files: Sequence[TrackedFile], trained: Trained) -> Iterator[Served | str]:
    """Yield what can be registered, or why no device can serve it; its folder is gone after the block.

    Args:
        hub: Where the files are.
        model: As devices call it.
        files: Of the version.
        trained: What the run says.
    """
    uploads = hub.settings.data / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=uploads) as place:
        found: Served | str
        try:
            found = _prepare(hub, model, files, trained, Path(place))
        except _NotServedError as error:
            found = str(error)
        yield found


class _NotServedError(Exception):
    """Why no device can serve a version."""


def _prepare(hub: HubContext, model: str, files: Sequence[TrackedFile], trained: Trained, place: Path) -> Served:
    total = sum(one.size_bytes for one in files)
    if total > hub.settings.max_upload_bytes:
        raise _NotServedError(f"its files have {total} bytes, of one version {hub.settings.max_upload_bytes} are taken")
    limits = BundleLimits.of(hub.settings)
    try:
        folder = _bundle(hub, files, place) or _made(hub, model, files, trained, place, limits)
        bundle = read_checked_bundle(folder, model, is_licence_required=hub.settings.require_licence)
        return Served(folder, bundle, inspect_in_child(folder, limits))
    except HubError as error:
        raise _NotServedError(str(error)) from error


def _bundle(hub: HubContext, files: Sequence[TrackedFile], place: Path) -> Path | None:
    """Bring the folder in which bundle.json is; None where no folder has one."""
    found = sorted(PurePosixPath(one.path).parent for one in files if PurePosixPath(one.path).name == BUNDLE_FILE)
    if not found:
        return None
    folder = place / "bundle"
    _bring(hub, [one for one in files if PurePosixPath(one.path).parent == found[0]], folder)
    return folder


def _made(
    hub: HubContext, model: str, files: Sequence[TrackedFile], trained: Trained, place: Path, limits: BundleLimits
) -> Path:
    graphs = [one for one in files if one.path.endswith(".onnx")]
    if not graphs:
        raise _NotServedError("it has no ONNX file and is no bundle: devices run ONNX and LiteRT, and no Python")
    if len(graphs) > 1:
        raise _NotServedError(f"it has {len(graphs)} ONNX files, and nothing says which one is meant")
    archives = [one for one in files if one.path.endswith(".npz")]
    named = [one for one in archives if PurePosixPath(one.path).name in SAMPLES] or archives
    others = [one for one in files if PurePosixPath(one.path).name in {*EXAMPLES, "labels.txt"}]
    if not named and not others:
        raise _NotServedError(
            "it has no samples beside its ONNX file: log samples.npz with an array for each input, or an input_example"
        )
    _bring(hub, [graphs[0], *named[:1], *others], place / "logged")
    request = MakeRequest(
        name=model,
        author=trained.author,
        framework="onnx",
        model=PurePosixPath(graphs[0].path).name,
        samples=PurePosixPath(named[0].path).name if named else None,
        parameters=trained.parameters,
        metrics=trained.metrics,
        limits=limits,
    )
    make_in_child(place / "logged", place / "made", request)
    return place / "made"


def _bring(hub: HubContext, files: Sequence[TrackedFile], folder: Path) -> None:
    """Write files of the artifact store into a new folder, block by block."""
    folder.mkdir()
    for one in files:
        name = PurePosixPath(one.path).name
        with hub.artifacts.open(one.sha256) as source, (folder / name).open("wb") as out:
            shutil.copyfileobj(source, out)
