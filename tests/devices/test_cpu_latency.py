import subprocess
import sys
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from sartor import _quiet
from sartor.contracts import Candidate
from sartor.devices import cpu
from sartor.devices.cpu import BUSY_ERROR, ENERGY_ERROR, NUM_KEPT, QUIET_ERROR, CpuLatency
from sartor.errors import InputError, MissingExtraError
from sartor.export.onnx import convert_to_measure
from sartor.testing.devices import check_device
from sartor.testing.randomness import global_random_state


@pytest.fixture(autouse=True)
def own_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(_quiet, "_folder", lambda: tmp_path / "lock")


def device(**options):
    return CpuLatency(**{"block_s": 0.002, "num_blocks": 4, "max_attempts": 2, **options})


class Plain:
    """Enough of a task for a candidate."""

    def __init__(self, width):
        self.width = width

    def build(self, space, architecture):
        w = self.width
        return nn.Sequential(
            nn.Conv2d(1, w, 3), nn.BatchNorm2d(w), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(w * 36, 4)
        )

    def deploy(self, network, architecture):
        return network

    def example_inputs(self, architecture, batch_size=1):
        return (torch.rand(batch_size, 1, 8, 8),)


class FakeClock:
    """A machine whose runs take what a script says, with other processes that use ``others`` cores."""

    def __init__(self, monkeypatch, runs_ms, others=0.0, lost=0.0, stolen=0.0):
        self.now, self.thread, self.busy, self.steal = 0.0, 0.0, 0.0, 0.0
        self.runs_ms, self.others, self.lost, self.stolen = deque(runs_ms), others, lost, stolen
        clock = SimpleNamespace(
            perf_counter=lambda: self.now,
            perf_counter_ns=lambda: int(self.now * 1e9),
            process_time=lambda: self.thread,
            thread_time=lambda: self.thread,
            sleep=lambda seconds: None,
        )
        monkeypatch.setattr(cpu, "time", clock)
        monkeypatch.setattr(cpu, "_machine_seconds", lambda: (self.busy, self.steal))
        monkeypatch.setattr(cpu, "_RAPL", Path("nowhere"))

    def run(self):
        seconds = self.runs_ms[0] / 1e3
        self.runs_ms.rotate(-1)
        self.now += seconds
        self.thread += seconds * (1 - self.lost)
        self.busy += seconds * (1 - self.lost + self.others)
        self.steal += seconds * self.stolen


def measured(monkeypatch, runs_ms, *, options=None, **machine):
    clock = FakeClock(monkeypatch, runs_ms, **machine)
    measurement = cpu._Measurement(clock.run)
    figures = device(**(options or {"block_s": 0.02}))._figures(measurement)
    return figures, measurement


def test_a_quiet_machine_is_measured_once(monkeypatch):
    figures, measurement = measured(monkeypatch, [1.0, 1.01, 1.02])
    latency = figures["latency_ms"]
    assert len(measurement.attempts) == 1
    assert latency.value == pytest.approx(1.0, rel=0.01)
    assert (latency.unit, latency.kind, latency.note, latency.error) == ("ms", "measured", "", QUIET_ERROR)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"others": 1.0}, "1.0 cores used by others"),
        ({"lost": 0.4}, "40% of the time lost"),
        ({"stolen": 0.2}, "hypervisor took 20%"),
    ],
)
def test_a_busy_machine_is_measured_again_and_then_said_to_be_busy(monkeypatch, machine, said):
    figures, measurement = measured(monkeypatch, [1.0, 1.01], options={"max_attempts": 3, "block_s": 0.02}, **machine)
    assert len(measurement.attempts) == 3
    assert said in figures["latency_ms"].note
    assert figures["latency_ms"].error == BUSY_ERROR


def test_disagreeing_blocks_are_interference_too(monkeypatch):
    figures, measurement = measured(monkeypatch, [1.0] * 50 + [1.5] * 50)
    assert len(measurement.attempts) == 2
    assert "between blocks" in figures["latency_ms"].note


def test_slow_spells_do_not_move_the_figure(monkeypatch):
    figures, _ = measured(monkeypatch, [1.0] * 30 + [1.6] * 60, options={"block_s": 0.02, "num_blocks": 16})
    assert figures["latency_ms"].value == pytest.approx(1.0)


