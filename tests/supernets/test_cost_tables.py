"""Tables of what choices cost, made from whole networks."""

from pathlib import Path

import pytest

from sartor._supernet import train_supernet
from sartor.contracts import Candidate
from sartor.devices.counts import Counts
from sartor.errors import InputError
from sartor.runs import Record
from sartor.supernets._costs import table_of
from sartor.tasks.images.task import Images


def test_a_table_adds_up_to_the_cost_of_any_cell() -> None:
    task = Images("digits", space="nasbench201")
    space, base = task.space(), task.baseline()

    def macs(architecture) -> float:
        return Counts().cost(Candidate(task, space, architecture))["macs"].value

    table = table_of(space, base, macs)
    assert {key: len(costs) for key, costs in table.items()} == {f"cell.edges.{i}": 5 for i in range(6)}
    assert all(min(costs) == 0 for costs in table.values())
    values = {key: list(space.values(key)) for key in space.keys}

    def by_table(architecture) -> float:
        return sum(table[key][values[key].index(architecture[key])] for key in space.keys)

    # Operations of a cell cost the same whatever the others are.
    other = space.architecture({key: "nor_conv_1x1" for key in space.keys})
    assert by_table(other) - by_table(base) == pytest.approx(macs(other) - macs(base))


@pytest.mark.parametrize("method", ["fbnet", "proxylessnas"])
def test_costs_are_named_by_a_figure_and_kept_in_the_run(method: str, tmp_path: Path) -> None:
    task = Images("digits", space="nasbench201")
    options = {"costs": "macs"} if method == "fbnet" else {"costs": "macs", "cost_weight": 1e-8}
    train_supernet(task, method=method, method_options=options, epochs=0.2, workers=0, out=tmp_path / method)
    with Record(tmp_path / method, read_only=True) as record:
        costs = record.runs()[-1].config["supernet_options"]["costs"]
    assert len(costs["cell.edges.0"]) == 5 and max(costs["cell.edges.0"]) > 1000


def test_a_figure_that_nothing_gives_is_refused(tmp_path: Path) -> None:
    task = Images("digits", space="nasbench201")
    for text, message in [("maccs", "unknown limit 'maccs'"), ("macs@cpu", "does not give it")]:
        with pytest.raises(InputError, match=message):
            train_supernet(task, method="fbnet", method_options={"costs": text}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
