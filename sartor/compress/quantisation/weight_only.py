"""Weights alone on a grid, after training and without data.

Each output of a layer has a step of its own, the one of least squared error (Nahshan et al. 2021, arXiv:1911.07190).
The result is a network of floats that lie on the grid: what it predicts is what a runtime with such weights predicts.
``four_bit_file`` writes linear layers of an ONNX file with 4 bits, by ONNX Runtime's own operator.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from sartor.compress.quantisation.uniform import bounds, least_error_step, on_grid, output_axis
from sartor.compress.sparsity.weights import weights_of
from sartor.errors import InputError, near
from sartor.export._ort import need

FEATURE = "quantising an ONNX file"
_FLOAT_BYTES = 4


def quantise_weights(module: nn.Module, bits: int | Mapping[str, int], *, skip: Sequence[str] = ()) -> nn.Module:
    """Returns a copy whose weights lie on a grid; biases, normalisation and embeddings are left alone.

    Args:
        module: Trained; left as it is.
        bits: 2 to 8, of all layers or of each weight by name; weights not named are left alone.
        skip: Layers to leave alone.

    Raises:
        InputError: bits out of range, a name that is no weight, or weights that are not finite (named).
    """
    made = copy.deepcopy(module)
    weights = weights_of(made, skip=skip)
    chosen = bits_of(weights, bits)
    layers = dict(made.named_modules())
    with torch.no_grad():
        for name, count in chosen.items():
            weight = weights[name]
            if bad := int((~torch.isfinite(weight)).sum()):
                raise InputError(f"{name}: {bad} of {weight.numel()} weights are not finite")
            axis = output_axis(layers[name.rpartition(".")[0]])
            weight.copy_(on_grid(weight, least_error_step(weight, count, axis), *bounds(count)))
    return made


def bits_of(weights: Mapping[str, nn.Parameter], bits: int | Mapping[str, int]) -> dict[str, int]:
    """Returns the bits of each weight.

    Raises:
        InputError: bits out of range, or a name that is no weight.
    """
    chosen = dict.fromkeys(weights, bits) if isinstance(bits, int) else dict(bits)
    for name, count in chosen.items():
        if name not in weights:
            raise InputError(f"bits: there is no weight {name!r}{near(name, weights)}")
        bounds(count)
    return chosen


def quantised_bytes(module: nn.Module, bits: int | Mapping[str, int], *, skip: Sequence[str] = ()) -> int:
    """Returns the bytes of parameters and buffers when weights have so many bits and a 4-byte step for each output."""
    weights = weights_of(module, skip=skip)
    layers = dict(module.named_modules())
    chosen = bits_of(weights, bits)
    total = sum(
        -(-weights[name].numel() * count // 8)
        + _FLOAT_BYTES * weights[name].shape[output_axis(layers[name.rpartition(".")[0]])]
        for name, count in chosen.items()
    )
    small = {id(weights[name]) for name in chosen}
    rest = [value for value in (*module.parameters(), *module.buffers()) if id(value) not in small]
    return total + sum(value.numel() * value.element_size() for value in rest)


def four_bit_file(source: str | Path, path: str | Path, *, block: int = 32) -> int:
    """Writes an ONNX file whose matrix products have 4-bit weights, one step for each block; returns its bytes.

    ONNX Runtime alone runs it (its operator MatMulNBits). Convolutions are left as they are.

    Args:
        source: An ONNX file; left as it is.
        path: Where to write.
        block: Inputs that share a step: a power of 2, at least 16.

    Raises:
        InputError: no such file or folder, a block out of range, or no matrix product with constant weights.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    source, path = checked_paths(source, path)
    if block < 16 or block & (block - 1):
        raise InputError(f"block: expected a power of 2 of at least 16, got {block}")
    onnx = need("onnx", FEATURE)
    quantiser = need("onnxruntime.quantization.matmul_nbits_quantizer", FEATURE)
    made = quantiser.MatMulNBitsQuantizer(onnx.load(source), bits=4, block_size=block, is_symmetric=True)
    made.process()
    model = made.model.model
    if not any(node.op_type == "MatMulNBits" for node in model.graph.node):
        raise InputError(f"{source} has no matrix product with constant weights: nothing to write with 4 bits")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        onnx.save(model, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size


def checked_paths(source: str | Path, path: str | Path) -> tuple[Path, Path]:
    """Returns the paths of a file to read and of another to write.

    Raises:
        InputError: one cannot be, or both are one file.
    """
    source, path = Path(source), Path(path)
    if not source.is_file():
        raise InputError(f"expected an ONNX file to quantise, there is no {source}")
    if not path.parent.is_dir():
        raise InputError(f"no folder {path.parent} to write {path.name} into: make it first")
    if path.exists() and path.samefile(source):
        raise InputError(f"{path} is the file to quantise: write to another, so that it stays")
    return source, path
