"""Training-free scores on networks of another kind: graph networks of NAS-Bench-Graph, whose trainings are published.

    python benchmarks/proxies_graph.py --table DIR --graphs DIR    # two minutes on one core

200 of its networks, drawn by a fixed seed, on pieces of 64 nodes of Cora (``--graphs``); the order by each score
against the published trainings on eight graphs (``--table``), Kendall's tau. The aggregate is without logsynflow, which
these networks refuse; nothing was chosen on these tables.

Results: see ``RESULTS``, which is a negative one.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _graph_networks import Network, pieces
from proxies import table_of, tau

from sartor._environment import environment
from sartor.estimators.proxies import load, score
from sartor.estimators.proxies.aggregate import aggregate

RESULTS = """
27 November 2026, Intel Xeon, seed 0. tau of the aggregate, of parameters as published, of MACs counted here:

  graph       cora  citeseer  pubmed     cs  physics  photo  computers  arxiv
  aggregate   .055      .037    .118   .014     .002  -.050      -.056  -.066
  parameters  .013      .194   -.030   .131     .079   .243       .075   .181
  MACs        .169      .098    .208   .021     .071  -.011       .103   .107

No score ranks these networks: the aggregate is behind parameters on six graphs of eight, and what is best differs from
graph to graph. The goal, ahead of parameters, is missed.
"""

GRAPHS = ("cora", "citeseer", "pubmed", "cs", "physics", "photo", "computers", "arxiv")
AGGREGATED = ("az-expressivity", "growth", "naswot")
NAMES = (*AGGREGATED, "macs", "params", "jacov", "swap", "zico", "az-progressivity", "grad-norm")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="../shared/data/nas", help="folder of the tables")
    parser.add_argument("--graphs", default="../shared/data/graphs", help="folder with cora.npz")
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="20 networks; decides nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(environment()))
    table = table_of(arguments.table, "nasbench_graph", GRAPHS[0])
    rows = np.random.default_rng(1).permutation(len(table))[: 20 if arguments.quick else arguments.num]
    inputs = list(pieces(arguments.graphs, GRAPHS[0], 32, 64, 0))
    proxies, found, began = load(*NAMES), [], time.process_time()
    for row in rows.tolist():
        torch.manual_seed(0)
        found.append(score(Network(table.architectures[row], inputs[0].shape[1], 7), inputs, proxies))
    print(f"{len(rows)} networks, {time.process_time() - began:.0f} CPU-s")
    columns = {name: np.array([each[name] for each in found]) for name in NAMES}
    figures = {}
    for graph in GRAPHS:
        truth = table_of(arguments.table, "nasbench_graph", graph)
        values = truth.observed()[rows] * (1 if truth.direction == "max" else -1)
        taus = {"aggregate": tau(aggregate(columns, AGGREGATED), values)}
        taus["params as published"] = tau(truth.costs["params"].values[rows], values)
        taus |= {name: tau(column, values) for name, column in columns.items()}
        print(f"  {graph:10}", " ".join(f"{name} {value:.3f}" for name, value in taus.items()))
        figures[f"tau_graph_{graph}"] = round(taus["aggregate"], 4)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
