"""Proposals that are given: training a fixed list, retraining finalists, scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor.errors import RecordError
from sartor.trials import Proposal, Trial


class Listed:
    """Proposes what it was given, in order.

    Args:
        proposals: Architectures at fidelities; replicates tell repeated ones apart.
    """

    def __init__(self, proposals: Sequence[Proposal]) -> None:
        self._proposals = list(proposals)
        self._at = 0

    def ask(self, n: int) -> list[Proposal]:
        asked = self._proposals[self._at : self._at + n]
        self._at += len(asked)
        return asked

    def tell(self, trials: Sequence[Trial]) -> None:
        """Takes no notice: what is asked is settled."""

    def state_dict(self) -> dict[str, Any]:
        return {"at": self._at, "num_proposals": len(self._proposals)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where the state was.

        Raises:
            RecordError: the list has another length than the one the state was of.
        """
        if state["num_proposals"] != len(self._proposals):
            raise RecordError(
                f"the state is of a list of {state['num_proposals']} proposals, this list has {len(self._proposals)}"
            )
        self._at = state["at"]
