import copy
import warnings
from types import SimpleNamespace

import pytest
import torch
import torch.fx
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from sartor.contracts import Candidate
from sartor.devices.counts import Counts
from sartor.nets import BasicBlock, Chain, ClassifierHead, ConvBnAct, MBConv
from sartor.spaces.nasbench201 import nasbench201
from sartor.testing.devices import check_device
from sartor.testing.randomness import global_random_state


def count(module, *inputs):
    return {name: figure.value for name, figure in Counts().count(module, inputs).items()}


def macs(module, *inputs):
    return count(module, *inputs)["macs"]


def flops_halved(module, *inputs):
    # On meta, since it sees nothing inside the fused processor kernels of transformers and recurrent layers.
    module = copy.deepcopy(module).eval().to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*(tensor.to("meta") for tensor in inputs))
    return counter.get_total_flops() // 2


class Attention(nn.Module):
    def __init__(self, causal=False):
        super().__init__()
        self.causal = causal

    def forward(self, query, key, value):
        return F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)


class Residual(nn.Module):
    """1 -> 8 channels of 4x4, then x + conv(conv(x)): 512 bytes each."""

    def __init__(self, inplace=False):
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x):
        x = self.stem(x)
        return x + self.b(self.relu(self.a(x)))


class Concat(nn.Module):
    def forward(self, x):
        return torch.cat([x * 2, x * 3], 1)


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 5, 7), 5 * 7 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, stride=2), (1, 3, 9, 9), 4 * 4 * 8 * 3 * 9),
        (nn.Conv2d(6, 6, 5, padding=2, groups=6), (1, 6, 8, 8), 8 * 8 * 6 * 25),
        (nn.Conv2d(8, 12, 3, padding=1, groups=4), (1, 8, 6, 6), 6 * 6 * 12 * 2 * 9),
        (nn.Conv2d(4, 4, 3, dilation=2), (1, 4, 9, 9), 5 * 5 * 4 * 4 * 9),
        (nn.ConvTranspose2d(4, 6, 3, stride=2), (1, 4, 5, 5), 5 * 5 * 4 * 6 * 9),
        (nn.Conv1d(2, 5, 3), (1, 2, 10), 8 * 5 * 2 * 3),
        (nn.Conv3d(2, 3, 2), (1, 2, 3, 3, 3), 8 * 3 * 2 * 8),
        (nn.Linear(7, 11), (1, 7), 77),
        (nn.Linear(7, 11, bias=False), (1, 5, 7), 5 * 77),
        (nn.LSTM(4, 5), (3, 1, 4), 3 * (4 * 5) * (4 + 5)),
        (nn.GRU(4, 5, bias=False), (3, 1, 4), 3 * (3 * 5) * (4 + 5)),
    ],
)
def test_macs_match_the_hand_formula(module, shape, expected):
    assert macs(module, torch.randn(shape)) == expected


def test_attention_counts_scores_and_values():
    query, key, value = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 7, 8), torch.randn(1, 2, 7, 6)
    assert macs(Attention(), query, key, value) == 2 * 5 * 7 * (8 + 6)


def test_a_transformer_layer_counts_projections_attention_and_feed_forward():
    length, width, hidden = 5, 16, 32
    layer = nn.TransformerEncoderLayer(width, 2, hidden, batch_first=True)
    expected = length * (4 * width * width + 2 * width * hidden) + 2 * length * length * width
    assert macs(layer, torch.randn(1, length, width)) == expected


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (
            Chain(3, [ConvBnAct(3, 8), MBConv(8, 8, expand=3, squeeze_excite=True), ClassifierHead(8, 10)]),
            (1, 3, 12, 12),
        ),
        (nn.Sequential(BasicBlock(4, 8, stride=2), nn.Flatten(), nn.Linear(8 * 36, 3)), (1, 4, 12, 12)),
        (nn.Sequential(nn.Conv2d(1, 8, 3, groups=1), nn.ConvTranspose2d(8, 4, 3, groups=2)), (1, 1, 9, 9)),
        (nn.TransformerEncoderLayer(16, 4, batch_first=True), (1, 6, 16)),
        (nn.LSTM(4, 6, num_layers=2, bidirectional=True), (5, 1, 4)),
    ],
)
def test_macs_are_half_of_the_flops_that_torch_counts(module, shape):
    assert macs(module, torch.randn(shape)) == flops_halved(module, torch.randn(shape)) > 0


