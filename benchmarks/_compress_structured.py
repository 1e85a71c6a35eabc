"""Half of the multiply-accumulates gone by structured pruning, beside Torch-Pruning's own pruner; 25 architectures.

    python benchmarks/_compress_structured.py --state DIR
    python benchmarks/_compress_structured.py --quick

Fashion-MNIST, a residual network of 306,000 parameters, 8 epochs with the images task's own recipe. Both pruners remove
channels in two rounds by first-order Taylor scores of the same batches and are trained on for the same epochs with the
same recipe, seed and order of the data; the network that is not pruned is trained on alike, since these epochs help it
too. Accuracies are of the test part, which nothing was chosen by. Latency: ONNX Runtime, one thread, batch 1.

An architecture counts as handled when its multiply-accumulates fall to 55% or less, what is left runs, and (ours)
equals
the whole network with the removed channels at zero; Torch-Pruning is given what its examples give it (example inputs,
``num_heads`` of packed attention, the parameters that belong to no layer).
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _compress_architectures import ARCHITECTURES, PackedAttention
from _compress_images import Residual, accuracy, made, trained
from torch import Tensor, nn

from sartor._environment import environment
from sartor.compress.pruning.choice import choose
from sartor.compress.pruning.magnitude import l2
from sartor.compress.pruning.structure import analyse
from sartor.compress.pruning.taylor import taylor
from sartor.devices.counts import Counts
from sartor.devices.cpu import CpuLatency
from sartor.errors import SartorError
from sartor.tasks.images.task import Images
from sartor.training.step import Step

RESULTS = """
27 November 2026, Intel Xeon, 2 virtual cores beside other work, torch 2.13.0, Torch-Pruning 1.6.1, seed 0, test part:

                      accuracy   MACs     latency
dense                   92.16   10.15M   .1075 ms
Sartor                  91.82    .432        .734
Torch-Pruning           92.01    .496        .931
dense, trained on       92.47   1.000       1.010

Sartor loses .34 points (goal .3, missed), and rounding to multiples of 8 channels takes it to .43 of the MACs where
half was asked for; Torch-Pruning loses .15 with .50. A standard error of such an accuracy is .27 points, and one seed
does not tell them apart. The latency goal of .62 is missed too, on a busy machine (errors of 50%).

Of the 25 architectures Sartor handles 25, Torch-Pruning 19: not ShuffleNetV2, Swin, MLP-Mixer, the LSTM, torch's
Transformer encoder and gated units.
"""

WIDTHS = (32, 64, 128)
SHARE = 0.5
HANDLED = 0.55
ROUNDS = 2
ROUND_TO = 8
NUM_BATCHES, BATCH = 32, 32


def macs(network: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    return float(Counts().count(network, inputs)["macs"].value)


# --- accuracy


def calibration(task: Images, seed: int, count: int) -> list[Any]:
    """Returns batches of the training part, as they are trained on."""
    rows = task.data().train
    return [rows.batch(BATCH, seed, draw) for draw in range(count)]


def losses(task: Images, seed: int) -> Callable[[nn.Module, Any], Tensor]:
    """Returns the task's loss of a network on a batch."""
    step = Step(0, 1, seed, task.recipe)
    return lambda network, batch: task.loss(network, batch, Step(step.index, step.total, seed, task.recipe))


def ours(network: nn.Module, inputs: tuple[Tensor, ...], batches: list[Any], loss: Any, target: float) -> nn.Module:
    structure = analyse(network, inputs)
    choice = choose(
        structure,
        taylor(structure, batches, loss),
        structure.macs,
        target,
        prices=structure.saved_macs(),
        round_to=ROUND_TO,
    )
    return structure.without(choice.gone)


def theirs(network: nn.Module, inputs: tuple[Tensor, ...], batches: list[Any], loss: Any, target: float) -> nn.Module:
    import torch_pruning as tp

    network = copy.deepcopy(network).eval()
    network.zero_grad()
    for batch in batches:
        loss(network, batch).backward()
    ignored = [part for part in network.modules() if isinstance(part, nn.Linear) and part.out_features == 10]
    pruner = tp.pruner.BasePruner(
        network,
        inputs,
        importance=tp.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=0.9,
        iterative_steps=200,
        ignored_layers=ignored,
        round_to=ROUND_TO,
    )
    for _ in range(200):
        if macs(network, inputs) <= target:
            break
        pruner.step()
    network.zero_grad()
    return network


