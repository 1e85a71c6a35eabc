"""Data-parallel training: the micro-batches of a step are shared out over processes.

Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", arXiv:2006.15704, without its
wrapper: a supernet's step leaves most parameters without a gradient, other ones each time. Every process runs the same
loop over its part of ``recipe.accumulate`` micro-batches; gradients are summed over processes before each player's
turn, so that the step is the one that a single process takes, but for the order in which floats are added.

Buffers (running statistics, and baselines of the learner) are averaged over the processes after each step, where a
single process passes them from one micro-batch to the next: the one deviation. So one process's state is that of all.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from sartor._parent import die_with
from sartor.errors import InputError

_CAUSE_S = 5.0
"""How long a process that lost another waits to hear why that one failed."""


class Ranks:
    """The processes that train one module together, of which this is one.

    Use it in a process group that is initialised (by ``torchrun``, or `group`).

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    def __init__(self) -> None:
        if not distributed.is_initialized():
            raise InputError("expected an initialised torch.distributed process group: start by torchrun, or group()")
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def micros(self, accumulate: int) -> range:
        """Returns the micro-batches of a step that are this process's.

        Raises:
            InputError: they cannot be shared out evenly.
        """
        if accumulate % self.size:
            raise InputError(
                f"{self.size} processes share the micro-batches of a step: recipe.accumulate must be a multiple of "
                f"{self.size}, got {accumulate}"
            )
        return range(self.rank, accumulate, self.size)

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Sums gradients over the processes; a parameter that none has used stays without one. Returns the summed loss.

        Args:
            parameters: In the same order in every process.
            loss: This process's part, a scalar.
        """
        has = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
        said = torch.cat([has, loss.reshape(1).cpu().float()])
        distributed.all_reduce(said)
        used = [parameter for parameter, count in zip(parameters, said.tolist(), strict=False) if count]
        flat = [(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in used]
        if flat:
            total = torch.cat(flat)
            distributed.all_reduce(total)
            for parameter, part in zip(used, torch.split(total, [p.numel() for p in used]), strict=True):
                parameter.grad = part.view_as(parameter).clone()
        return said[-1].to(loss)

    @torch.no_grad()
    def average_buffers(self, module: nn.Module) -> None:
        """Averages floating-point buffers over the processes."""
        buffers = [buffer for buffer in module.buffers() if buffer.dtype.is_floating_point]
        if buffers:
            total = torch.cat([buffer.reshape(-1) for buffer in buffers])
            distributed.all_reduce(total)
            total /= self.size
            for buffer, part in zip(buffers, torch.split(total, [b.numel() for b in buffers]), strict=True):
                buffer.copy_(part.view_as(buffer))


@contextlib.contextmanager
def group(num_ranks: int, function: Callable[..., None], *arguments: Any) -> Iterator[Ranks]:
    """Makes this process the first of a group (gloo, this machine); the others run ``function(*arguments)`` meanwhile.

    Args:
        num_ranks: Number of processes, this one included.
        function: Importable; asks for its `Ranks` itself, and takes part in whatever the body of the context does.
        arguments: Picklable.

    Raises:
        InputError: fewer than two processes.
        torch.multiprocessing.ProcessRaisedException: another one failed.
    """
    if num_ranks < 2:
        raise InputError(f"expected at least 2 processes, got {num_ranks}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    threads = torch.get_num_threads()
    own_threads = max(1, threads // num_ranks)
    others = spawn(
        _run, (num_ranks, port, os.getpid(), own_threads, function, arguments), nprocs=num_ranks - 1, join=False
    )  # type: ignore[no-untyped-call]
    try:
        torch.set_num_threads(own_threads)
        distributed.init_process_group("gloo", init_method=_address(port), rank=0, world_size=num_ranks)
        yield Ranks()
        while not others.join():
            pass
    except BaseException as error:
        if isinstance(error, RuntimeError):
            others.join(timeout=_CAUSE_S)  # raises what made another one fail, where that is the cause
        for process in others.processes:
            if process.is_alive():
                process.terminate()
        raise
    finally:
        torch.set_num_threads(threads)
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _address(port: int) -> str:
    return f"tcp://127.0.0.1:{port}"


def _run(
    number: int,
    num_ranks: int,
    port: int,
    parent: int,
    threads: int,
    function: Callable[..., None],
    arguments: Sequence[Any],
) -> None:
    die_with(parent)
    torch.set_num_threads(threads)
    distributed.init_process_group("gloo", init_method=_address(port), rank=number + 1, world_size=num_ranks)
    try:
        function(*arguments)
    finally:
        distributed.destroy_process_group()
