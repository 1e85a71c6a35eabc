"""Control: a policy that acts in an environment, step by step, remembering what it saw.

Neural circuit policies (Lechner et al. 2020) are circuits of some twenty neurons, wired as sensory, inter, command and
motor neurons, whose time constants depend on what they read. They are small enough to be looked at.

**Data.** The id of a gymnasium environment that observes a vector and takes one of some choices or a vector of bounded
numbers; without one, CartPole-v1. Or a file of demonstrations, CSV, TSV or Parquet, a step a row: columns ``episode``
and ``step``, those beginning with ``observation``, and those beginning with ``action``; with ``environment`` it is
scored there, without by how well it imitates. gymnasium is MIT-licensed.

**Learning.** ``imitation``: of the file, of a Python function (``expert``), or of the classical controller that this
task has for the environment (see ``classic``), which is disturbed in half of its episodes so that it is seen to
recover. ``dagger``: besides, the network acts, and the expert says what should have been done where it led to; worth
its time where observations are hidden. ``reinforcement``: proximal policy optimisation. ``fine-tuning``: imitation,
then that. Gradients flow through windows of ``window`` steps. ``evolution``: rewards without
gradients, by evolution strategies; slower than the others.

**Parts.** ``train``, ``validation`` and ``test`` are episodes from beginnings of their own: seeds that no other part
has, or episodes of the file drawn from ``split_seed``. Episodes that are copies of others, single steps, and missing
values are left out and counted; what does not fit the environment is refused.

**Metrics** on a part: ``return`` (primary, mean sum of rewards of its episodes, best choices taken),
``normalised_return`` (0 for random actions, 1 for the expert, in the same episodes: the ratio that makes sense where
returns are negative), ``imitation_error`` (share of choices that differ, or root mean squared error in halves of the
range of an action). The report adds the same network in changed worlds (noise, bias, delay, other physics), the circuit
with its synapses, and what each neuron goes along with and is good for.

**Space.** Circuits with closed-form (Hasani et al. 2022) or liquid (Hasani et al. 2021) cells, by numbers of neurons
and fan-outs; the same cells wired at random by sparsity; LSTM, GRU, perceptrons over the last observations; learning
rate. The hand-designed network is the published circuit of 12 inter and 6 command neurons with closed-form cells.

**Export.** The file maps an observation and a state (zeros at the beginning) to scores of the choices, or an action in
the environment's unit, and the next state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.registry import TaskSpec

if TYPE_CHECKING:
    from sartor.tasks.control.task import Control

__all__ = ["SPEC", "Control"]

SPEC = TaskSpec(
    "control",
    "sartor.tasks.control.task:Control",
    summary="act in an environment of gymnasium: policies by imitation or by reinforcement",
    extra="control",
    citation="Lechner et al. 2020, Nature Machine Intelligence 2, 642-652",
    options="sartor.tasks.control.options:Options",
    sources=("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0"),
)


def __getattr__(name: str) -> Any:
    # The task needs torch, listing tasks must not load it.
    if name != "Control":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sartor.tasks.control.task import Control

    return Control