def test_the_raw_figures_are_kept_up_to_a_bound(monkeypatch):
    figures, measurement = measured(monkeypatch, [0.1, 0.2], options={"block_s": 0.02, "num_blocks": 16})
    raw = figures["latency_ms"].raw
    assert len(raw) == NUM_KEPT < sum(map(len, measurement.attempts[0].blocks_ms))
    assert set(np.round(raw, 3)) == {0.1, 0.2}


def test_slow_networks_are_run_at_least_twice_a_block(monkeypatch):
    _, measurement = measured(monkeypatch, [500.0])
    assert [len(block) for block in measurement.attempts[0].blocks_ms] == [2, 2, 2, 2]


def test_energy_without_a_counter_is_an_estimate_that_names_its_method(monkeypatch):
    figures, _ = measured(monkeypatch, [2.0], options={"core_watts": 5.0, "block_s": 0.02})
    energy = figures["energy_mj"]
    assert energy.value == pytest.approx(10.0)
    assert (energy.unit, energy.kind, energy.error) == ("mJ", "estimated", ENERGY_ERROR)
    assert "5 W" in energy.note and "RAPL" in energy.note


def test_energy_is_read_from_rapl_where_it_can_be(monkeypatch, tmp_path):
    clock = FakeClock(monkeypatch, [2.0])
    # Two packages of 30 W, and a subzone that is in its package's counter already.
    zones = [tmp_path / "powercap" / name for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0")]
    monkeypatch.setattr(cpu, "_RAPL", tmp_path / "powercap")
    for zone in zones:
        zone.mkdir(parents=True)

    def run():
        clock.run()
        for zone in zones:
            (zone / "energy_uj").write_text(str(int(clock.now * 30e6)))

    energy = device(block_s=0.02)._figures(cpu._Measurement(run))["energy_mj"]
    assert energy.kind == "measured"
    assert energy.value == pytest.approx(2 * 30 * 2.0, rel=1e-3)
    assert "RAPL" in energy.note


def test_cpu_latency_conforms():
    candidates = [Candidate(Plain(width), SimpleNamespace(), None) for width in (2, 16)]
    check_device(device(), candidates)


def test_the_name_says_what_was_measured_on():
    assert "cpu (" in CpuLatency().name and "1 thread" in CpuLatency().name


def test_senseless_options_are_refused():
    with pytest.raises(InputError, match="block_s"):
        CpuLatency(block_s=0)


def test_both_exporters_compute_the_same(monkeypatch):
    from sartor.export import onnx
    from sartor.export._ort import session

    module = Plain(4).build(None, None).eval()
    inputs = (torch.rand(1, 1, 8, 8),)
    fast, first = convert_to_measure(module, inputs, "a test")
    monkeypatch.setattr(onnx, "find_spec", lambda name: None)
    modern, second = convert_to_measure(module, inputs, "a test")
    assert (first, second) == ("torchscript", "torch.export")
    with torch.no_grad():
        expected = module(*inputs).numpy()
    for model in (fast, modern):
        given = session(model, "a test").run(None, {"input": inputs[0].numpy()})[0]
        np.testing.assert_allclose(given, expected, atol=1e-6)


def test_what_the_fast_exporter_cannot_trace_goes_through_the_modern_one():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    _, exporter = convert_to_measure(layer, (torch.rand(1, 3, 8),), "a test")
    assert exporter == "torch.export"


def test_conversion_is_silent_and_changes_nothing(capfd):
    module, inputs = Plain(4).build(None, None).train(), (torch.rand(1, 1, 8, 8),)
    before = global_random_state()
    convert_to_measure(module, inputs, "a test")
    assert global_random_state() == before
    assert all(part.training for part in module.modules())
    assert capfd.readouterr() == ("", "")


def test_a_missing_runtime_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'sartor\[onnx\]'):
        device().measure(nn.Linear(2, 2), (torch.zeros(1, 2),))


def test_devices_are_listed_without_torch():
    code = (
        "import sys\n"
        "from sartor.registry import specs\n"
        "found = specs('devices')\n"
        "assert {'counts', 'cpu'} <= set(found), found\n"
        "import sartor.devices.graph\n"
        "assert not {'torch', 'onnx', 'onnxruntime'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
