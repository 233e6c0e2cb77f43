"""A session over ONNX Runtime's C API, on the CPU: opening, running and closing it stops no other thread.

The Python binding holds Python's lock while it opens one, which stops the whole agent for as long as that takes.
"""

from __future__ import annotations

import ctypes
import os
import time
import weakref
from collections.abc import Mapping, Sequence
from ctypes import addressof, c_char_p
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from shoal_agent.engines.engine import EngineError, EngineSetup
from shoal_agent.engines.ort_api import LOG_FATAL_ONLY, OrtApi, OrtError, environment
from shoal_agent.engines.ort_tensors import ELEMENT_TYPES, Slots, tensors_of
from shoal_contract.manifest import TensorSpec
from shoal_numerics.tensors import NUMPY_TYPES, Array

SESSION_ENTRIES: Final = {
    # Threads that wait by spinning would heat the board and take the application's cores.
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
}
SHORT_RUN_S: Final = 0.0001
"""A run that took less keeps Python's lock the next time: another thread that gets it keeps it for longer than that."""


class OrtSession:
    """A model on the CPU. What a run returns may outlive it; the arrays that it is given may not change meanwhile.

    Args:
        api: The library.
        path: The .onnx file.
        setup: Threads, and whether an arena is kept.

    Raises:
        EngineError: The file does not load, or has a tensor of another kind.
    """

    def __init__(self, api: OrtApi, path: Path, setup: EngineSetup) -> None:
        self._api = api
        self._free_slots: list[Slots] = []
        self._may_stay = True
        self._short_bytes = -1
        """Inputs of up to so many bytes were run in less than `SHORT_RUN_S` of late."""
        try:
            self._tensors = tensors_of(api)
            self._session = _open(api, path, setup)
            weakref.finalize(self, api.call.ReleaseSession, self._session).atexit = False
            self._shrinking = self._run_options()
            self.inputs = self._specs(path, "Input")
            self.outputs = self._specs(path, "Output")
        except OrtError as error:
            msg = f"loading {path}: ONNX Runtime does not load it: {error}"
            raise EngineError(msg) from error
        self._names = [spec.name for spec in self.inputs]
        self._is_sized = all(spec.datatype != "BYTES" for spec in self.inputs)  # texts are longer than their arrays
        self._shown = list(enumerate((spec.name, NUMPY_TYPES[spec.datatype]) for spec in self.outputs))
        self._passed_through = {spec.name for spec in self.outputs}.intersection(self._names)
        self._c_inputs, self._c_outputs = _c_names(self.inputs), _c_names(self.outputs)
        self._c_inputs_at, self._c_outputs_at = addressof(self._c_inputs), addressof(self._c_outputs)

    def run(self, inputs: Mapping[str, Array], *, shrinks: bool) -> dict[str, Array]:
        """Run the model once, see `OnnxSession.run`."""
        slots = self._take_slots()
        try:
            arrays = self._put(inputs, slots)
            size_bytes = sum(array.nbytes for array in arrays)
            try:
                self._run(slots, size_bytes, shrinks=shrinks)
            except OrtError:
                if not slots.drop_outputs():
                    raise
                self._may_stay = False  # the sizes of an output hang on more than those of the inputs
                self._run(slots, size_bytes, shrinks=shrinks)
            show, may_stay = self._tensors.show, self._may_stay
            shown = {name: show(slots, slot, kind, may_stay=may_stay) for slot, (name, kind) in self._shown}
            # Such an output is the memory of the input, which belongs to who asked.
            copied = {name: np.array(shown[name]) for name in self._passed_through}
            del arrays  # whose memory the runtime has read
            return shown | copied if copied else shown
        finally:
            slots.clear()
            self._free_slots.append(slots)

    def _run(self, slots: Slots, size_bytes: int, *, shrinks: bool) -> None:
        call, is_short = self._api.call, size_bytes <= self._short_bytes
        began_s = time.perf_counter()
        status = (call.RunShort if is_short else call.Run)(
            self._session,
            self._shrinking if shrinks else None,
            self._c_inputs_at,
            slots.inputs_at,
            len(self._names),
            self._c_outputs_at,
            len(self._shown),
            slots.outputs_at,
        )
        took_s = time.perf_counter() - began_s
        if status:
            self._api.check(status)
        if self._is_sized and (took_s < SHORT_RUN_S) != is_short:
            self._short_bytes = size_bytes - is_short

    def _put(self, inputs: Mapping[str, Array], slots: Slots) -> list[Array]:
        """Fill the slots of the inputs; return the arrays whose memory they are."""
        arrays = [np.asarray(inputs[name], order="C") for name in self._names if name in inputs]
        if not len(arrays) == len(inputs) == len(self._names):
            found, expected = (", ".join(map(repr, names)) for names in (inputs, self._names))
            msg = f"running a model: inputs {found} found, {expected} expected"
            raise EngineError(msg, "send the inputs that the manifest names")
        for slot, array in enumerate(arrays):
            self._tensors.put(slots, slot, array)
        return arrays

    def _take_slots(self) -> Slots:
        try:
            return self._free_slots.pop()
        except IndexError:  # as many are made as threads run at once
            return Slots(self._api.call, len(self.inputs), len(self.outputs))

    def _run_options(self) -> int:
        """Return options with which a run gives back what it took of the arena."""
        options = self._api.asked("CreateRunOptions")
        weakref.finalize(self, self._api.call.ReleaseRunOptions, options).atexit = False
        self._api.check(self._api.call.AddRunConfigEntry(options, b"memory.enable_memory_arena_shrinkage", b"cpu:0"))
        return options

    def _specs(self, path: Path, role: Literal["Input", "Output"]) -> list[TensorSpec]:
        api = self._api
        count = api.asked(f"SessionGet{role}Count", self._session)
        return [self._spec(path, role, index) for index in range(count)]

    def _spec(self, path: Path, role: str, index: int) -> TensorSpec:
        api = self._api
        name = self._name(role, index)
        info = api.asked(f"SessionGet{role}TypeInfo", self._session, index)
        try:
            tensor = api.asked("CastTypeInfoToTensorInfo", info)  # of the same life; 0: it is no tensor
            datatype = ELEMENT_TYPES.get(api.asked("GetTensorElementType", tensor)) if tensor else None
            if datatype is None:
                msg = f"loading {path}: tensor {name!r} is of another type, expected a tensor of one of the datatypes"
                raise EngineError(msg)
            return TensorSpec(name=name, datatype=datatype, shape=self._tensors.dimensions(tensor))
        finally:
            api.call.ReleaseTypeInfo(info)

    def _name(self, role: str, index: int) -> str:
        api = self._api
        allocator = api.asked("GetAllocatorWithDefaultOptions")
        text = api.asked(f"SessionGet{role}Name", self._session, index, allocator)
        try:
            return ctypes.string_at(text).decode()
        finally:
            api.check(api.call.AllocatorFree(allocator, text))


def _open(api: OrtApi, path: Path, setup: EngineSetup) -> int:
    call = api.call
    with api.made("SessionOptions") as options:
        api.check(call.SetIntraOpNumThreads(options, setup.threads))
        api.check(call.SetInterOpNumThreads(options, 1))
        for key, value in SESSION_ENTRIES.items():
            api.check(call.AddSessionConfigEntry(options, key.encode(), value.encode()))
        if not setup.has_arena:
            # It never gives memory back by itself: after one batch of 64 a process held 230 MB, without it 102 MB.
            api.check(call.DisableCpuMemArena(options))
        api.check(call.SetSessionLogSeverityLevel(options, LOG_FATAL_ONLY))
        return api.asked("CreateSession", environment(api), os.fsencode(path), options)


def _c_names(specs: Sequence[TensorSpec]) -> Any:  # noqa: ANN401 - an array of C
    return (c_char_p * len(specs))(*(spec.name.encode() for spec in specs))