def test_nas_bench_201_has_its_published_size():
    # Dong and Yang 2020: the cell of 3x3 convolutions alone has 1.531546 M parameters and 220.119680 M "FLOPs".
    space = nasbench201(3, 10)
    network = space.build(space.architecture({f"cell.edges.{i}": "nor_conv_3x3" for i in range(6)}))
    found = count(network, torch.rand(1, 3, 32, 32))
    assert (found["params"], found["macs"]) == (1_531_546, 220_119_680)


def test_shared_parameters_count_once():
    first = nn.Linear(4, 4)
    tied = nn.Linear(4, 4, bias=False)
    tied.weight = first.weight
    module = nn.Sequential(first, tied, first)
    found = count(module, torch.zeros(1, 4))
    assert found["params"] == 20
    assert found["model_bytes"] == 80
    assert found["macs"] == 3 * 16


def test_model_bytes_follow_the_dtypes_and_include_buffers():
    module = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2))
    # 2 weights; scale, shift, mean and variance of 2; one int64 counter.
    assert count(module, torch.zeros(1, 1, 2, 2))["model_bytes"] == 4 * (2 + 8) + 8
    assert count(nn.Linear(4, 2).half(), torch.zeros(1, 4).half())["model_bytes"] == 2 * 10


def test_a_chain_peaks_at_two_neighbours():
    # 64 B in, 512 B, 128 B, 64 B out: the peak is at the second convolution.
    chain = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 2, 1), nn.Conv2d(2, 1, 1))
    assert count(chain, torch.zeros(1, 1, 4, 4))["peak_memory_bytes"] == 512 + 128


def test_inputs_count_until_their_last_use():
    assert count(nn.Sequential(nn.Linear(100, 2), nn.Linear(2, 40)), torch.zeros(1, 100))["peak_memory_bytes"] == 408


def test_a_residual_branch_keeps_its_source_alive():
    # relu: source, its input and its output; in place: source and one.
    assert count(Residual(), torch.zeros(1, 1, 4, 4))["peak_memory_bytes"] == 3 * 512
    # Without copies in between, the sum still needs source, branch and result.
    assert count(Residual(inplace=True), torch.zeros(1, 1, 4, 4))["peak_memory_bytes"] == 3 * 512


def test_an_in_place_activation_costs_no_memory():
    chain = nn.Sequential(nn.Linear(4, 100), nn.ReLU(inplace=True), nn.Linear(100, 1))
    assert count(chain, torch.zeros(1, 4))["peak_memory_bytes"] == 16 + 400
    chain[1] = nn.ReLU()
    assert count(chain, torch.zeros(1, 4))["peak_memory_bytes"] == 400 + 400


def test_a_concatenation_needs_its_parts_and_its_result():
    assert count(Concat(), torch.zeros(1, 8))["peak_memory_bytes"] == 32 + 32 + 64


def test_views_share_storage():
    class Halves(nn.Module):
        def forward(self, x):
            a, b = (x * 2).reshape(1, 2, 8).transpose(0, 1).chunk(2)
            return a + b

    # x, x * 2 | x * 2, a + b
    assert count(Halves(), torch.zeros(1, 16))["peak_memory_bytes"] == 64 + 64


def test_what_nothing_reads_is_not_counted():
    # The pool's indices (int64) are never read.
    pool = nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2))
    assert count(pool, torch.zeros(1, 1, 4, 4))["peak_memory_bytes"] == 64 + 64


def test_a_network_without_operations_holds_its_input():
    assert count(nn.Sequential(nn.Identity(), nn.Linear(1, 1)), torch.zeros(1, 1))["peak_memory_bytes"] == 8
    assert count(nn.Identity(), torch.zeros(1, 5))["peak_memory_bytes"] == 20


def test_constants_made_inside_forward_are_activations():
    class Positions(nn.Module):
        def forward(self, x):
            return x + torch.arange(x.shape[1]) * 0.5

    # x and int64 positions; then the product; then the sum.
    assert count(Positions(), torch.zeros(1, 10))["peak_memory_bytes"] == 40 + 80 + 40


def test_a_network_that_reads_its_data_is_run_for_real_and_says_so():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 8)

        def forward(self, x):
            x = self.a(x)
            return self.b(x) if x.sum() > 1e9 else self.a(x)

    figures = Counts().count(Branching(), (torch.zeros(1, 4),))
    assert figures["macs"].value == 32
    assert "real" in figures["macs"].note


