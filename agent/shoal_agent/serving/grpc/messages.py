"""The messages of `inference.GRPCInferenceService`, built from a table: nothing is generated, nothing is compiled.

Source: Open Inference Protocol v2, `open_inference_grpc.proto`; names, numbers and types of fields are the protocol's.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "inference"
SERVICE: Final = f"{PACKAGE}.GRPCInferenceService"
_TYPES: Final = {
    "bool": 8, "string": 9, "bytes": 12, "int32": 5, "int64": 3, "uint32": 13, "uint64": 4, "float": 2, "double": 1
}  # fmt: skip
_MESSAGE: Final = 11
_OPTIONAL, _REPEATED = 1, 3
_PARAMETER: Final = ["bool_param:1 bool|", "int64_param:2 int64|", "string_param:3 string|"]
_CONTROL: Final = ["repository_name:1 string", "model_name:2 string", "parameters:3 {ModelRepositoryParameter}"]
_TENSOR: Final = ["name:1 string", "datatype:2 string", "shape:3 int64*"]
_TENSOR_DATA: Final = [*_TENSOR, "parameters:4 {InferParameter}", "contents:5 InferTensorContents"]

_MESSAGES: Final[dict[str, list[str]]] = {
    "ServerLiveRequest": [],
    "ServerLiveResponse": ["live:1 bool"],
    "ServerReadyRequest": [],
    "ServerReadyResponse": ["ready:1 bool"],
    "ModelReadyRequest": ["name:1 string", "version:2 string"],
    "ModelReadyResponse": ["ready:1 bool"],
    "ServerMetadataRequest": [],
    "ServerMetadataResponse": ["name:1 string", "version:2 string", "extensions:3 string*"],
    "ModelMetadataRequest": ["name:1 string", "version:2 string"],
    "ModelMetadataResponse": [
        "name:1 string",
        "versions:2 string*",
        "platform:3 string",
        "inputs:4 ModelMetadataResponse.TensorMetadata*",
        "outputs:5 ModelMetadataResponse.TensorMetadata*",
    ],
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": _PARAMETER,
    "InferTensorContents": [
        "bool_contents:1 bool*",
        "int_contents:2 int32*",
        "int64_contents:3 int64*",
        "uint_contents:4 uint32*",
        "uint64_contents:5 uint64*",
        "fp32_contents:6 float*",
        "fp64_contents:7 double*",
        "bytes_contents:8 bytes*",
    ],
    "ModelInferRequest": [
        "model_name:1 string",
        "model_version:2 string",
        "id:3 string",
        "parameters:4 {InferParameter}",
        "inputs:5 ModelInferRequest.InferInputTensor*",
        "outputs:6 ModelInferRequest.InferRequestedOutputTensor*",
        "raw_input_contents:7 bytes*",
    ],
    "ModelInferRequest.InferInputTensor": _TENSOR_DATA,
    "ModelInferRequest.InferRequestedOutputTensor": ["name:1 string", "parameters:2 {InferParameter}"],
    "ModelInferResponse": [
        "model_name:1 string",
        "model_version:2 string",
        "id:3 string",
        "parameters:4 {InferParameter}",
        "outputs:5 ModelInferResponse.InferOutputTensor*",
        "raw_output_contents:6 bytes*",
    ],
    "ModelInferResponse.InferOutputTensor": _TENSOR_DATA,
    "RepositoryIndexRequest": ["repository_name:1 string", "ready:2 bool"],
    "RepositoryIndexResponse": ["models:1 RepositoryIndexResponse.ModelIndex*"],
    "RepositoryIndexResponse.ModelIndex": ["name:1 string", "version:2 string", "state:3 string", "reason:4 string"],
    "ModelRepositoryParameter": [*_PARAMETER, "bytes_param:4 bytes|"],
    "RepositoryModelLoadRequest": _CONTROL,
    "RepositoryModelLoadResponse": [],
    "RepositoryModelUnloadRequest": _CONTROL,
    "RepositoryModelUnloadResponse": [],
}
"""Fields as `name:number type`; `*` repeated, `{type}` a map from text, `|` one of several."""


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in _MESSAGES.items():
        outer, _, own = name.rpartition(".")
        made[name] = made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
        for field in fields:
            _add_field(made[name], name, field)
    return file


def _add_field(message: Any, owner: str, field: str) -> None:  # noqa: ANN401 - protobuf's descriptors have no types here
    what, kind = field.split(" ")
    name, number = what.split(":")
    is_choice, is_many, is_map = kind.endswith("|"), kind.endswith("*"), kind.startswith("{")
    kind = kind.strip("|*{}")
    added = message.field.add(name=name, number=int(number), label=_REPEATED if is_many or is_map else _OPTIONAL)
    if is_choice:
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        added.oneof_index = 0
    if is_map:
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_TYPES["string"], label=_OPTIONAL)
        value = f".{PACKAGE}.{kind}"
        entry.field.add(name="value", number=2, type=_MESSAGE, type_name=value, label=_OPTIONAL)
        added.type, added.type_name = _MESSAGE, f".{PACKAGE}.{owner}.{entry.name}"
    elif kind in _TYPES:
        added.type = _TYPES[kind]
    else:
        added.type, added.type_name = _MESSAGE, f".{PACKAGE}.{kind}"


def _classes() -> dict[str, Any]:
    # A pool of its own: a client in the same process may have the protocol's generated classes.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    names = [name for name in _MESSAGES if "." not in name]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in names}


MESSAGES: Final[dict[str, Any]] = _classes()
"""The classes of the messages by name."""
