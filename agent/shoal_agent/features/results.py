"""What a pipeline says of each window that has closed: one line of JSON for its sinks."""

import math
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from shoal_agent.features.model_call import ModelAnswer
from shoal_numerics.features import WindowRows


def result_lines(
    pipeline: str, definition: str, names: Sequence[str], rows: WindowRows, answers: Sequence[ModelAnswer | None]
) -> list[bytes]:
    """Return a line of JSON for each window, without its end.

    Args:
        pipeline: Its name.
        definition: Whose windows they are.
        names: Names of the features, in the order of the columns.
        rows: w windows.
        answers: w answers of a model, None where there is none.
    """
    columns = (rows.entities, rows.start_ns.tolist(), rows.end_ns.tolist(), rows.events.tolist(), rows.values.tolist())
    lines = []
    for (entity, start_ns, end_ns, events, values), answer in zip(zip(*columns, strict=True), answers, strict=True):
        said: dict[str, Any] = {
            "pipeline": pipeline,
            "definition": definition,
            "entity": entity,
            "start_ns": start_ns,
            "end_ns": end_ns,
            "events": events,
            "features": {name: None if math.isnan(value) else value for name, value in zip(names, values, strict=True)},
        }
        if answer is not None:
            said["model"] = answer._asdict()
        lines.append(to_json(said, inf_nan_mode="null"))
    return lines
