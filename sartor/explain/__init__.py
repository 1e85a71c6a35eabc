"""What a finished search says of its space: which choices mattered, and what the good ones share. No torch.

from sartor.explain import importance, shared_by_best

found = importance(space, trials, Objective("accuracy"))
print(found.words)
for choice in found.choices[:5]:
    print(choice.name, choice.share, choice.low, choice.high)
for row in shared_by_best(space, trials, goals).rows:
    print(row.what, row.best, row.evaluated, row.space, row.chance)
"""

from __future__ import annotations

from sartor.explain._importance import ChoiceImportance, Effect, Importance, Interaction, importance
from sartor.explain._run import Explanation, explain_run
from sartor.explain._shared import Shared, SharedByBest, shared_by_best

__all__ = [
    "ChoiceImportance",
    "Effect",
    "Explanation",
    "Importance",
    "Interaction",
    "Shared",
    "SharedByBest",
    "explain_run",
    "importance",
    "shared_by_best",
]
