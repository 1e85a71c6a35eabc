"""An ONNX file as a module, run by ONNX Runtime on one thread of the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor.errors import InputError
from sartor.export._ort import need, session

FEATURE = "running an ONNX file"


class OnnxFile(nn.Module):
    """Computes what the file computes: a tensor, or as many as it has outputs. No parameters, and no gradients.

    A file that takes single rows is given them one by one.

    Args:
        path: The file.
        stands_for: A network that answers what else is asked of the module (how much it remembers).

    Raises:
        InputError: there is no such file, or it cannot be run.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, path: str | Path, stands_for: nn.Module | None = None) -> None:
        super().__init__()
        self.path = Path(path)
        # Beside the modules: its parameters are not the file's.
        self.__dict__["_stands_for"] = stands_for
        if not self.path.is_file():
            raise InputError(f"expected an ONNX file, there is no {self.path}")
        state = need("onnxruntime.capi.onnxruntime_pybind11_state", FEATURE)
        try:
            self._session = session(str(self.path), FEATURE)
        except (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.InvalidArgument) as error:
            raise InputError(f"{self.path} cannot be run as an ONNX file: {error}") from error
        self._inputs = self._session.get_inputs()
        self._refused = (state.Fail, state.InvalidArgument, state.RuntimeException)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxFile, (self.path, self._stands_for)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if (network := self.__dict__.get("_stands_for")) is None:
                raise
            return getattr(network, name)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Returns the outputs for a batch, on the device of the first input.

        Raises:
            InputError: the file does not take these inputs.
        """
        if len(inputs) != len(self._inputs):
            raise InputError(f"{self.path} takes {len(self._inputs)} inputs, got {len(inputs)}")
        arrays = [tensor.detach().cpu().numpy() for tensor in inputs]
        shape = self._inputs[0].shape
        single = bool(shape) and shape[0] == 1
        rows = [[array[i : i + 1] for array in arrays] for i in range(len(arrays[0]))] if single else [arrays]
        names = [entry.name for entry in self._inputs]
        try:
            found = [self._session.run(None, dict(zip(names, row, strict=True))) for row in rows]
        except self._refused as error:
            raise InputError(f"{self.path} does not take these inputs: {error}") from error
        outputs = [torch.from_numpy(np.concatenate(parts)).to(inputs[0].device) for parts in zip(*found, strict=True)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)