def test_both_ways_of_executing_count_the_same():
    from sartor.devices._execution import _execute
    from sartor.devices.counts import peak_memory_bytes

    for module, inputs in [
        (Residual(inplace=True), (torch.randn(1, 1, 4, 4),)),
        (Concat(), (torch.randn(1, 8),)),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(True), nn.MaxPool2d(2), nn.Flatten()),
            (torch.randn(1, 1, 8, 8),),
        ),
        (nn.TransformerEncoderLayer(16, 4, batch_first=True), (torch.randn(1, 6, 16),)),
    ]:
        shapes, real = (_execute(module, inputs, {}, real=real) for real in (False, True))
        assert [(o.name, o.macs, o.shape, o.view) for o in shapes.operations if not o.view] == [
            (o.name, o.macs, o.shape, o.view) for o in real.operations if not o.view
        ]
        assert peak_memory_bytes(shapes) == peak_memory_bytes(real)


def test_a_recurrent_layer_run_for_real_is_taken_apart_too():
    from sartor.devices._execution import _execute

    execution = _execute(nn.LSTM(4, 6), (torch.randn(5, 1, 4),), {}, real=True)
    assert sum(operation.macs for operation in execution.operations) == 5 * (4 * 6) * (4 + 6)


def test_a_defect_of_the_network_is_raised_as_its_own():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        count(nn.Linear(4, 2), torch.zeros(1, 5))


def test_counting_leaves_caches_of_the_network_alone():
    class Caching(nn.Module):
        def __init__(self):
            super().__init__()
            self.cache, self.calls = None, [0]

        def forward(self, x):
            if self.cache is None:
                self.cache = torch.arange(4.0)
            return x + self.cache

    module = Caching()
    count(module, torch.zeros(1, 4))
    assert module.cache is None


class Unregistered(nn.Module):
    """Holds a layer in a list and a constant in a dict, and returns a dict."""

    def __init__(self):
        super().__init__()
        self.layers, self.constants = [nn.Linear(4, 6)], {"shift": torch.ones(6)}

    def forward(self, x):
        x = self.layers[0](x) + self.constants["shift"]
        return {"mean": x.mean(), "all": [x]}


class Looping(nn.Module):
    """Reads how often to repeat, counts its calls, and draws random numbers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("times", torch.tensor(3))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x):
        self.calls += 1
        for _ in range(int(self.times)):
            x = self.layer(x)
        return x + torch.rand_like(x)


def pruned():
    module = nn.Sequential(nn.Linear(4, 5))
    prune.l1_unstructured(module[0], "weight", 0.5)
    return module


@pytest.mark.parametrize(
    ("module", "inputs", "expected"),
    [
        (nn.Sequential(parametrizations.weight_norm(nn.Conv2d(2, 3, 3))), torch.rand(1, 2, 6, 6), 16 * 3 * 2 * 9),
        (pruned(), torch.rand(1, 4), 20),
        (torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU())), torch.rand(1, 3), 12),
        (nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2)), torch.tensor([[1, 2, 3]]), 24),
        (Unregistered(), torch.rand(1, 4), 24),
        (Looping(), torch.rand(1, 2), 12),
    ],
)
def test_unusual_modules_are_counted_and_left_as_they_were(module, inputs, expected):
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    attributes = {name: {k: id(v) for k, v in vars(part).items()} for name, part in module.named_modules()}
    random = global_random_state()
    assert macs(module, inputs) == expected
    assert global_random_state() == random
    assert all(torch.equal(tensor, weights[name]) for name, tensor in module.state_dict().items())
    assert attributes == {name: {k: id(v) for k, v in vars(part).items()} for name, part in module.named_modules()}


def test_torchscript_is_refused_with_what_to_give_instead():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="TorchScript: give the Python module"):
        count(scripted, torch.rand(1, 2))


def test_dropout_and_batch_normalisation_are_counted_as_deployed():
    module = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train()
    assert count(module, torch.zeros(1, 4))["macs"] == 8
    assert all(part.training for part in module.modules())


class Plain:
    """Enough of a task for a candidate."""

    def __init__(self, width):
        self.width = width

    def build(self, space, architecture):
        width = self.width
        return nn.Sequential(
            nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 36, 4)
        )

    def deploy(self, network, architecture):
        return network

    def example_inputs(self, architecture, batch_size=1):
        return (torch.rand(batch_size, 1, 8, 8),)


def test_counts_conform():
    candidates = [Candidate(Plain(width), SimpleNamespace(), None) for width in (2, 4, 8)]
    check_device(Counts(), candidates)
