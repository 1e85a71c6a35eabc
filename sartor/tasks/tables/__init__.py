"""Rows of a table: numbers, categories, dates and missing values, to a number or a class; every prediction a sum.

    task = sartor.load_task("tables", "houses.csv", target="price")
    front = sartor.search(task, budget="5m")      # sartor search tables --data houses.csv --target price --budget 5m

**Data.** ``source`` is a CSV or TSV (UTF-8, a header) or Parquet file, or one of scikit-learn's bundled sets:
``breast-cancer`` (also when left out; 569 rows, Street et al. 1993, CC BY 4.0), ``wine`` (178 rows, Aeberhard and
Forina 1991, CC BY 4.0), ``diabetes`` (442 rows, a number to predict, Efron et al. 2004). How columns are typed and
what is refused is on the page of ``sartor.columns``. A target of text, of true and false, or of at most ten different
whole numbers is of classes unless ``purpose`` says otherwise.

**Preparation**, the same for training and for an exported network (``preprocess``): dates become days since 1970,
month, weekday and hour as far as these vary; of many categories the rarest become one; a category that training has
not is taken for missing and counted. Columns that are the same in every row, or different in nearly every one (ids,
free text), are left out and named. Rows without a target are left out and counted; more than half are an error. The
network takes float32 ``(n, features)`` with NaN where a value is missing, and encodes inside.

**Parts.** A column ``split`` is honoured; a missing test part is drawn, stratified by the target and seeded
(``split_seed``). No rows are kept for validation unless they are given or ``validation`` says how many: each training
row is scored by the members of the ensemble that have not learnt from it (out of bag, Breiman 1996). Exact copies of a
row stay in one part and one bag, and so do all rows of an id where ``group`` names its column; an id in two given parts
is an error.

**Network.** A neural additive model: ``output = bias + sum of terms``, a term a small network of one feature or of a
pair (``sartor.nets.additive``), the mean of an ensemble whose members each leave out an eighth of the rows. Training
ends when validation gets no better. Numbers are encoded piecewise linearly. Pairs are those that explain most of what
single features leave (``pairs``, FAST), ranked by each member on the rows that it learns from: the terms are of the
pairs that most members rank first, and a member does without those that it does not.

**Space.** Bins, units, depth, kind of unit, dropout, feature dropout, pairs, members, the penalty on terms, learning
rate, weight decay. The baseline has a few bins and a pair a feature.

**Metrics** on a part. Numbers: ``rmse`` (primary, less is better) and ``mae`` in the target's unit, ``r2``. Classes:
``cross_entropy`` (primary, nats, less is better), ``accuracy``, ``balanced_accuracy``, ``calibration_error``, and of
two classes ``auc``.

**Pictures.** How much each term moves predictions; the shape of each with the spread of the ensemble and where the data
are; of pairs, a map. ``sartor explain RUN --row N`` says what each term adds to one row's prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.registry import TaskSpec

if TYPE_CHECKING:
    from sartor.tasks.tables.task import Tables

__all__ = ["SPEC", "Tables"]

SPEC = TaskSpec(
    "tables",
    "sartor.tasks.tables.task:Tables",
    summary="predict a column of a CSV or Parquet table by a sum of shape functions that can be read",
    extra="tables",
    citation="Agarwal et al. 2021, arXiv:2004.13912; Lou et al. 2013",
    options="sartor.tasks.tables.options:Options",
    sources=("breast-cancer", "diabetes", "wine"),
    reader="sartor.tasks.tables.preprocess:read",
)


def __getattr__(name: str) -> Any:
    # The task needs torch, listing tasks must not load it.
    if name != "Tables":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sartor.tasks.tables.task import Tables

    return Tables
