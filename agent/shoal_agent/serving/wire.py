"""The client's side of the Open Inference Protocol v2: requests and answers with tensors as binary data."""

import json
from collections.abc import Mapping

import numpy as np

from shoal_agent.engines import NUMPY_TYPES, Array
from shoal_agent.errors import AgentError
from shoal_agent.serving.binary import Tail, read_tensor, write_tensor
from shoal_contract.manifest import Datatype
from shoal_numerics.tensors import DATATYPES


def write_request(inputs: Mapping[str, Array]) -> tuple[bytes, int]:
    """Return the body of an inference request that wants binary answers, and how many of its bytes are JSON.

    Raises:
        AgentError: An array's type has no datatype.
    """
    described, tail = [], []
    for name, array in inputs.items():
        datatype = datatype_of(name, array)
        data = write_tensor(np.ascontiguousarray(array))
        tail.append(bytes(data))
        size = {"binary_data_size": len(tail[-1])}
        described.append({"name": name, "datatype": datatype, "shape": list(array.shape), "parameters": size})
    head = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
    return b"".join((head, *tail)), len(head)


def datatype_of(name: str, array: Array) -> Datatype:
    """Return the datatype of an input's elements.

    Raises:
        AgentError: There is none for them.
    """
    datatype = DATATYPES.get(array.dtype.newbyteorder("="))
    if datatype is None:
        known = ", ".join(str(kind) for kind in NUMPY_TYPES.values())
        raise AgentError(f"asking for an inference: input {name!r} is {array.dtype}", f"make it one of {known}")
    return datatype


def read_answer(body: bytes, json_bytes: int) -> dict[str, Array]:
    """Return the outputs of an answer by name.

    Args:
        body: As it came.
        json_bytes: How many of its bytes are JSON; 0: all.

    Raises:
        AgentError: It is no answer to an inference request.
    """
    try:
        tail = Tail(body, json_bytes or len(body))
        outputs = {}
        for item in json.loads(bytes(tail.head))["outputs"]:
            name, datatype, shape = str(item["name"]), str(item["datatype"]), tuple(item["shape"])
            if "data" in item:
                outputs[name] = np.array(item["data"], dtype=NUMPY_TYPES[datatype]).reshape(shape)
            else:
                data = tail.take(item["parameters"]["binary_data_size"], name)
                outputs[name] = read_tensor(data, datatype, shape, name)
    except (ValueError, KeyError, TypeError) as error:
        raise AgentError(f"reading an answer: {error!r}", "ask a server of the Open Inference Protocol v2") from error
    return outputs
