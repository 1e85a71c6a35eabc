"""Networks of one step that learn from what a larger one says of the same batch (Hinton et al. 2015, arXiv:1503.02531).

A task's loss is opaque, so what a network gives is recorded while the loss calls it, and which of that are class logits
is seen from what the loss hands to ``cross_entropy`` or ``nll_loss``.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from sartor.errors import InputError
from sartor.training import Learner, Step

Output = tuple[Tensor, int | None]
"""A tensor that a network gave, and which dimension is that of the classes, or None when it is no class logits."""


class Teacher(nn.Module):
    """A frozen network that teaches once its weights were taken; in eval mode always.

    Args:
        child: Makes the network, with a copy of the weights as they are now.
        architecture: Of the network.
        start: Share of the training after which its weights are taken.
    """

    taken: Tensor

    def __init__(self, child: Callable[[], nn.Module], architecture: Any, start: float) -> None:
        super().__init__()
        self._child, self.architecture, self.start = child, architecture, start
        self.network = child().eval().requires_grad_(False)
        self.register_buffer("taken", torch.zeros((), dtype=torch.bool))

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def is_due(self, step: Step) -> bool:
        """Whether the weights are to be taken after a step."""
        return (step.index + 1) / step.total >= self.start and not bool(self.taken)

    def take(self) -> None:
        """Takes the weights as they are now."""
        self.network.load_state_dict(self._child().state_dict())
        self.taken.fill_(True)


class Distilling(Learner):
    """A task's learner whose networks of one step see the same batch, changed in the same way, and learn from a larger.

    Batches are drawn once a step, and random streams are put back before each network, so that augmentation and noise
    are the same for all. With a ``teacher``, networks learn from labels and, once it was taken, from it; without one,
    the first network of a step learns from labels and the others, their dropout silent, from it alone. The distance is
    the Kullback-Leibler divergence from the larger network's softened class probabilities, times the squared
    temperature, and the mean squared error of outputs that are no class logits.

    Of a task with several players the first alone learns from another network.

    Args:
        inner: The task's learner.
        teacher: A frozen network, or None for the first of each step.
        temperature: That softens class probabilities.
        weight: Of the distance, beside the loss on labels where there is one.

    Raises:
        InputError: a temperature that is not positive, a negative weight.
    """

    def __init__(
        self, inner: Learner, teacher: Teacher | None = None, *, temperature: float = 1.0, weight: float = 1.0
    ) -> None:
        if not temperature > 0 or not weight >= 0:
            raise InputError(
                f"expected a temperature above 0 and a weight of at least 0, got {temperature} and {weight}"
            )
        super().__init__()
        self.inner, self.teacher, self.temperature, self.weight = inner, teacher, temperature, weight
        self.every = inner.every
        self._first_player: str | None = None
        self._step: Step | None = None
        self._batch: Any = None
        self._streams: _Streams | None = None
        self._targets: list[Output] | None = None

    def players(self, module: nn.Module) -> Mapping[str, list[nn.Parameter]]:
        players = self.inner.players(module)
        self._first_player = next(iter(players), None)
        return players

    def plays(self, player: str, index: int, total: int) -> bool:
        return self.inner.plays(player, index, total)

    def batch(self, network: nn.Module, data: Any, step: Step) -> Any:
        """Returns the batch of the step, the same for each of its networks."""
        if step is not self._step:
            self._step, self._streams, self._targets = step, None, None
            self._batch = self.inner.batch(network, data, step)
        return self._batch

    def loss(self, network: nn.Module, batch: Any, step: Step) -> Tensor:
        """Returns the loss on labels, the distance to a larger network's outputs, or both."""
        if self._streams is None:
            self._streams = _Streams(step)
        else:
            self._streams.rewind()
        if self._first_player not in (None, step.player):
            return self.inner.loss(network, batch, step)
        if self.teacher is None:
            if self._targets is None:
                loss, self._targets = self._taught(network, batch, step)
                return loss
            with _silent(network):
                _, outputs = self._recorded(network, batch, step)
            return self.weight * distance(outputs, self._targets, self.temperature)
        if not bool(self.teacher.taken) or self.weight == 0:
            return self.inner.loss(network, batch, step)
        if self._targets is None:
            self._targets = self._asked(self.teacher, batch, step)
            self._streams.rewind()
        loss, outputs = self._recorded(network, batch, step)
        return loss + self.weight * distance(outputs, self._targets, self.temperature)

    def after(self, network: nn.Module, step: Step) -> None:
        self.inner.after(network, step)
        if self.teacher is not None and self.teacher.is_due(step):
            self.teacher.take()

    def _asked(self, teacher: Teacher, batch: Any, step: Step) -> list[Output]:
        """Returns what the teacher says, as of its own architecture."""
        architecture, step.architecture = step.architecture, teacher.architecture
        try:
            with torch.no_grad():
                return self._taught(teacher.network, batch, step)[1]
        finally:
            step.architecture = architecture

    def _taught(self, network: nn.Module, batch: Any, step: Step) -> tuple[Tensor, list[Output]]:
        """Returns the loss of a network, and its outputs as others learn from them."""
        with _ClassScores() as scores:
            loss, outputs = self._recorded(network, batch, step)
        return loss, [(output.detach(), scores.dimension(output)) for output in outputs]

    def _recorded(self, network: nn.Module, batch: Any, step: Step) -> tuple[Tensor, list[Tensor]]:
        """Returns the loss of a network, and the floating-point tensors that it gave meanwhile."""
        given: list[Tensor] = []
        hook = network.register_forward_hook(lambda module, inputs, output: given.extend(_tensors(output)))
        try:
            loss = self.inner.loss(network, batch, step)
        finally:
            hook.remove()
        if not given:
            raise InputError(
                "to learn from a larger network, the task's loss must call the network itself, network(...), and get"
                " floating-point tensors from it; it did not: train with the method 'one-shot'"
            )
        return loss, given


