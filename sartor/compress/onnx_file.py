"""An ONNX file as a module, run by ONNX Runtime on one thread of the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sartor.errors import InputError
from sartor.export._ort import need, session

FEATURE = "running an ONNX file"


class OnnxFile(nn.Module):
    """Computes what the file computes: its first output. It has no parameters, and no gradients.

    A file that takes single rows is given them one by one.

    Args:
        path: The file.

    Raises:
        InputError: there is no such file, or it cannot be run.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
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
        return OnnxFile, (self.path,)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Returns the first output for a batch, on the device of the first input.

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
            outputs = [self._session.run(None, dict(zip(names, row, strict=True)))[0] for row in rows]
        except self._refused as error:
            raise InputError(f"{self.path} does not take these inputs: {error}") from error
        return torch.cat([torch.from_numpy(output) for output in outputs]).to(inputs[0].device)
