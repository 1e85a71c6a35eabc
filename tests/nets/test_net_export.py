from pathlib import Path

import pytest

from sartor.spaces import darts, fabric, hierarchical, mbconv, nasbench201, once_for_all, transformer

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")


@pytest.mark.parametrize(
    "name", ["mbconv", "nasbench201", "darts", "transformer", "hierarchical", "once-for-all", "fabric"]
)
def test_networks_export_and_agree_with_torch(name: str, tmp_path: Path) -> None:
    from sartor.export.onnx import export_onnx

    make = {
        "mbconv": lambda: (mbconv.mbconv(1, 3, 8), mbconv),
        "nasbench201": lambda: (nasbench201.nasbench201(1, 3, 4, 1), nasbench201),
        "darts": lambda: (darts.darts(1, 3, 4, 3), darts),
        "transformer": lambda: (transformer.transformer(1, 3, 9), transformer),
        "hierarchical": lambda: (hierarchical.hierarchical(1, 3, 4), hierarchical),
        "once-for-all": lambda: (once_for_all.once_for_all(1, 3, 9), once_for_all),
        "fabric": lambda: (fabric.fabric(1, 3, 9), fabric),
    }[name]
    space, module = make()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = space.build(module.hand_designed(space)).eval()
    export_onnx(network, (torch.zeros(1, 1, 9, 9),), tmp_path / "net.onnx", description={})
    assert (tmp_path / "net.onnx").stat().st_size > 1000
