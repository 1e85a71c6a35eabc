from pathlib import Path

import numpy as np
import pytest
import torch

from sartor.errors import InputError
from sartor.registry import find, specs
from sartor.spaces import mbconv, nasbench201, resnet_like
from sartor.spaces._images import layout
from sartor.testing.spaces import check_space
from sartor.testing.tasks import check_listing

TABLE = Path(__file__).parents[2].parent / "shared" / "data" / "nas" / "nasbench201.parquet"


def num_params(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def table(*columns: str) -> dict[str, np.ndarray]:
    if not TABLE.exists():
        pytest.skip("the published NAS-Bench-201 table is not here")
    parquet = pytest.importorskip("pyarrow.parquet")
    read = parquet.read_table(TABLE, columns=list(columns))
    return {name: read[name].to_numpy() for name in columns}


def test_spaces_are_listed_without_torch() -> None:
    check_listing("spaces")
    named = {"mbconv", "nasbench201", "resnet-like", "darts", "transformer", "hierarchical", "once-for-all", "fabric"}
    assert set(specs("spaces")) >= named
    assert find("spaces", "mbconv").load() is mbconv.mbconv


def test_nasbench201_has_its_published_counts() -> None:
    space = nasbench201.nasbench201(3, 10)
    assert space.count() == 15625
    assert space.modulo(nasbench201.canonical).count() == 6466


def test_arch_strings_go_both_ways_and_bad_ones_are_named() -> None:
    space = nasbench201.nasbench201(3, 10)
    arch = space.sample(np.random.default_rng(0))
    assert nasbench201.from_arch_str(nasbench201.to_arch_str(arch)) == arch
    text = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    assert nasbench201.to_arch_str(nasbench201.from_arch_str(text)) == text
    with pytest.raises(InputError, match="did you mean 'skip_connect'"):
        nasbench201.from_arch_str(text.replace("skip_connect", "skip_conect"))
    with pytest.raises(InputError, match="expected"):
        nasbench201.from_arch_str("|none~0|")


def test_isomorphism_classes_are_the_published_ones() -> None:
    published = table("arch", "iso")
    first: dict[str, int] = {}
    for text, iso in zip(published["arch"], published["iso"], strict=True):
        assert first.setdefault(nasbench201.canonical(nasbench201.from_arch_str(text)), iso) == iso
    assert len(first) == 6466


def test_nasbench201_networks_have_the_published_number_of_parameters() -> None:
    published = table("arch", "c10_params_m")
    space = nasbench201.nasbench201(3, 10)
    for i in (0, 1, 2, 13714):
        network = space.build(nasbench201.from_arch_str(published["arch"][i]))
        assert num_params(network) == round(published["c10_params_m"][i] * 1e6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (16, 20), (28, 28), (64, 64)])
@pytest.mark.parametrize("name", ["mbconv", "resnet-like"])
def test_chains_fit_any_image(name: str, size: tuple[int, int], channels: int) -> None:
    module = {"mbconv": mbconv, "resnet-like": resnet_like}[name]
    space = find("spaces", name).load()(channels, 7, size)
    rng = np.random.default_rng(0)
    for arch in [module.hand_designed(space), *space.sample_choices(rng, 2)]:
        assert arch in space
        assert space.build(arch).eval()(torch.zeros(2, channels, *size)).shape == (2, 7)


def test_mbconv_reaches_from_microcontrollers_to_phones() -> None:
    space = mbconv.mbconv(1, 10, 28)
    small = {key: min(space.values(key)) for key in space.keys}
    large = {key: max(space.values(key)) for key in space.keys}
    assert num_params(space.build(space.architecture(small))) < 2_500
    assert num_params(space.build(space.architecture(large))) > 700_000


def test_the_count_is_the_product_of_what_is_chosen() -> None:
    assert mbconv.mbconv(1, 10, 8).count() == 3 * (4 * 3 * 3 * 2) ** 3 * 4 * 5 * 6
    # A bottleneck has two ratios, a basic block none.
    assert resnet_like.resnet_like(1, 10, 28).count() == 3 * 2 * (3 * 2 * 3) ** 3 * 4 * 5 * 6


def test_spaces_made_twice_have_one_fingerprint() -> None:
    assert mbconv.mbconv(1, 10, 28).fingerprint == mbconv.mbconv(1, 10, 28).fingerprint
    assert mbconv.mbconv(1, 10, 28).fingerprint != mbconv.mbconv(1, 11, 28).fingerprint


def test_layouts_end_at_about_four_places_a_side() -> None:
    for side in (8, 12, 16, 28, 32, 48, 64, 128):
        plan = layout(side)
        final = side / (max(plan.stem) * np.prod(plan.stages))
        assert 2 <= final <= 6, (side, plan)
    with pytest.raises(InputError, match="at least 1 pixel"):
        layout(0)


@pytest.mark.parametrize("name", ["mbconv", "resnet-like", "nasbench201"])
def test_ready_made_spaces_conform(name: str) -> None:
    arguments = (1, 3, 4, 1) if name == "nasbench201" else (1, 3, 8)
    check_space(find("spaces", name).load()(*arguments), build=3)
