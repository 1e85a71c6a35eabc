import numpy as np
import pytest
import torch
from torch import nn

from sartor.devices.runtimes import Runtime
from sartor.registry import find

PACKAGES = {"torch": [], "openvino": ["openvino"], "executorch": ["executorch"], "litert": ["litert_torch"]}


@pytest.mark.filterwarnings("ignore")  # of libraries, when first imported
@pytest.mark.parametrize("name", [*PACKAGES, "torch-compiled"])
def test_the_prepared_call_computes_what_the_network_does(name):
    for package in PACKAGES.get(name, ()):
        pytest.importorskip(package, reason=f"{package} is not installed: extra {name}")
    runtime = find("runtimes", name).load()()
    assert isinstance(runtime, Runtime) and runtime.title
    module, image = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout()).train(), torch.rand(1, 1, 5, 5)
    found = runtime.prepare(module, (image,))()
    assert module.training and module[1].training
    first = found if isinstance(found, torch.Tensor) else found[0]
    expected = module[0](image).detach().numpy()
    np.testing.assert_allclose(np.asarray(first), expected, atol=1e-5)
