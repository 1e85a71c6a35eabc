import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sartor.errors import InputError
from sartor.space import OneOf, Repeat, Space
from sartor.space.encodings._survey import drawn
from sartor.space.encodings.autoencoder import Autoencoder
from sartor.space.encodings.contrastive import Contrastive
from sartor.testing.encodings import check_encoding


def _layer(kernel: int, width: int = 1) -> None: ...


def _net(layers: object) -> None: ...


def _chains() -> Space:
    layer = OneOf(conv=partial(_layer, kernel=OneOf(3, 5), width=OneOf(1, 2)), skip=partial(dict))
    return Space(partial(_net, layers=Repeat(layer, times=OneOf(1, 2, 3))))


@pytest.mark.parametrize("kind", [Autoencoder, Contrastive])
def test_learned_encodings_conform(kind: Any) -> None:
    check_encoding(partial(kind, num_steps=5), _chains())


@pytest.mark.parametrize("kind", [Autoencoder, Contrastive])
def test_a_space_of_one_architecture_is_learned(kind: Any) -> None:
    space = Space({"a": OneOf(1)})
    assert np.isfinite(kind(space, num_steps=2)([space.sample(np.random.default_rng(0))])).all()


@pytest.mark.parametrize("kind", [Autoencoder, Contrastive])
def test_weights_are_saved_and_read(kind: Any, tmp_path: Path) -> None:
    space = _chains()
    made = space.sample(np.random.default_rng(0), 20)
    trained = kind(space, seed=1, num_steps=5)
    trained.save(tmp_path / "weights.pt")
    read = kind(space, seed=2, num_steps=5)
    assert (kind(space, seed=2, num_steps=5)(made) != trained(made)).any()
    read.load(tmp_path / "weights.pt")
    assert (read(made) == trained(made)).all()
    with pytest.raises(InputError, match="no weights"):
        read.load(tmp_path / "other.pt")
    with pytest.raises(InputError, match="features"):
        kind(space, num_features=7).load(tmp_path / "weights.pt")
    with pytest.raises(InputError, match="words"):
        kind(Space({"a": OneOf(1, 2)})).load(tmp_path / "weights.pt")


def test_an_autoencoder_learns_to_write_graphs_down() -> None:
    space = _chains()
    made = drawn(space, np.random.default_rng(0), 100)
    shares = [Autoencoder(space, num_steps=steps).reconstructs(made).mean() for steps in (1, 300)]
    assert shares[0] < 0.2 and shares[1] > 0.95


def test_contrast_brings_neighbours_near() -> None:
    space = Space({f"layer{i}": partial(_layer, kernel=OneOf(*range(4))) for i in range(6)})
    rng = np.random.default_rng(0)
    anchors = space.sample(rng, 100)
    others = space.sample(rng, 100)
    changed = [space.mutate(anchor, rng) for anchor in anchors]
    encoding = Contrastive(space, num_steps=40)
    here, near, far = encoding(anchors), encoding(changed), encoding(others)
    assert (((here - near) ** 2).sum(1) < ((here - far) ** 2).sum(1)).mean() > 0.95


def test_encodings_are_listed_without_torch() -> None:
    listed = "import sys; from sartor.registry import specs; print(len(specs('encodings')))"
    code = f"{listed}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 6


@pytest.mark.parametrize(
    ("kind", "options"),
    [(Autoencoder, {"num_features": 0}), (Contrastive, {"num_steps": 0}), (Contrastive, {"temperature": 0.0})],
)
def test_options_out_of_range_of_learned_encodings_are_refused(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        kind(Space({"a": OneOf(1, 2)}), **options)
