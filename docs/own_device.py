"""A device of your own: a chip that waits for its memory.

    sartor search images --device docs.own_device:Board --limit latency=2ms --trials 20
    sartor search images --device board=docs.own_device:Board --device cpu --limit latency@board=2ms --trials 20

A device names itself, the figures that it gives (names of ``sartor.units.FIGURES``) and what it must read of a
candidate: the ``architecture`` alone, the untrained ``network``, or the ``trained`` one. The cheap ones refuse what
breaks a limit before anything is trained. A figure says how it is known, and to what relative error, or None and a note
where nobody has compared it with the thing itself. ``check_device(Board(), [small, large])`` of ``sartor.testing``
tells what a device of yours breaks. In a package of your own, an entry point of the group ``sartor.devices`` whose
value is a ``sartor.Spec`` lists it under a name.
"""

from sartor import Figure
from sartor.devices.counts import Counts


class Board:
    """Reads all weights and writes the largest activations once, over a bus of 40 MB/s; 0.1 ms to begin."""

    name = "board"
    figures = ("latency_ms",)
    needs = "network"

    def __init__(self):
        self.counts = Counts()

    def cost(self, candidate):
        counted = self.counts.cost(candidate)
        moved = counted["model_bytes"].value + counted["peak_memory_bytes"].value
        estimate = 0.1 + 1000 * moved / 40e6
        return {"latency_ms": Figure(estimate, "ms", error=None, kind="estimated", note="not validated on a board")}
