import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sartor.errors import ExportError
from sartor.export._exporter import quiet
from sartor.export._hls_layers import Design, Fixed, fixed, fixed_for, read
from sartor.export.hls4ml import DSP_SLICES, EXPORTER, reuse_factor, write
from sartor.nets import BasicBlock, Chain, ClassifierHead, MBConv, Standardise


def rows(num, *shapes, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [tuple(torch.rand(1, *shape, generator=generator) * 2 - 1 for shape in shapes) for _ in range(num)]


def settled(network):
    """Gives normalisations statistics and weights as training does; returns the network in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor, low, high in (
                (part.running_mean, -0.3, 0.3), (part.running_var, 0.5, 2.0), (part.weight.data, 0.5, 1.5),
                (part.bias.data, -0.3, 0.3),
            ):
                tensor.uniform_(low, high, generator=generator)
    return network.eval()


def design(network, *shapes, bits=16):
    given = rows(4, *shapes)
    return read(exported(network, given[0]), given, bits)


def exported(network, inputs):
    with quiet():
        return torch.export.export(network.eval(), inputs).run_decompositions({})


@pytest.mark.parametrize(
    "low, high, expected",
    [(0, 1.0, Fixed(8, 0, False)), (0, 1.01, Fixed(8, 1, False)), (-1.0, 0.3, Fixed(8, 1, True)),
     (-0.1, 0.12, Fixed(8, -2, True)), (0, 0, Fixed(8, 0, False)), (-5, 9, Fixed(8, 5, True))],
)
def test_a_type_is_the_finest_that_holds_a_range(low, high, expected):
    found = fixed(low, high, 8)
    assert found == expected
    ends = np.array([low, high], float)
    assert np.abs(found.rounded(ends) - ends).max() <= found.step
    finer = Fixed(8, found.integer - 1, found.signed)
    assert high == low or np.abs(finer.rounded(ends) - ends).max() > finer.step


def test_values_are_rounded_to_the_grid_and_saturate():
    kind = Fixed(4, 2, True)
    assert str(kind) == "ap_fixed<4,2,AP_RND,AP_SAT>" and kind.step == 0.25
    assert kind.rounded(np.array([0.3, -0.4, 5.0, -5.0])).tolist() == [0.25, -0.5, 1.75, -2.0]
    assert str(Fixed(8, 0, False)) == "ap_ufixed<8,0,AP_RND,AP_SAT>"


def test_the_point_of_weights_has_the_least_squared_error():
    values = np.random.default_rng(0).normal(size=1000)
    values[0] = 4.01
    chosen = fixed_for(values, 8)
    errors = {integer: np.sum((Fixed(8, integer, True).rounded(values) - values) ** 2) for integer in range(1, 6)}
    assert chosen.integer == min(errors, key=errors.get) == 3


class Called(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(1, 1, 5, 5))

    def forward(self, x):
        return x * self.mask


@pytest.mark.parametrize(
    "part, operator, why",
    [
        (nn.Softplus(), "softplus", "it has add, avg_pool2d"),
        (Called(lambda x: torch.linalg.qr(x)[0]), r"\w*qr", "it has add"),
        (nn.Conv2d(4, 4, 3, dilation=2), "conv2d", "no dilation"),
        (nn.Conv2d(4, 4, 3, groups=2), "conv2d", "groups of one channel, or one group, got 2 for 4 channels"),
        (nn.AvgPool2d(2, ceil_mode=True), "avg_pool2d", "a part of one"),
        (Called(lambda x: x.mean(1)), "mean", "over all places"),
        (Called(lambda x: torch.cat([x, x], 2)), "cat", "joins channels"),
        (Masked(), "mul", "one number, or one a channel"),
        (Called(lambda x: functional.relu(x.flatten(1)) + x.flatten(1)), "add", "behind a flattening"),
        (Called(lambda x: x.transpose(2, 3)), "transpose|permute", "it has add"),
    ],
)
def test_what_it_lacks_is_named_with_its_layer(part, operator, why):
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Sequential(nn.ReLU(), part))
    with pytest.raises(ExportError, match=rf"hls4ml has no operator for torch's ({operator}), .* layer '1\.1'.*{why}"):
        design(module, (1, 5, 5))


def test_inputs_of_integers_and_outputs_that_no_layer_computes_are_refused():
    given = (torch.tensor([1]),)
    with pytest.raises(ExportError, match="takes real numbers, but the input 'input' has torch.int64"):
        read(exported(nn.Embedding(4, 3), given), [given], 8)
    with pytest.raises(ExportError, match="let it end in a layer of its own"):
        design(nn.Flatten(), (2, 3, 3))


def test_normalisation_and_scaling_are_taken_in():
    made = design(settled(nn.Sequential(
        Standardise([0.3, 0.1], [0.2, 0.5]), nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(),
    )), (2, 5, 5))  # fmt: skip
    kinds = [layer["class_name"] for layer in made.layers]
    assert kinds == ["InputLayer", "BatchNormalization", "Conv2D", "Activation"]
    scale = made.layers[1]
    assert scale["scale_data"] == pytest.approx([1 / 0.2, 1 / 0.5], rel=1e-3)
    assert scale["bias_data"] == pytest.approx([-0.3 / 0.2, -0.1 / 0.5], rel=1e-3)


def test_constants_are_counted_and_what_an_activation_rounds_again_is_kept_finer():
    made = design(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2, bias=False)), (6,), bits=8)
    assert made.weight_bits == 8 * 6 * 4 + 16 * 4 + 8 * 4 * 2
    first, relu, last = list(made.precision.values())[1:]
    assert "fixed<16," in first["result"] and "ufixed<8," in relu["result"] and "fixed<8," in last["result"]
    assert sum(made.products.values()) == 6 * 4 + 4 * 2


def test_multipliers_are_reused_until_they_fit_the_part():
    assert reuse_factor(Design(products={"a": 10, "b": 3})) == (1, 13)
    assert reuse_factor(Design(products={"a": DSP_SLICES, "b": 7})) == (2, DSP_SLICES // 2 + 4)


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ExportError, match=r"there is no g\+\+: install it \(apt-get install g\+\+\)"):
        write(nn.Linear(2, 2), rows(1, (2,))[0], tmp_path / "a.hls4ml", "fixed8", rows(1, (2,)), False)


# --- with hls4ml and a compiler

needed = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")


@pytest.fixture
def exporter():
    pytest.importorskip("hls4ml", reason="hls4ml is not installed: extra hls4ml")
    return EXPORTER


class Pools(nn.Module):
    """Windows that overlap, joined channels, several outputs."""

    def __init__(self):
        super().__init__()
        self.conv, self.point = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 3, 1)
        self.inside, self.all = nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AvgPool2d(3, 1, 1)
        self.largest, self.linear = nn.MaxPool2d(3, 2, 1), nn.Linear(8, 3)

    def forward(self, x, features):
        y = torch.cat([self.inside(self.conv(x)), self.all(self.point(x))], 1)
        pooled = self.largest(y)
        row = torch.cat([pooled.mean((2, 3)), features], 1)
        return pooled, self.linear(torch.sigmoid(row)) * 0.5


@needed
@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
def test_depthwise_squeeze_excite_and_residual_networks_compute_what_torch_does(exporter, tmp_path):
    blocks = [
        partial(MBConv, out_channels=4, expand=1, stride=2), partial(MBConv, out_channels=4, squeeze_excite=True),
        partial(BasicBlock, out_channels=6, stride=2),
    ]
    network = settled(nn.Sequential(Standardise([0.3], [0.5]), Chain(1, blocks, partial(ClassifierHead, classes=3))))
    given = rows(8, (1, 8, 8))
    report = exporter.export(network, given[0], tmp_path / "a.hls4ml", precision="fixed16", calibration=given)
    assert report.max_difference < 1e-3
    (note,) = report.notes
    assert note.startswith("estimated, nothing was synthesised: about ") and "KiB of constants" in note


@needed
@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
def test_overlapping_windows_and_several_inputs_and_outputs_are_all_there_at_once(exporter, tmp_path):
    network = settled(Pools())
    given = rows(8, (2, 5, 5), (1,))
    report = exporter.export(network, given[0], tmp_path / "a.hls4ml", precision="fixed16", calibration=given)
    assert report.max_difference < 5e-3  # the table of the sigmoid
    assert "the windows of 'inside', 'all', 'largest' overlap or are padded" in report.notes[1]


@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
def test_a_project_is_the_same_each_time_and_knows_nothing_of_this_machine(exporter, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    network, given = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), rows(4, (4,))
    for name in ("a", "b"):
        exporter.write(network, given[0], tmp_path / name, "fixed8", given, False)
        exporter.describe(tmp_path / name, {"classes": json.dumps(["x", "y"])})
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*") if file.is_file())
    assert files == sorted(f.relative_to(tmp_path / "b") for f in (tmp_path / "b").rglob("*") if f.is_file())
    for file in files:
        content = (tmp_path / "a" / file).read_bytes()
        assert content == (tmp_path / "b" / file).read_bytes()
        assert str(tmp_path).encode() not in content
    about = json.loads((tmp_path / "a" / "sartor.json").read_text())
    assert about["classes"] == ["x", "y"] and about["inputs"] == [[4]] and about["io_type"] == "io_parallel"
