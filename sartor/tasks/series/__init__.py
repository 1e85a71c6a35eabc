"""Irregularly sampled series of many channels, with missing values, to a class or a number.

    task = sartor.load_task("series", "patients.csv", label="outcome")
    front = sartor.search(task, budget="5m")     # sartor search series --data patients.csv --label outcome --budget 5m

**Data.** CSV, TSV or Parquet, a row an observation: a series' ``id``, a ``time`` (numbers, or dates, which become
days), columns of numbers that are observed, empty where a value is missing, and the ``label``, one for each series. Or
a ``.ts`` file of the UEA and UCR archives: with its test file beside, whose series are then the test part; stamps,
unequal lengths and ``?`` are read. Without a source, 360 simulated series of two channels, of which 60% of the values
are observed, and whose classes are in the order of values alone. A label of text, of true and false, or of at most ten
different whole numbers is of classes unless ``purpose`` says otherwise.

Times count from a series' first row. Unsorted rows are sorted, rows of a series at one time merged, and each is
counted in a note; those that contradict one another are refused. So are labels that differ within a series. Series
without a label or a value, and channels that are the same throughout training, are left out and counted.

**Parts.** By series, stratified by the label and drawn from ``split_seed``; a column ``split`` is honoured. Copies of a
series, or all series of a ``group``, stay in one part; an id in two given parts is an error.

**Network.** A controlled differential equation (``cde``): a state that is moved by a path through the observations.
The path (``paths``) is a natural cubic spline or, causal, rectilinear; each channel has its own knots where it was
observed, time is a channel, and how often each was observed may be; further ones may sum what a small network makes of
each row (features). Solvers (``solvers``) take fixed steps (Euler, midpoint, Runge-Kutta) or adaptive ones
(Dormand-Prince 5(4), by a tolerance). ``adjoint`` solves backwards for gradients, so that training keeps nothing of the
way; nor does it give gradients to features, which it goes without. Linear diagonal equations are solved exactly and at
once.

**Online.** With the rectilinear path what is said at a time depends on what came until then only: ``along`` of a
deployed network gives it after each row. A spline looks ahead; of it the report asks anew with each row.

**Space.** Nonlinear, linear of low rank, and diagonal linear equations, and a GRU with decay (``gru``); interpolation,
counts, features, solver, tolerance, width, depth, dropout, learning rate, weight decay. The hand-designed network is
the nonlinear one on a spline without features, solved by Runge and Kutta's method.

**Metrics** on a part. Classes: ``cross_entropy`` (primary, nats, less is better), ``accuracy``, ``balanced_accuracy``,
``calibration_error``, and of two classes ``auc``. Numbers: ``rmse`` (primary, less is better) and ``mae`` in the
label's unit, ``r2``. Reference: ``benchmarks/tasks_series.py`` has what these networks, GRUs and MiniRocket reach when
30, 50 and 70% of the rows of the archive's sets are dropped.

**Export.** The file takes times and values of as many rows as the longest series of the data has, NaN where a value is
missing; shorter series repeat their last time. Adaptive solvers cannot be exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.registry import TaskSpec

if TYPE_CHECKING:
    from sartor.tasks.series.task import Series

__all__ = ["SPEC", "Series"]

SPEC = TaskSpec(
    "series",
    "sartor.tasks.series.task:Series",
    summary="predict a class or a number for irregularly sampled series: CSV, Parquet or .ts",
    extra="series",
    citation="Kidger et al. 2020, arXiv:2005.08926",
    options="sartor.tasks.series.options:Options",
    sources=("simulated",),
    reader="sartor.tasks.series.preprocess:read",
)


def __getattr__(name: str) -> Any:
    # The task needs torch, listing tasks must not load it.
    if name != "Series":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sartor.tasks.series.task import Series

    return Series
