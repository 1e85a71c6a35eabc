"""A search tool that wants an environment of its own, asked and told over standard input and output.

Run by the interpreter of that environment (`benchmarks/tabular.py --peers PYTHON`), so this file imports nothing of
Sartor. A line in is JSON: first ``{"peer": ..., "seed": ..., "choices": {key: number of values}}``, then ``"ask"`` or
``{"tell": loss}`` of what was asked last; a line out is the codes that were asked for, by key.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

Pair = tuple[Callable[[], dict[str, int]], Callable[[float], None]]


def neps(seed: int, choices: Mapping[str, int]) -> Pair:
    """NePS's Bayesian optimisation, which it says is best where there is no shorter training."""
    import numpy as np
    import torch
    from neps import AskAndTell, HPOCategorical, SearchSpace, algorithms

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    space = SearchSpace({key: HPOCategorical(list(range(num))) for key, num in choices.items()})
    tool = AskAndTell(algorithms.bayesian_optimization(space))
    asked: list[Any] = []

    def ask() -> dict[str, int]:
        asked.append(tool.ask())
        return {key: int(value) for key, value in asked[-1].config.items()}

    return ask, lambda loss: tool.tell(asked[-1], loss)


def syne_tune(seed: int, choices: Mapping[str, int]) -> Pair:
    """Syne Tune's conformalised quantile regression, which its page shows for asking and telling."""
    from syne_tune.config_space import choice
    from syne_tune.optimizer.baselines import CQR
    from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler

    space = {key: choice(list(range(num))) for key, num in choices.items()}
    tool = AskTellScheduler(base_scheduler=CQR(space, metric="loss", do_minimize=True, random_seed=seed))
    asked: list[Any] = []

    def ask() -> dict[str, int]:
        asked.append(tool.ask())
        return {key: int(value) for key, value in asked[-1].config.items()}

    return ask, lambda loss: tool.tell(asked[-1], {"loss": loss})


PEERS: Mapping[str, Callable[[int, Mapping[str, int]], Pair]] = {"neps": neps, "syne-tune": syne_tune}


def main() -> None:
    # What a tool prints goes to standard error; only answers go out.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    first = json.loads(sys.stdin.readline())
    ask, tell = PEERS[first["peer"]](first["seed"], first["choices"])
    for line in sys.stdin:
        said = json.loads(line)
        if said == "ask":
            print(json.dumps(ask()), file=out, flush=True)
        else:
            tell(said["tell"])


if __name__ == "__main__":
    main()
