from pathlib import Path

import pytest

from sartor.spaces import mbconv, nasbench201

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")


@pytest.mark.parametrize("name", ["mbconv", "nasbench201"])
def test_chains_and_cells_export_and_agree_with_torch(name: str, tmp_path: Path) -> None:
    from sartor.export.onnx import export_onnx

    make = {
        "mbconv": lambda: (mbconv.mbconv(1, 3, 8), mbconv),
        "nasbench201": lambda: (nasbench201.nasbench201(1, 3, 4, 1), nasbench201),
    }[name]
    space, module = make()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = space.build(module.hand_designed(space)).eval()
    export_onnx(network, (torch.zeros(1, 1, 9, 9),), tmp_path / "net.onnx", description={})
    assert (tmp_path / "net.onnx").stat().st_size > 1000
