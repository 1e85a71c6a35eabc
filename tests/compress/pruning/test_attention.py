"""The attention whose heads can go, against torch's own."""

import pytest
import torch
from torch import nn

from sartor.compress.pruning.attention import PrunableAttention, with_prunable_attention
from sartor.compress.pruning.structure import analyse, flags


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 5, "vdim": 7}])
def test_it_computes_what_torchs_attention_does(batch_first: bool, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, batch_first=batch_first, **options).eval()
    ours = PrunableAttention.of(theirs)
    assert ours is not None
    sizes = [(2, 6, 12), (2, 4, options.get("kdim", 12)), (2, 4, options.get("vdim", 12))]
    query, key, value = (torch.randn(size if batch_first else (size[1], size[0], size[2])) for size in sizes)
    padding = torch.tensor([[False, False, True, True], [False, False, False, True]])
    mask = torch.randn(6, 4)
    for weights in (True, False):
        for average in (True, False):
            wanted, expected = theirs(
                query, key, value, padding.float() * -1e9, weights, mask, average_attn_weights=average
            )
            found, given = ours(query, key, value, padding, weights, mask, average_attn_weights=average)
            torch.testing.assert_close(found, wanted)
            assert (given is None) == (expected is None)
            if given is not None:
                torch.testing.assert_close(given, expected)
    single = theirs(query[0], key[0], value[0])[0] if batch_first else None
    if single is not None:
        torch.testing.assert_close(ours(query[0], key[0], value[0])[0], single)


def test_attention_with_learned_keys_is_left_alone() -> None:
    network = nn.Sequential(nn.MultiheadAttention(4, 2, add_bias_kv=True))
    assert isinstance(with_prunable_attention(network)[0], nn.MultiheadAttention)


def test_heads_of_torchs_encoder_go_whole() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True)
    network = nn.Sequential(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(12, 4)).eval()
    structure = analyse(network, (torch.randn(1, 5, 12),))
    heads = next(group for group in structure.groups if len(group.units) == 3)
    smaller = structure.without(flags(structure, heads.units[:1]))
    attention = smaller.get_submodule("0.layers.0.self_attn")
    assert isinstance(attention, PrunableAttention)
    assert attention.num_heads == 2 and attention.query.out_features == 8 and attention.out_proj.in_features == 8
