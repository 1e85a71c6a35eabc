from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sartor.compress.sparsity.magnitude import magnitude
from sartor.compress.sparsity.masks import global_masks, pruned
from sartor.compress.sparsity.storage import load_sparse, save_sparse, storage, total_bytes
from sartor.errors import InputError
from tests.compress.made import classifier, convolutional


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_bytes_are_those_of_torchs_own_layouts_but_for_narrower_indices() -> None:
    network = nn.Linear(40, 30)
    network = pruned(network, global_masks(magnitude(network), 0.8))
    entry = storage(network)[0]
    weight = network.get_parameter("weight").detach()
    csr, coo = weight.to_sparse_csr(), weight.to_sparse()
    assert entry.nonzero == csr.values().numel() == coo.values().numel()
    assert entry.bytes["csr"] == csr.values().numel() * (4 + 2) + csr.crow_indices().numel() * 4
    assert entry.bytes["coo"] == coo.values().numel() * (4 + 4)
    assert entry.bytes["bitmap"] == entry.nonzero * 4 + 150
    assert entry.bytes["dense"] == 4800


@pytest.mark.parametrize(("sparsity", "smallest"), [(0.0, "dense"), (0.5, "bitmap"), (0.99, "csr")])
def test_the_smallest_layout_depends_on_how_many_zeros_there_are(sparsity: float, smallest: str) -> None:
    layer = nn.Linear(400, 100)
    made = pruned(layer, global_masks(magnitude(layer), sparsity))
    assert storage(made)[0].smallest == smallest


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95, 0.999])
def test_what_was_saved_is_what_is_loaded(sparsity: float, tmp_path: Path) -> None:
    network = convolutional(16)
    made = pruned(network, global_masks(magnitude(network), sparsity))
    size = save_sparse(made, tmp_path / "net.sparse")
    assert size == (tmp_path / "net.sparse").stat().st_size
    fresh = load_sparse(convolutional(16, seed=4), tmp_path / "net.sparse")
    for (name, a), b in zip(made.state_dict().items(), fresh.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_nine_tenths_of_zeros_take_a_fifth_of_the_file(tmp_path: Path) -> None:
    wide = classifier(400)
    made = pruned(wide, global_masks(magnitude(wide), 0.9))
    dense, sparse = save_sparse(wide, tmp_path / "dense"), save_sparse(made, tmp_path / "sparse")
    assert sparse < 0.2 * dense
    assert abs(sparse - total_bytes(storage(made))) < 8000
    assert total_bytes(storage(made), "csr") > total_bytes(storage(made)) > 0


def test_files_that_do_not_fit_leave_the_network_alone(tmp_path: Path) -> None:
    save_sparse(classifier(), tmp_path / "net.sparse")
    other = classifier(32)
    before = [value.clone() for value in other.parameters()]
    with pytest.raises(InputError, match=r"0\.weight has shape \(24, 6\), in the network \(32, 6\)"):
        load_sparse(other, tmp_path / "net.sparse")
    with pytest.raises(InputError, match="the network has no '0.weight'"):
        load_sparse(nn.Linear(6, 24), tmp_path / "net.sparse")
    with pytest.raises(InputError, match="there is no"):
        load_sparse(other, tmp_path / "none")
    (tmp_path / "text").write_text("not weights")
    with pytest.raises(InputError, match="cannot be read as sparse weights"):
        load_sparse(other, tmp_path / "text")
    torch.save(other.state_dict(), tmp_path / "plain.pt")
    with pytest.raises(InputError, match="holds no sparse weights"):
        load_sparse(other, tmp_path / "plain.pt")
    with pytest.raises(InputError, match="no folder"):
        save_sparse(other, tmp_path / "no" / "net.sparse")
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.sparse", "plain.pt", "text"]
