"""Conformance suites that anyone's extension can run; each raises AssertionError with what is not as it must be.

    from sartor.testing import check_task

    def test_my_task_conforms():
        check_task(MyTask())

``check_space``, ``check_task``, ``check_strategy``, ``check_estimator``, ``check_device``, ``check_encoding``
...: one for each contract, in modules of the plural's name, loaded when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sartor.testing.devices import check_device
    from sartor.testing.encodings import check_encoding
    from sartor.testing.estimators import check_estimator
    from sartor.testing.exporters import check_exporter
    from sartor.testing.predictors import check_predictor
    from sartor.testing.proxies import check_proxy
    from sartor.testing.spaces import check_space
    from sartor.testing.strategies import check_strategy
    from sartor.testing.supernets import check_method
    from sartor.testing.tasks import check_task

__all__ = [
    "check_device",
    "check_encoding",
    "check_estimator",
    "check_exporter",
    "check_method",
    "check_predictor",
    "check_proxy",
    "check_space",
    "check_strategy",
    "check_task",
]

_MODULES = {
    "check_device": "devices",
    "check_encoding": "encodings",
    "check_estimator": "estimators",
    "check_exporter": "exporters",
    "check_method": "supernets",
    "check_predictor": "predictors",
    "check_proxy": "proxies",
    "check_space": "spaces",
    "check_strategy": "strategies",
    "check_task": "tasks",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
