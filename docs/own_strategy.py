"""A search strategy of your own: simulated annealing.

    sartor search images --strategy docs.own_strategy:Annealing --trials 20
    sartor simulate nasbench201 --table DIR --strategy docs.own_strategy:Annealing

A strategy is made as ``Class(space, goals, fidelities, seed=..., initial=...)``, is asked for proposals and told what
became of them, late and out of order. Its state is JSON, from which it goes on as if nothing had happened, and it
proposes no architecture twice. ``check_strategy(Annealing)`` of ``sartor.testing`` tells what a strategy of yours
breaks. In a package of your own, an entry point of the group ``sartor.strategies`` whose value is a ``sartor.Spec``
lists it under a name.
"""

import math

import numpy as np

from sartor import Architecture, Proposal
from sartor.errors import SpaceError

TRIES = 100


class Annealing:
    """Goes from architecture to a changed one: always where that is better, else more rarely the longer it goes
    (Kirkpatrick et al. 1983, doi:10.1126/science.220.4598.671). Heeds the primary objective and the limits.

    Args:
        space: Where architectures come from.
        goals: Objectives and limits.
        fidelities: Ascending; the last is used.
        seed: Same seed and results, same proposals.
        initial: Proposed first.
        heat: Of the beginning, in units of the primary objective: a loss as large is taken with a chance of 1/e.
        cooling: What the heat is multiplied by with each result.
    """

    def __init__(self, space, goals, fidelities, *, seed=0, initial=(), heat=0.05, cooling=0.95):
        self.space, self.goals, self.fidelity = space, goals, fidelities[-1]
        self.rng = np.random.default_rng(seed)
        self.waiting = list(initial)
        self.asked = {}
        self.at = None
        self.heat, self.cooling = heat, cooling

    def ask(self, n):
        proposals = []
        while len(proposals) < n and (architecture := self.another()) is not None:
            self.asked[architecture.to_json()] = None
            proposals.append(Proposal(architecture, self.fidelity))
        return proposals

    def another(self):
        """Returns an architecture not proposed yet: one beside where it is, else any; None when none is left."""
        while self.waiting:
            if (architecture := self.waiting.pop(0)).to_json() not in self.asked:
                return architecture
        for i in range(TRIES):
            try:
                near = self.at is not None and i < TRIES // 2
                architecture = self.space.mutate(self.at[0], self.rng) if near else self.space.sample(self.rng)
            except SpaceError:  # nothing beside it: a space of one
                return None
            if architecture.to_json() not in self.asked:
                return architecture
        return next((each for each in self.space if each.to_json() not in self.asked), None)

    def tell(self, trials):
        for trial in trials:
            self.asked[trial.architecture.to_json()] = None
            if trial.state != "complete" or self.goals.excess(trial.values) > 0:
                continue
            loss = self.goals.primary.loss(trial.values[self.goals.primary.name])
            worse = 0.0 if self.at is None else loss - self.at[1]
            if worse <= 0 or self.rng.random() < math.exp(-worse / self.heat):
                self.at = (trial.architecture, loss)
            self.heat *= self.cooling

    def state_dict(self):
        return {
            "rng": self.rng.bit_generator.state,
            "waiting": [architecture.to_json() for architecture in self.waiting],
            "asked": list(self.asked),
            "at": None if self.at is None else [self.at[0].to_json(), self.at[1]],
            "heat": self.heat,
        }

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]
        self.waiting = [self.read(text) for text in state["waiting"]]
        self.asked = dict.fromkeys(state["asked"])
        self.at = None if state["at"] is None else (self.read(state["at"][0]), state["at"][1])
        self.heat = state["heat"]

    def read(self, text):
        return self.space.architecture(Architecture.from_json(text))
