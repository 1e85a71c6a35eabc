"""The published tables hold what their papers say, and architectures mean what the files mean."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.estimators.tables import nasbench_graph, ofa
from sartor.estimators.tables._table import Table
from sartor.estimators.tables.lookup import load
from sartor.space import Graph
from sartor.spaces import nasbench101, nasbench201, nasbench_macro
from sartor.trials import Fidelity


@pytest.fixture(scope="module")
def cells(published: Path) -> Table:
    """NAS-Bench-101, loaded once."""
    return load(published, "nasbench101")


# Rows, best judged figure, its decimals, protocols.
PUBLISHED = {
    ("nasbench201", "cifar10"): (15_625, 94.37, 2, {"clean", "noisy"}),
    ("nasbench201", "cifar100"): (15_625, 73.51, 2, {"clean", "noisy"}),
    ("nasbench201", "imagenet16-120"): (15_625, 47.31, 2, {"clean", "noisy"}),
    ("nasbench_macro", "cifar10"): (6_561, 93.13, 2, {"clean", "noisy"}),
    ("nasbench_graph", "cora"): (26_206, None, 0, {"clean"}),
    ("nasbench_graph", "proteins"): (2_021, None, 0, {"clean"}),
    ("transnasbench101_micro", "class_scene"): (4_096, 54.94, 2, {"clean"}),
    ("transnasbench101_micro", "autoencoder"): (4_096, 0.5772, 4, {"clean"}),
    ("transnasbench101_macro", "jigsaw"): (3_256, 97.02, 2, {"clean"}),
    ("transnasbench101_macro", "normal"): (3_256, 0.6435, 4, {"clean"}),
    ("fbnet", "pixel3"): (5_000, None, 0, {"clean"}),
    ("ofa", "imagenet"): (5_000, None, 0, {"clean"}),
}


@pytest.mark.parametrize(("name", "dataset"), sorted(PUBLISHED))
def test_a_table_has_its_published_size_and_optimum(published: Path, name: str, dataset: str) -> None:
    size, best, decimals, protocols = PUBLISHED[name, dataset]
    table = load(published, name, dataset)
    assert len(table) == table.space.count() == size and table.name == f"{name}/{dataset}"
    assert best is None or round(table.best(), decimals) == best
    assert set(table.protocols) == protocols
    assert table.regrets().min() == 0.0
    rng = np.random.default_rng(0)
    made = table.space.sample(rng, 20)
    rows = table.indices(made)
    assert [table.architectures[row] for row in rows.tolist()] == made
    if size > 5_000:
        rows = table.indices([table.space.mutate(each, rng) for each in made])
        assert len(set(rows.tolist())) > 1
    for architecture in made[:5]:
        assert isinstance(table.space.graph(architecture), Graph)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "imagenet16-120"])
def test_the_noise_of_nasbench201_leaves_its_known_regret(published: Path, dataset: str) -> None:
    table = load(published, "nasbench201", dataset)
    floor = {"cifar10": 0.08, "cifar100": 0.03, "imagenet16-120": 0.87}[dataset]
    assert round(float(table.regrets("noisy")[np.argmax(table.observed(protocol="noisy"))]), 2) == floor
    assert set(table.fidelities) == {Fidelity(12, "epochs"), Fidelity(200, "epochs")}
    assert table.observed(Fidelity(12, "epochs")).max() < table.best()
    assert len(table.devices) == 29 and {"params", "macs"} == set(table.costs)


def test_nasbench201_rows_are_the_cells_of_their_texts(published: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = parquet.read_table(published / "nasbench201.parquet", columns=["arch"])["arch"].to_pylist()
    table = load(published, "nasbench201")
    for row in range(0, 15_625, 250):
        assert table.index(nasbench201.from_arch_str(texts[row])) == row
    best = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
    assert table.regret(nasbench201.from_arch_str(best)) < 0.5
    # As the benchmark's own interface prints them.
    assert table.costs["params"].values[13_714] == 1_073_466
    assert round(table.costs["macs"].values[13_714] / 1e6, 2) == 153.27


def test_latencies_of_nasbench201_say_how_far_they_repeat(published: Path) -> None:
    table = load(published, "nasbench201")
    errors = {device: costs["latency_ms"].error for device, costs in table.devices.items()}
    assert errors["eyeriss"] is None and table.devices["fpga"]["energy_mj"].kind == "estimated"
    assert 0.001 < (errors["2080ti_256"] or 0) < 0.005 < (errors["1080ti_1"] or 0) < 0.1 < (errors["pixel3"] or 0) < 0.3
    networks = defaultdict(list)
    for row, (iso, codes) in enumerate(zip(table.column("iso").tolist(), table.codes.tolist(), strict=True)):
        networks[iso, tuple(sorted(codes))].append(row)
    values = table.devices["1080ti_1"]["latency_ms"].values
    apart = [np.abs(values[rows] / values[rows].mean() - 1) for rows in networks.values() if len(rows) > 1]
    assert errors["1080ti_1"] == pytest.approx(np.quantile(np.concatenate(apart), 0.9))


def test_isomorphic_cells_of_nasbench201_were_trained_apart(published: Path) -> None:
    table = load(published, "nasbench201", "cifar100")
    rows = defaultdict(list)
    for row, iso in enumerate(table.column("iso").tolist()):
        rows[iso].append(row)
    several = [each for each in rows.values() if len(each) > 1]
    spread = [np.ptp(table.observed()[each]) for each in several]
    assert (len(rows), len(several), sum(value == 0 for value in spread)) == (6_466, 1_350, 66)


def test_isomorphic_chains_of_macro_were_trained_once(published: Path) -> None:
    table = load(published, "nasbench_macro")
    rows = defaultdict(list)
    for row, architecture in enumerate(table.architectures):
        rows[table.space.graph(architecture)].append(row)
    assert len(rows) == 3_969
    assert max(np.ptp(table.observed()[each]) for each in rows.values()) == 0.0


def test_macro_rows_are_the_chains_of_their_digits(published: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = parquet.read_table(published / "nasbench_macro.parquet", columns=["arch"])["arch"].to_pylist()
    table = load(published, "nasbench_macro")
    assert [table.index(nasbench_macro.from_digits(text)) for text in texts[::300]] == list(range(0, 6_561, 300))


def test_nasbench101_holds_all_cells_in_the_order_of_its_hash(cells: Table) -> None:
    assert len(cells) == cells.space.count() == 423_624 and round(cells.best(), 5) == 0.94318
    hashes = [nasbench101.cell_hash(cells.architectures[row]) for row in (0, 1, 1_000, 200_000, 423_622, 423_623)]
    assert hashes == sorted(hashes) and hashes[0].startswith("00005c14")
    assert all(nasbench101.is_cell(each) for each in cells.architectures[:50])


def test_any_numbering_of_a_nasbench101_cell_finds_its_row(cells: Table) -> None:
    rng = np.random.default_rng(0)
    for architecture in cells.space.sample(rng, 30):
        row = cells.index(architecture)
        assert cells.architectures[row] == architecture
        assert cells.index(nasbench101.representative(architecture)) == row
    plain = nasbench101.wired()
    for architecture in plain.sample(rng, 20):
        kept = cells.architectures[cells.index(architecture)]
        assert nasbench101.cell_hash(kept) == nasbench101.cell_hash(architecture)
    with pytest.raises(InputError, match="has no architecture"):
        every = {key: 1 for key in plain.keys if "edges" in key}
        cells.index(every | {key: "conv3x3-bn-relu" for key in plain.keys if "operations" in key})


def test_variation_stays_among_the_cells_of_nasbench101(cells: Table) -> None:
    rng = np.random.default_rng(1)
    made = cells.space.sample(rng, 20)
    varied = [cells.space.mutate(each, rng) for each in made]
    varied += [cells.space.crossover(one, other, rng) for one, other in zip(made, varied, strict=True)]
    varied += list(cells.space.neighbours(made[0])) + cells.space.sample_choices(rng, 20)
    rows = cells.indices(varied)
    assert [cells.architectures[row] for row in rows.tolist()] == varied


def test_nasbench101_networks_have_the_published_number_of_parameters(cells: Table) -> None:
    torch = pytest.importorskip("torch")
    space = nasbench101.nasbench101(3, 10)
    for row in np.random.default_rng(2).integers(0, len(cells), 8).tolist():
        with torch.device("meta"):
            network = space.build(cells.architectures[row])
        assert sum(each.numel() for each in network.parameters()) == cells.costs["params"].values[row]


def test_graph_networks_that_compute_the_same_are_one_row(published: Path) -> None:
    table = load(published, "nasbench_graph", "cora")
    row = table.index(nasbench_graph.from_text("0-1-2-3|skip-gcn-gat-fc"))
    for text in ("0-1-2-3|gcn-skip-gat-fc", "0-1-2-3|gcn-gat-fc-skip"):
        assert table.index(nasbench_graph.from_text(text)) == row
    assert table.index(nasbench_graph.from_text("0-0-1-3|skip-gcn-gat-fc")) != row
    protein = load(published, "nasbench_graph", "proteins")
    assert protein.metric == "roc_auc"
    with pytest.raises(InputError, match="nasbench_graph/proteins has no architecture"):
        protein.index(nasbench_graph.from_text("0-1-2-3|gat-gat-gat-gat"))


def test_every_operator_of_once_for_all_was_measured(published: Path) -> None:
    table, device = load(published, "ofa"), ofa.Note10(published)
    shown = [each for each in table.architectures[:200] if each["resolution"] >= 160]
    figures = [device.latency(each) for each in shown]
    assert all(15 < figure.value < 80 and figure.error is None for figure in figures)
    assert "operators" in figures[0].note and figures[0].kind == "estimated"
    small = next(each for each in table.architectures[:200] if each["resolution"] < 160)
    with pytest.raises(InputError, match="160 to 224 pixels, not at"):
        device.latency(small)
