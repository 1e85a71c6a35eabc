"""Which neuron of a circuit is wired to which: sparse, in layers, each synapse exciting or inhibiting.

Neural circuit policies (Lechner et al. 2020, Neural circuit policies enabling auditable autonomy, Nature Machine
Intelligence 2, 642-652) are wired as the nematode's tap-withdrawal circuit: sensory neurons reach inter neurons, these
command neurons, which are connected among themselves, and these motor neurons. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SENSORY = "sensory"


@dataclass(frozen=True)
class Wiring:
    """Synapses between neurons, which are numbered layer by layer; the last ones give the output.

    Attributes:
        layers: Name and number of neurons of each layer, in the order in which signals pass them.
        sensory: int8 ``(inputs, neurons)``: 1 excites, -1 inhibits, 0 where there is no synapse.
        internal: int8 ``(neurons, neurons)``, from row to column.
        num_outputs: The last so many neurons are read.
    """

    layers: tuple[tuple[str, int], ...]
    sensory: np.ndarray
    internal: np.ndarray
    num_outputs: int

    @property
    def num_inputs(self) -> int:
        return len(self.sensory)

    @property
    def num_neurons(self) -> int:
        return len(self.internal)

    @property
    def num_synapses(self) -> int:
        """Of both kinds."""
        return int(np.count_nonzero(self.sensory) + np.count_nonzero(self.internal))

    def neurons_of(self, layer: int) -> slice:
        """Returns the numbers of a layer's neurons."""
        sizes = [size for _, size in self.layers]
        return slice(sum(sizes[:layer]), sum(sizes[: layer + 1]))

    def into(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the synapses into a layer from the one before it (from the inputs for the first), and within it.

        Returns:
            int8 ``(before, neurons)`` and ``(neurons, neurons)``.
        """
        own = self.neurons_of(layer)
        before = self.internal[self.neurons_of(layer - 1)] if layer else self.sensory
        return before[:, own], self.internal[own, own]


def circuit_wiring(
    num_inputs: int,
    num_outputs: int,
    *,
    inter: int = 12,
    command: int = 6,
    sensory_fanout: int = 6,
    inter_fanout: int = 4,
    recurrent: int = 6,
    motor_fanin: int = 6,
    seed: int = 0,
) -> Wiring:
    """Returns a neural circuit policy's wiring (Lechner et al. 2020, methods, "design of NCPs").

    Each neuron of a layer is wired to a fixed number of random neurons of the next; neurons that none reached are
    given as many synapses as the others have on average; command neurons get recurrent synapses; each motor neuron
    reads a fixed number of command neurons. Polarities are drawn evenly. Fan-outs larger than a layer mean all of it.

    Args:
        num_inputs: Sensory neurons.
        num_outputs: Motor neurons.
        inter, command: Neurons of these layers.
        sensory_fanout: Synapses from each sensory neuron to inter neurons.
        inter_fanout: Synapses from each inter neuron to command neurons.
        recurrent: Synapses among command neurons, drawn with replacement, so that some may coincide.
        motor_fanin: Synapses from command neurons into each motor neuron.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    num = inter + command + num_outputs
    internal = np.zeros((num, num), np.int8)
    commands, motors = slice(inter, inter + command), slice(inter + command, num)
    sensory = np.zeros((num_inputs, num), np.int8)
    sensory[:, :inter] = _fan_out(rng, num_inputs, inter, sensory_fanout)
    internal[:inter, commands] = _fan_out(rng, inter, command, inter_fanout)
    for _ in range(recurrent):
        source, target = inter + rng.integers(command, size=2)
        internal[source, target] = _polarity(rng)[0]
    internal[commands, motors] = _fan_out(rng, num_outputs, command, motor_fanin).T
    return Wiring((("inter", inter), ("command", command), ("motor", num_outputs)), sensory, internal, num_outputs)


def random_wiring(
    num_inputs: int, num_outputs: int, *, neurons: int = 20, sparsity: float = 0.5, seed: int = 0
) -> Wiring:
    """Returns a circuit without layers: a share of all possible synapses is left out at random.

    Args:
        num_inputs: Of the circuit.
        num_outputs: The last so many neurons.
        neurons: In all.
        sparsity: Share of the possible synapses that are not there.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)

    def drawn(rows: int, columns: int) -> np.ndarray:
        num = max(1, round(rows * columns * (1 - sparsity)))
        flat = np.zeros(rows * columns, np.int8)
        flat[rng.permutation(rows * columns)[:num]] = _polarity(rng, num)
        return flat.reshape(rows, columns)

    return Wiring((("hidden", neurons),), drawn(num_inputs, neurons), drawn(neurons, neurons), num_outputs)


def _polarity(rng: np.random.Generator, size: int = 1) -> np.ndarray:
    return (2 * rng.integers(2, size=size) - 1).astype(np.int8)


def _fan_out(rng: np.random.Generator, sources: int, targets: int, fan_out: int) -> np.ndarray:
    """Returns synapses int8 ``(sources, targets)``: ``fan_out`` from each source, and some to each target."""
    fan_out = min(fan_out, targets)
    found = np.zeros((sources, targets), np.int8)
    for source in range(sources):
        found[source, rng.permutation(targets)[:fan_out]] = _polarity(rng, fan_out)
    mean = int(np.clip(sources * fan_out // targets, 1, sources))
    for target in np.flatnonzero(~found.any(0)):
        found[rng.permutation(sources)[:mean], target] = _polarity(rng, mean)
    return found
