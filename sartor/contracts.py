"""The protocols that strategies, estimators and devices satisfy. Conformance suites: ``sartor.testing``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from sartor.trials import Fidelity, Figure, Proposal, Trial

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import nn

    from sartor.space import Architecture, Space
    from sartor.task import Task


class Candidate:
    """A proposed architecture on its task, with its network once somebody reads it.

    Attributes:
        network: Built on first read, initialised from ``seed`` without touching the global random state.
        inputs: The task's example inputs for it, batch size 1.
        deployed: ``task.deploy(network)``: what is measured and exported.
    """

    def __init__(self, task: Task, space: Space, architecture: Architecture, seed: int = 0) -> None:
        self.task, self.space, self.architecture, self.seed = task, space, architecture, seed

    @cached_property
    def network(self) -> nn.Module:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self.task.build(self.space, self.architecture)

    @cached_property
    def deployed(self) -> nn.Module:
        return self.task.deploy(self.network, self.architecture)

    @cached_property
    def inputs(self) -> tuple[torch.Tensor, ...]:
        return self.task.example_inputs(self.architecture)


@runtime_checkable
class Strategy(Protocol):
    """A search strategy: one published algorithm.

    Made as ``Class(space, goals, fidelities, seed=..., **own)``; owns its random generator. ``ask`` proposes new
    trials at fidelities it chooses from those given (ascending); an architecture is never proposed twice at one
    fidelity unless its space is exhausted, in which case ``ask`` returns fewer, at last none. ``tell`` is given every
    finished trial (complete, infeasible, failed) in the engine's order, not in the order asked, perhaps long after
    later asks. The state is JSON and restores to the identical next proposals.
    """

    def ask(self, n: int) -> list[Proposal]: ...

    def tell(self, trials: Sequence[Trial]) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class Recommender(Protocol):
    """A strategy with a model of its own, which may know better than the luckiest observation."""

    def recommend(self) -> Architecture:
        """Returns the architecture held to be best, once a trial is complete; changes nothing that is asked next."""
        ...


class Context(Protocol):
    """What an estimator may say to whoever runs it."""

    deadline: float | None
    """``time.monotonic()`` at which the trial should have ended, or None."""

    def report(self, step: int, **values: float) -> None:
        """Adds points to the trial's series."""
        ...

    def load(self) -> dict[str, Any] | None:
        """Returns the trial's own latest checkpoint, else the one it continues from, else None."""
        ...

    def inherited(self) -> tuple[Architecture, dict[str, Any]] | None:
        """Returns architecture and finished weights of the trial of another architecture that this one goes on from,
        else None.
        """
        ...

    def save(self, state: Mapping[str, Any]) -> None:
        """Keeps a checkpoint to go on from."""
        ...

    def keep(self, name: str, state: Mapping[str, Any]) -> None:
        """Keeps a result beside the checkpoint, e.g. ``network``: the finished weights."""
        ...


class NullContext:
    """Keeps nothing: for estimates outside an engine."""

    deadline: float | None = None

    def report(self, step: int, **values: float) -> None:
        pass

    def load(self) -> dict[str, Any] | None:
        return None

    def inherited(self) -> tuple[Architecture, dict[str, Any]] | None:
        return None

    def save(self, state: Mapping[str, Any]) -> None:
        pass

    def keep(self, name: str, state: Mapping[str, Any]) -> None:
        pass


@runtime_checkable
class Estimator(Protocol):
    """Performance estimation: candidate, fidelity and seed to metrics of the validation part."""

    fidelities: tuple[Fidelity, ...]

    def estimate(
        self, candidate: Candidate, *, fidelity: Fidelity, seed: int, context: Context
    ) -> Mapping[str, float]: ...


@runtime_checkable
class Device(Protocol):
    """A cost model.

    Attributes:
        name: Part of the key under which its figures are kept and reused.
        figures: Names of the figures it gives.
        needs: What it reads. Devices that need only the architecture or the untrained network filter candidates
            before any training; the engine asks the cheap, exact ones first and stops at the first broken limit.
    """

    name: str
    figures: tuple[str, ...]
    needs: Literal["architecture", "network", "trained"]

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]: ...


@runtime_checkable
class Encoding(Protocol):
    """Architectures as vectors that something can learn from.

    Made as ``Class(space, seed=0, **own)``. The same space, seed and options give the same vectors in every process;
    the vector of an architecture does not depend on the others that are encoded with it.
    """

    def __call__(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        """Returns vectors, ``[n, num_features]``."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """Learns a value of architectures from a few of them.

    Made as ``Class(space, seed=0, **own)``. ``fit`` forgets what was fitted before; the same seed and data, in the
    same order, give the same predictions.
    """

    def fit(self, architectures: Sequence[Architecture], values: npt.NDArray[np.float64]) -> None:
        """Learns from values of shape ``[n]``, any unit, all finite."""
        ...

    def predict(
        self, architectures: Sequence[Architecture]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Returns means and standard deviations of the noise-free values, ``[n]`` each, in the unit of ``fit``."""
        ...
