"""One ONNX graph of a preparation and a model: a device computes both, and nothing is kept alike by hand."""

from typing import Any

from shoal_training.errors import ExportError
from shoal_training.transforms.preparation import PREPARED

INPUT, SCORES = "x", "scores"
"""Of a model's own graph, see `Fitted.graph`; the joined one has the preparation's inputs and `SCORES`."""


def joined_graph(preparation: Any | None, model: Any, input_name: str) -> Any:  # noqa: ANN401 - onnx has few types
    """Put a preparation's graph before a model's.

    Args:
        preparation: From the whole model's inputs to `PREPARED`; None: `input_name` is what the model takes.
        model: From `INPUT` to `SCORES`.
        input_name: What the model's input is called where there is no preparation.

    Raises:
        ExportError: They do not fit each other.
    """
    import onnx
    from onnx import compose, version_converter

    try:
        if preparation is None:
            joined = compose.add_prefix(model, "model_")
            renamed = {f"model_{INPUT}": input_name}
        else:
            first, second = _same_opsets(preparation, model, version_converter)
            taken = [one.name for one in first.graph.input]
            first, second = compose.add_prefix(first, "prepare_"), compose.add_prefix(second, "model_")
            joined = compose.merge_models(first, second, io_map=[(f"prepare_{PREPARED}", f"model_{INPUT}")])
            renamed = {f"prepare_{name}": name for name in taken}
        _rename(joined, renamed | {f"model_{SCORES}": SCORES})
        _name_opsets_once(joined)
        onnx.checker.check_model(joined, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise ExportError(f"joining the preparation and the model: {str(error)[:500]}") from error
    return joined


def _rename(model: Any, names: dict[str, str]) -> None:  # noqa: ANN401 - onnx has few types
    """Give tensors of the outermost graph other names."""
    for node in model.graph.node:
        for used in (node.input, node.output):
            used[:] = [names.get(one, one) for one in used]
    for one in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        one.name = names.get(one.name, one.name)


def _name_opsets_once(model: Any) -> None:  # noqa: ANN401 - onnx has few types
    """Leave of each domain's versions, which joining names once a part, the newest: quantizers take no others."""
    newest: dict[str, int] = {}
    for one in model.opset_import:
        newest[one.domain] = max(one.version, newest.get(one.domain, 0))
    del model.opset_import[:]
    for domain, version in newest.items():
        model.opset_import.add(domain=domain, version=version)


def _same_opsets(first: Any, second: Any, converter: Any) -> tuple[Any, Any]:  # noqa: ANN401 - onnx has few types
    """Return both at the newer of their opsets, and of one version of the file's form.

    Operators of other domains, which no converter knows, have only got attributes from one version to the next.
    """
    models = []
    newest = max(one.version for model in (first, second) for one in model.opset_import if not one.domain)
    others: dict[str, int] = {}
    for one in (*first.opset_import, *second.opset_import):
        others[one.domain] = max(one.version, others.get(one.domain, 0))
    for model in (first, second):
        found = {one.domain: one.version for one in model.opset_import}  # some writers say a domain twice
        now = converter.convert_version(model, newest) if found.get("", newest) < newest else model
        found = {one.domain: others[one.domain] for one in now.opset_import} | {"": newest}
        del now.opset_import[:]
        for domain, version in found.items():
            now.opset_import.add(domain=domain, version=version)
        models.append(now)
    for model in models:
        model.ir_version = max(one.ir_version for one in models)
    return models[0], models[1]
