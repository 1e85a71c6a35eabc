"""A network at initialisation, and what training-free proxies look at, each computed once and when first read."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.hooks import RemovableHandle

from sartor.estimators.proxies._proxy import Need

_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.RReLU),
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus, nn.Tanh, nn.Hardtanh),
)
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
_CONVOLUTIONS = _WEIGHTED[:6]
_POOLS = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
_NO_BLOCKS = "it has no list of at least two blocks (nn.Sequential, nn.ModuleList)"
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_MOST_COMPARED = 128
"""Samples compared with one another. More than a network has units cannot be told apart by their patterns: the nodes of
a graph, which are one batch, would make every network dead; and what compares them takes their number's cube.
"""


class Probe:
    """What proxies read; a context manager that leaves the network as it was.

    The shared forward pass is in training mode, normalisation by the batch, but modules of dropout drop nothing. Loss:
    cross-entropy with drawn classes of a two-dimensional output, else the squared distance from drawn values: no labels
    are needed.

    Args:
        network: At initialisation.
        inputs: ``[n, ...]`` each.
        needs: What the proxies asked for read: hooks are set for that alone.
        seed: Of what is drawn.

    Attributes:
        compared: Samples that are compared with one another: all, or 128 drawn of more.
        patterns: Agreement of activation patterns: for each pair of those compared the number of units that are on in
            both or off in both, ``[c, c]``.
        codes: For each unit of each activation a number that is equal for equal patterns over those compared,
            ``[units]``.
        features: Outputs of convolutions for the first sample, ``[channels, ...]`` each.
        entropies: Of the spectrum of each block's output: of its covariance over samples and positions.
        passed: Of each block its input and its output, ``[n, channels, ...]``.
        gradients: Of the loss, of the parameters that have some, as ``(parameter, gradient)``.
        halves: Of the losses of either half of the batch, ``(parameter, first, second)``.
        saliency: Each weighted layer, and its output times the gradient of that.
        jacobian: Gradient of the summed output by the first input, ``[n, ...]``.
    """

    def __init__(self, network: nn.Module, inputs: Sequence[Tensor], needs: frozenset[Need], *, seed: int = 0) -> None:
        self.network, self.inputs, self.needs = network, tuple(inputs), needs
        self.num_samples = len(inputs[0])
        self._seed = seed
        self._handles: list[RemovableHandle] = []
        self._modules = list(network.modules())
        self._was_training = [module.training for module in self._modules]
        self._agreement: Tensor | None = None
        self._codes: list[Tensor] = []
        self._features: list[Tensor] = []
        self._weighted: list[tuple[nn.Module, Tensor]] = []
        self._entered: dict[nn.Module, Any] = {}
        self._passed: list[tuple[Tensor, Tensor]] = []
        self._entropies: list[float] = []

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unhook()
        for module, training in zip(self._modules, self._was_training, strict=True):
            module.training = training

    def generator(self, what: str) -> torch.Generator:
        """Returns random numbers for one purpose: the same whatever else is computed."""
        return torch.Generator().manual_seed(zlib.crc32(f"{what} {self._seed}".encode()))

    @cached_property
    def compared(self) -> Tensor:
        if self.num_samples <= _MOST_COMPARED:
            return torch.arange(self.num_samples)
        return torch.randperm(self.num_samples, generator=self.generator("compared"))[:_MOST_COMPARED]

    # --- the shared forward pass

    @cached_property
    def output(self) -> Tensor:
        """What the network says, with its graph; hooks fill the rest."""
        self._hook()
        first = self.inputs[0]
        if first.is_floating_point():
            first = first.detach().requires_grad_("jacobian" in self.needs)
        self._first = first
        grads = self.needs & {"gradients", "halves", "saliency", "jacobian", "blocks"}
        # The fused kernels of attention cannot be differentiated twice.
        with torch.set_grad_enabled(bool(grads)), sdpa_kernel(SDPBackend.MATH), self._training():
            found = _first(self.network(first, *self.inputs[1:]))
        self._unhook()
        return found

    @cached_property
    def is_alive(self) -> bool:
        """Whether the output is finite and differs between samples."""
        flat = self.output.detach().reshape(self.num_samples, -1)
        if not torch.isfinite(flat).all():
            return False
        return bool((flat - flat[:1]).abs().max() > 1e-9 * (1 + flat.abs().max()))

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Training mode, but no module drops anything, and no running statistics are changed."""
        self.network.train()
        held = [(module._buffers, dict(module._buffers)) for module in self._modules if module._buffers]
        for module in self._modules:
            if isinstance(module, (_DropoutNd, nn.MultiheadAttention, nn.RReLU)):
                module.eval()
        for buffers, own in held:
            buffers.update({name: None if each is None else each.clone() for name, each in own.items()})
        try:
            yield
        finally:
            for buffers, own in held:
                buffers.update(own)

    def _hook(self) -> None:
        wants = self.needs
        for module in self._modules:
            if wants & {"patterns", "codes"} and isinstance(module, _ACTIVATIONS):
                self._handles.append(module.register_forward_hook(self._see_pattern))
            if "features" in wants and isinstance(module, _CONVOLUTIONS):
                self._handles.append(module.register_forward_hook(self._see_features))
            if "saliency" in wants and isinstance(module, _WEIGHTED):
                self._handles.append(module.register_forward_hook(self._see_weighted))
        for block in dict.fromkeys(self.blocks) if wants & {"blocks", "entropies"} else ():
            if "entropies" in wants:
                self._handles.append(block.register_forward_hook(self._see_entropy))
            if "blocks" in wants:
                self._handles.append(block.register_forward_pre_hook(self._see_input))
                self._handles.append(block.register_forward_hook(self._see_block))

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _see_pattern(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.shape[0] != self.num_samples:
            return
        on = (output.detach() > 0).reshape(self.num_samples, -1)
        if self.num_samples > _MOST_COMPARED:
            on = on[self.compared.to(on.device)]
        on = on.to(torch.float32)
        # Units that are on in both; whole numbers, exact up to 2^24.
        both = on @ on.T
        each = both.diagonal()
        agreement = on.shape[1] - each[:, None] - each + 2 * both
        self._agreement = agreement if self._agreement is None else self._agreement + agreement
        if "codes" in self.needs:
            # A random sum tells patterns apart; the 53 bits of a double hold it.
            keys = torch.randint(1, 2**40, (len(on),), generator=self.generator("codes"))
            self._codes.append(keys.to(on.device).double() @ on.double())

    def _see_features(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._features.append(output[0].detach().clone())

    # What comes next gets a copy, and may change it in place (nn.ReLU(inplace=True)).

    def _see_weighted(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if output.requires_grad:
            self._weighted.append((module, output))
        return output.clone()

    def _see_entropy(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            self._entropies.append(_entropy(output.detach()))

    def _see_input(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not inputs or not isinstance(inputs[0], Tensor):
            return None
        self._entered[module] = inputs[0]
        return inputs[0].clone(), *inputs[1:]

    def _see_block(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        before = self._entered.pop(module, None)
        if before is None or not isinstance(output, Tensor):
            return None
        self._passed.append((before, output))
        return output.clone()

    # --- what proxies read

    @property
    def patterns(self) -> Tensor:
        _ = self.output
        if self._agreement is None:
            raise LookupError("it has no activation modules (nn.ReLU, nn.GELU, ...) whose patterns could be compared")
        return self._agreement

    @property
    def codes(self) -> Tensor:
        _ = self.patterns
        return torch.cat(self._codes)

    @property
    def features(self) -> list[Tensor]:
        _ = self.output
        if not self._features:
            raise LookupError("it has no convolutions, whose feature maps could be compared")
        return self._features

    @property
    def entropies(self) -> list[float]:
        _ = self.output
        if len(self._entropies) < 2:
            raise LookupError(_NO_BLOCKS)
        return self._entropies

    @property
    def passed(self) -> list[tuple[Tensor, Tensor]]:
        """Input and output of each of `blocks`, with their graph."""
        _ = self.output
        if len(self._passed) < 2:
            raise LookupError(_NO_BLOCKS)
        return self._passed

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        learned = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        if not learned:
            raise LookupError("all its parameters are frozen: there are no gradients")
        return learned

    def losses(self, output: Tensor, parts: int) -> list[Tensor]:
        """Returns the loss of each of ``parts`` consecutive parts of the batch."""
        targets: Tensor
        if output.ndim == 2 and output.shape[1] > 1:
            targets = torch.randint(output.shape[1], (len(output),), generator=self.generator("targets"))
            each = functional.cross_entropy(output, targets.to(output.device), reduction="none")
        else:
            targets = torch.randn(output.shape, generator=self.generator("targets"))
            each = ((output - targets.to(output.device)) ** 2).reshape(len(output), -1).mean(1)
        return [part.mean() for part in each.chunk(parts)]

    @cached_property
    def _backward(self) -> list[tuple[list[Tensor | None], float]]:
        """Of the losses of the whole batch, or of either half where a proxy asks for these: gradients of parameters and
        of outputs of weighted layers, and the share of the batch's loss.
        """
        of = [*self.parameters, *(output for _, output in self._weighted)]
        losses = self.losses(self.output, 2 if "halves" in self.needs else 1)
        # The first half has one sample more where their number is odd.
        first = math.ceil(self.num_samples / len(losses)) / self.num_samples
        return [
            (list(torch.autograd.grad(loss, of, retain_graph=True, allow_unused=True)), share)
            for loss, share in zip(losses, (first, 1 - first), strict=False)
        ]

    def _whole(self, at: int) -> Tensor | None:
        """Returns one gradient of the loss of the whole batch."""
        parts = [(gradients[at], share) for gradients, share in self._backward]
        if len(parts) == 1:
            return parts[0][0]
        whole: Tensor | None = None
        for gradient, share in parts:
            if gradient is not None:
                whole = gradient * share if whole is None else torch.add(whole, gradient, alpha=share)
        return whole

    @cached_property
    def halves(self) -> list[tuple[nn.Parameter, Tensor, Tensor]]:
        (one, _), (other, _) = self._backward
        return [
            (parameter, a, b)
            for parameter, a, b in zip(self.parameters, one, other, strict=False)
            if a is not None and b is not None
        ]

    @cached_property
    def gradients(self) -> list[tuple[nn.Parameter, Tensor]]:
        found = [(parameter, self._whole(at)) for at, parameter in enumerate(self.parameters)]
        return [(parameter, gradient) for parameter, gradient in found if gradient is not None]

    @cached_property
    def saliency(self) -> list[tuple[nn.Module, Tensor]]:
        found = [
            (module, output.detach(), self._whole(at))
            for at, (module, output) in enumerate(self._weighted, len(self.parameters))
        ]
        if not any(gradient is not None for _, _, gradient in found):
            raise LookupError("it has no convolutions or linear layers")
        return [(module, output * gradient) for module, output, gradient in found if gradient is not None]

    @cached_property
    def jacobian(self) -> Tensor:
        _ = self.output
        if not self._first.requires_grad:
            raise LookupError("its inputs are whole numbers, which have no gradient")
        (gradient,) = torch.autograd.grad(self.output.sum(), self._first, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise LookupError("its output has no gradient by its first input")
        return gradient

    # --- passes of their own

    @cached_property
    def macs(self) -> float:
        """Multiply-accumulates of one sample in evaluation mode."""
        self.network.eval()
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _Counter() as counter:  # type: ignore[no-untyped-call]
            self.network(*(each[:1] for each in self.inputs))
        return float(counter.flops / 2)

    @cached_property
    def flow(self) -> Tensor:
        """Absolute weights times their gradients of the output's sum, for ones as input, in double precision: ``[m]``,
        zero where nothing flows.
        """
        from torch.func import functional_call

        for module in self._modules:
            if isinstance(module, nn.RNNBase):
                raise LookupError(f"through {type(module).__name__} nothing flows along sums of products")
        self.network.eval()
        state = {
            name: each.detach().double() for name, each in self.network.named_buffers() if each.is_floating_point()
        }
        own = dict(self.network.named_parameters())
        # All weights are one tensor, converted and differentiated at once, of which layers get views.
        weights = torch.cat([each.detach().flatten() for each in own.values()]).double().abs().requires_grad_()
        parts = torch.split(weights, [each.numel() for each in own.values()])
        shaped = {name: part.view_as(each) for (name, each), part in zip(own.items(), parts, strict=True)}
        inputs = [
            torch.ones_like(each[:1], dtype=torch.float64) if each.is_floating_point() else each[:1]
            for each in self.inputs
        ]
        with sdpa_kernel(SDPBackend.MATH):  # type: ignore[no-untyped-call]
            try:
                found = _first(functional_call(self.network, {**state, **shaped}, tuple(inputs)))
            except RuntimeError as error:
                raise LookupError(f"it cannot run in double precision: {error}") from None
        _refuse_softmax(found)
        (gradient,) = torch.autograd.grad(found.sum(), weights)
        return (weights.detach() * gradient).abs()

    def units_on(self, *inputs: Tensor) -> list[Tensor]:
        """Returns which units are on for other inputs, ``[n, units]`` of each activation, in evaluation mode."""
        found: list[Tensor] = []

        def see(module: nn.Module, seen: Any, output: Tensor) -> None:
            if len(output) == len(inputs[0]):
                found.append((output > 0).reshape(len(output), -1))

        self._passes(see, _ACTIVATIONS, inputs, training=False)
        if not found:
            raise LookupError("it has no activation modules (nn.ReLU, nn.GELU, ...) that are on or off")
        return found

    def before_the_head(self, first: Tensor) -> Tensor:
        """Returns the output of the last block, normalised by the batch."""
        if not self.blocks:
            raise LookupError(_NO_BLOCKS)
        last: list[Tensor] = []

        def see(module: nn.Module, seen: Any, output: Tensor) -> None:
            if module is self.blocks[-1]:
                last.append(output)

        self._passes(see, (type(self.blocks[-1]),), (first, *self.inputs[1:]), training=True)
        return last[-1]

    def deviations(self, first: Tensor) -> tuple[Tensor, list[float]]:
        """Returns `before_the_head`, and the deviations that batch normalisation divided by on the way."""
        found: list[float] = []

        def see(module: nn.Module, seen: Any, output: Tensor) -> None:
            axes = [axis for axis in range(seen[0].ndim) if axis != 1]
            if module.running_var is None:
                variance = seen[0].var(axes, correction=0)
            else:
                # Without memory it is the batch's, which the layer has computed; unbiased.
                num = seen[0].numel() // seen[0].shape[1]
                variance = module.running_var * ((num - 1) / num)
            found.append(float((variance.mean() + module.eps).sqrt()))

        norms = [module for module in self._modules if isinstance(module, _NORMS)]
        kept = [module.momentum for module in norms]
        handles = [module.register_forward_hook(see) for module in norms]
        try:
            for module in norms:
                module.momentum = 1.0
            return self.before_the_head(first), found
        finally:
            for module, momentum in zip(norms, kept, strict=True):
                module.momentum = momentum
            for handle in handles:
                handle.remove()

    def _passes(self, see: Any, kinds: tuple[type, ...], inputs: Sequence[Tensor], *, training: bool) -> None:
        self.network.eval()
        handles = [module.register_forward_hook(see) for module in self._modules if isinstance(module, kinds)]
        try:
            with torch.no_grad(), self._training() if training else nullcontext():
                self.network(*inputs)
        finally:
            for handle in handles:
                handle.remove()

    def gradients_by_sample(self, most: int) -> Tensor:
        """Returns the gradient of each sample's summed output by all parameters, ``[min(n, most), parameters]``."""
        self.network.eval()
        rows = []
        for i in range(min(most, self.num_samples)):
            output = self.network(*(each[i : i + 1] for each in self.inputs))
            found = torch.autograd.grad(_first(output).sum(), self.parameters, allow_unused=True)
            rows.append(torch.cat([each.ravel() for each in found if each is not None]))
        return torch.stack(rows).double()

    # --- the network's parts

    @cached_property
    def blocks(self) -> list[nn.Module]:
        """The longest list of modules in the network, the outermost of equal ones: what is done one after the other.

        Pooling on its own is no block: it learns nothing, and thins out features whatever the architecture.
        """
        lists = [
            [block for block in module if not isinstance(block, _POOLS)]
            for module in self._modules
            if isinstance(module, (nn.Sequential, nn.ModuleList))
        ]
        longest = max(lists, key=len, default=[])
        return longest if len(longest) > 1 else []

    @property
    def weighted(self) -> list[nn.Module]:
        """Convolutions and linear layers."""
        return [module for module in self._modules if isinstance(module, _WEIGHTED)]


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts as `torch.utils.flop_counter.FlopCounterMode` does, but not by module, which takes most of its time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        return out


def _refuse_softmax(output: Tensor) -> None:
    """Refuses attention: its softmax shares out what flows, however large weights are.

    Raises:
        LookupError: There is a softmax between the weights and the output.
    """
    seen, left = set(), [output.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            if "Softmax" in node.name():
                raise LookupError("through a softmax (attention) nothing flows along sums of products")
            seen.add(node)
            left.extend(before for before, _ in node.next_functions)


def _entropy(maps: Tensor) -> float:
    """Returns the entropy of the spectrum of the covariance of channels, of ``[n, channels, ...]``."""
    rows = maps.flatten(2) if maps.ndim > 2 else maps.T[None]
    rows = rows - rows.mean((0, 2), keepdim=True)
    # One product a sample: no copy with the channels last.
    covariance = torch.bmm(rows, rows.transpose(1, 2)).sum(0, dtype=torch.float64) / (len(rows) * rows.shape[2])
    values = torch.linalg.eigvalsh(covariance).clamp(min=0)
    shares = values / values.sum().clamp(min=1e-12)
    return float(-(shares * torch.log(shares + 1e-8)).sum())


def _first(output: Any) -> Tensor:
    """Returns the output, which comes first where a network (a recurrent one) returns its state too."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output