def distance(outputs: Sequence[Tensor], targets: Sequence[Output], temperature: float) -> Tensor:
    """Returns how far outputs are from a larger network's: see `Distilling`.

    Raises:
        InputError: there are others, or of other shapes.
    """
    shapes = [tuple(output.shape) for output in outputs], [tuple(target.shape) for target, _ in targets]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"a network learns from a larger one whose outputs have its own shapes, got {shapes[0]}, of the larger"
            f" {shapes[1]}: train with the method 'one-shot', or leave out the choice that changes them"
        )
    total = torch.zeros((), device=outputs[0].device)
    for output, (target, dimension) in zip(outputs, targets, strict=True):
        if dimension is None:
            total = total + functional.mse_loss(output.float(), target.float())
            continue
        theirs = functional.log_softmax(target.float() / temperature, dimension)
        ours = functional.log_softmax(output.float() / temperature, dimension)
        total = total + temperature**2 * (theirs.exp() * (theirs - ours)).sum(dimension).mean()
    return total


def _tensors(output: Any) -> list[Tensor]:
    """Returns the floating-point tensors in what a network gave, in order."""
    if isinstance(output, Tensor):
        return [output] if output.dtype.is_floating_point else []
    if isinstance(output, Mapping):
        output = tuple(output.values())
    return [tensor for item in output for tensor in _tensors(item)] if isinstance(output, (list, tuple)) else []


@contextlib.contextmanager
def _silent(network: nn.Module) -> Iterator[None]:
    """Within the context, layers of dropout and of attention are in eval mode, which silences their dropout."""
    layers = [module for module in network.modules() if isinstance(module, (_DropoutNd, nn.MultiheadAttention))]
    modes = [layer.training for layer in layers]
    # A task's own code may put all of a network in train mode, so each layer is told as it is reached.
    hooks = [layer.register_forward_pre_hook(_rest) for layer in layers]
    try:
        yield
    finally:
        for layer, hook, mode in zip(layers, hooks, modes, strict=True):
            hook.remove()
            layer.training = mode


def _rest(layer: nn.Module, inputs: object) -> None:
    layer.training = False


class _ClassScores(TorchFunctionMode):
    """Sees what is taken for scores of classes."""

    def __init__(self) -> None:
        super().__init__()
        self._shapes: list[torch.Size] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.cross_entropy or func is functional.nll_loss:
            self._shapes.append((args[0] if args else (kwargs or {})["input"]).shape)
        return func(*args, **(kwargs or {}))

    def dimension(self, output: Tensor) -> int | None:
        """Returns which dimension of an output is that of the classes, or None.

        It is as the loss took it, where the shapes agree; else the last, where it has as many entries (tokens or
        selected rows put one behind the other).
        """
        for shape in self._shapes:
            own = min(1, len(shape) - 1)
            if output.shape == shape:
                return own
            if output.dim() and output.shape[-1] == shape[own]:
                return -1
        return None


class _Streams:
    """Where the random streams of a step stand."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._numpy = copy.deepcopy(step.numpy.bit_generator.state)
        self._torch = step.torch.get_state()
        self._default = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(step.device) if step.device.type == "cuda" else None

    def rewind(self) -> None:
        """Puts them back."""
        self._step.numpy.bit_generator.state = self._numpy
        self._step.torch.set_state(self._torch)
        torch.set_rng_state(self._default)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._step.device)