def accuracies(folder: Path, *, epochs: int, tuned: tuple[int, ...], seed: int, quick: bool) -> dict[str, float]:
    """Returns accuracy in points and latency in ms of the dense and the pruned networks, and prints them."""
    task = Images("fashion-mnist")
    splits = task.data()
    test = splits.validation if quick or splits.test is None else splits.test.open()
    learner = task.learner(task.baseline())
    per_epoch = len(splits.train) // task.recipe.batch_size
    layout: Any = torch.channels_last
    dense = made(Residual, 1, WIDTHS, 2, seed=seed).to(memory_format=layout)
    trained(
        dense,
        learner,
        splits.train,
        task.recipe,
        steps=epochs * per_epoch,
        seed=seed,
        file=folder / f"images-{seed}-{epochs}.pt",
    )
    inputs = (torch.zeros(1, 1, 28, 28),)
    whole = macs(dense, inputs)
    batches, loss = calibration(task, seed, 4 if quick else NUM_BATCHES), losses(task, seed)
    device = CpuLatency()
    found = {"dense": accuracy(task, dense, test), "dense_ms": device.measure(dense, inputs)["latency_ms"].value}
    print(f"dense: {found['dense']:.2f}, {whole / 1e6:.2f}M MACs, {found['dense_ms']:.4f} ms", flush=True)

    def tune(network: nn.Module, name: str, number: int) -> nn.Module:
        file = folder / f"structured-{seed}-{name}-{'-'.join(map(str, tuned))}-{number}.pt"
        return trained(
            network.to(memory_format=layout),
            learner,
            splits.train,
            task.recipe,
            steps=tuned[number] * per_epoch,
            seed=seed + 1 + number,
            file=file,
        )

    ways = [("Sartor", ours), ("Torch-Pruning", theirs), ("dense, trained on", None)]
    for name, prune in ways:
        network = copy.deepcopy(dense)
        for number in range(ROUNDS):
            if prune is not None:
                try:
                    target = whole * SHARE ** ((number + 1) / ROUNDS)
                    network = prune(network, inputs, batches, loss, target)
                except ModuleNotFoundError:
                    print(f"{name} is not installed: pip install torch-pruning==1.6.1")
                    break
            network = tune(network, name.replace(", ", "-").replace(" ", "-"), number)
        else:
            found[name] = accuracy(task, network, test)
            found[f"{name}_ms"] = device.measure(network, inputs)["latency_ms"].value
            share = macs(network, inputs) / whole
            print(
                f"{name}: {found[name]:.2f}, {share:.3f} of the MACs, {found[f'{name}_ms']:.4f} ms"
                f" ({found[f'{name}_ms'] / found['dense_ms']:.3f})",
                flush=True,
            )
    return found


# --- architectures


def total(outputs: Any) -> Tensor:
    return sum(
        (out.square().mean() for out in (outputs if isinstance(outputs, (list, tuple)) else [outputs])), torch.zeros(())
    )


def by_us(network: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Returns why an architecture is not handled, or nothing."""
    try:
        structure = analyse(network, inputs)
        choice = choose(structure, l2(structure), structure.macs, SHARE * structure.macs(), least=0.05)
        smaller = structure.without(choice.gone)
    except SartorError as error:
        return str(error)
    share = macs(smaller, inputs) / macs(network, inputs)
    return "" if share <= HANDLED else f"{share:.2f} of the MACs are left"


def by_them(network: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """As ``by_us``, by Torch-Pruning."""
    import torch_pruning as tp

    whole = macs(network, inputs)
    heads = {part.qkv: part.num_heads for part in network.modules() if isinstance(part, PackedAttention)}
    ignored = [
        part
        for part in network.modules()
        if (isinstance(part, nn.Linear) and part.out_features == 10)
        or (isinstance(part, nn.Conv2d) and part.out_channels in (2, 5, 10))
    ]
    try:
        pruner = tp.pruner.BasePruner(
            network,
            inputs,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            global_pruning=False,
            pruning_ratio=0.9,
            iterative_steps=30,
            ignored_layers=ignored,
            num_heads=heads,
            output_transform=total,
        )
        for _ in range(30):
            pruner.step()
            for part in network.modules():
                if isinstance(part, PackedAttention):
                    part.num_heads = pruner.num_heads[part.qkv]
                    part.head_dim = part.qkv.out_features // (3 * part.num_heads)
            share = macs(network, inputs) / whole
            if share <= SHARE:
                break
        with torch.no_grad():
            network(*inputs)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever another library raises is what is told of it
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:100] if str(error).strip() else ''}"
    return "" if share <= HANDLED else f"{share:.2f} of the MACs are left"


def architectures() -> dict[str, float]:
    """Returns how many of the 25 each pruner handles, and prints which not and why."""
    handled = {"Sartor": 0, "Torch-Pruning": 0}
    for name, (make, shape) in ARCHITECTURES.items():
        for pruner, way in (("Sartor", by_us), ("Torch-Pruning", by_them)):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network, inputs = make().eval(), (torch.randn(*shape),)
            try:
                why = way(network, inputs)
            except ModuleNotFoundError:
                why = "not installed"
            handled[pruner] += not why
            if why:
                print(f"{name}: {pruner}: {why}", flush=True)
    print(", ".join(f"{pruner} handles {count} of {len(ARCHITECTURES)}" for pruner, count in handled.items()))
    return {"architectures_pruned_of_25": handled["Sartor"], "torch_pruning_architectures": handled["Torch-Pruning"]}


def run(quick: bool, *, state: str | None = None) -> dict[str, float]:
    """Returns the figures; prints the rest.

    Args:
        quick: Short trainings: nothing is decided.
        state: Folder that keeps trainings, to go on from; a temporary one when None.
    """
    torch.set_num_threads(1)
    figures: dict[str, float] = dict(architectures())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(state or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        epochs, tuned = (1, (1, 1)) if quick else (8, (1, 3))
        found = accuracies(folder, epochs=epochs, tuned=tuned, seed=0, quick=quick)
    figures["structured_accuracy_loss_points"] = found["dense"] - found["Sartor"]
    figures["structured_latency_ratio"] = found["Sartor_ms"] / found["dense_ms"]
    if "Torch-Pruning" in found:
        figures["torch_pruning_accuracy_loss_points"] = found["dense"] - found["Torch-Pruning"]
        figures["torch_pruning_latency_ratio"] = found["Torch-Pruning_ms"] / found["dense_ms"]
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", metavar="DIR", help="folder that keeps trainings, to go on from")
    parser.add_argument("--quick", action="store_true", help="short trainings; decides nothing")
    arguments = parser.parse_args()
    print(json.dumps(environment()))
    print(json.dumps(run(arguments.quick, state=arguments.state)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
