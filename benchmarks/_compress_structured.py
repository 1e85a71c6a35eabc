"""Half of the multiply-accumulates gone by structured pruning, beside Torch-Pruning's own pruner; 25 architectures.

    python benchmarks/_compress_structured.py --state DIR
    python benchmarks/_compress_structured.py --quick

Fashion-MNIST, a residual network of 306,000 parameters, 8 epochs with the images task's own recipe. All pruners score
channels by first-order Taylor on the same batches, and all networks are trained on for 4 epochs with the same recipe:
ours after one cut, chosen among 32 candidates, in multiples of the runtime's width; Torch-Pruning's after two cuts (1
and 3 epochs) in multiples of 8, and after one in the multiples that ours has; the network that is not pruned as well,
since these epochs help it too. Accuracies are of the test part, which nothing was chosen by. Latency: ONNX Runtime, one
thread, batch 1. With ``--teacher`` all learn from the dense network meanwhile (``Logits(4.0, 0.9)``, labels .1), as by
``prune.teacher=0.9``.

An architecture counts as handled when its multiply-accumulates fall to 55% or less, what is left runs, and (ours)
equals the whole network with the removed channels at zero; Torch-Pruning is given what its examples give it (example
inputs, layers to ignore, ``num_heads`` of packed attention).
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _compress_architectures import ARCHITECTURES, PackedAttention
from _compress_images import Residual, accuracy, made, trained
from torch import Tensor, nn

from sartor._environment import environment
from sartor.compress.distillation.learner import Distilled
from sartor.compress.distillation.logits import Logits
from sartor.compress.distillation.teacher import TorchTeacher
from sartor.compress.pruning.choice import choose, runtime_multiple
from sartor.compress.pruning.eagle_eye import eagle_eye
from sartor.compress.pruning.magnitude import l2
from sartor.compress.pruning.structure import analyse
from sartor.compress.pruning.taylor import taylor
from sartor.devices.counts import Counts
from sartor.devices.cpu import CpuLatency
from sartor.errors import SartorError
from sartor.tasks.images.task import Images
from sartor.training.step import Step

RESULTS = """
27 November 2026, Intel Xeon, 2 virtual cores beside other work, Torch-Pruning 1.6.1, accuracy of the test part, share
of the multiply-accumulates, latency over the dense network's:

                       seed 0              seed 1              seed 2
dense                  92.16               92.25               92.29
Sartor                 92.21  .487  .581   91.66  .472  .575   91.79  .487  .595
Torch-Pruning, 16      91.92  .492  .603   91.79  .492  .581   91.95  .492  .606
Torch-Pruning, 8       92.01  .496  .672   91.16  .494  .779   91.02  .436  .695
dense, trained on      92.51 1.000 1.018   92.30 1.000 1.006   92.45 1.000 1.010

Sartor loses .35 points (goal .3, missed), Torch-Pruning in the multiples of 16 channels that Sartor took .35 as well,
in multiples of 8 .84. One accuracy has a standard error of .27 points: three seeds tell neither from the goal nor from
one another. Latency falls to .58 (goal .62), Torch-Pruning's to .60.

No gain was seen with a teacher. AMD EPYC, 2 virtual cores beside much other work, ``--parts accuracy --teacher``,
stopped after seed 0: dense 92.27, Sartor 91.95 (.487 of the MACs, .522 of the latency), Torch-Pruning in multiples of
16 91.91 (.492, .518): losses of .32 and .36. Seed 10, validation, the same cut of Sartor (.471 of the MACs, 88.57
before training) and three epochs: 92.33 by labels, 92.19 with the teacher, dense 92.34. So the step ``prune`` has none
by default; the goal of .3 stays missed over the three seeds above, which were not run again.

Of the 25 architectures Sartor handles 25, Torch-Pruning 19: not ShuffleNetV2, Swin, MLP-Mixer, the LSTM, torch's
Transformer encoder and gated units.
"""

PARTS = ("architectures", "accuracy")
WIDTHS = (32, 64, 128)
SHARE = 0.5
HANDLED = 0.55
TUNED = 4
"""Epochs after pruning, in all."""
CANDIDATES = 32
NUM_SEEDS, NUM_TIMINGS = 3, 3
WIDTH = runtime_multiple()
WAYS = tuple(dict.fromkeys(("Sartor", f"Torch-Pruning, {WIDTH}", "Torch-Pruning, 8", "dense, trained on")))
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
    scores = taylor(structure, batches, loss)
    choice = partial(choose, structure, cost=structure.macs, target=target, round_to=runtime_multiple())

    def judge(candidate: nn.Module) -> float:
        with torch.no_grad():
            return sum(float(loss(candidate, batch)) for batch in batches) / len(batches)

    plain = choice(scores=scores, prices=structure.saved_macs())
    found = eagle_eye(
        structure, scores, plain, lambda emphasised: choice(scores=emphasised), judge, candidates=CANDIDATES, seed=0
    )
    return found[0].network


def theirs(
    network: nn.Module, inputs: tuple[Tensor, ...], batches: list[Any], loss: Any, target: float, *, round_to: int
) -> nn.Module:
    import torch_pruning as tp

    network = copy.deepcopy(network).eval()
    network.zero_grad()
    for batch in batches:
        loss(network, batch).backward()
    ignored = [part for part in network.modules() if isinstance(part, nn.Linear) and part.out_features == 10]
    pruner = tp.pruner.BasePruner(
        network, inputs, importance=tp.importance.GroupTaylorImportance(), global_pruning=True, pruning_ratio=0.9,
        iterative_steps=200, ignored_layers=ignored, round_to=round_to,
    )
    for _ in range(200):
        if macs(network, inputs) <= target:
            break
        pruner.step()
    network.zero_grad()
    return network


def accuracies(
    folder: Path, *, epochs: int, tuned: int, seed: int, quick: bool, chosen: Sequence[str], teacher: bool
) -> dict[str, float]:
    """Returns accuracy in points and latency in ms of the dense and the pruned networks, and prints them."""
    task = Images("fashion-mnist")
    splits = task.data()
    test = splits.validation if quick or splits.test is None else splits.test.open()
    learner = task.learner(task.baseline())
    per_epoch = len(splits.train) // task.recipe.batch_size
    layout: Any = torch.channels_last
    dense = made(Residual, 1, WIDTHS, 2, seed=seed).to(memory_format=layout)
    trained(
        dense, learner, splits.train, task.recipe, steps=epochs * per_epoch, seed=seed,
        file=folder / f"images-{seed}-{epochs}.pt",
    )
    inputs = (torch.zeros(1, 1, 28, 28),)
    whole = macs(dense, inputs)
    batches, loss = calibration(task, seed, 4 if quick else NUM_BATCHES), losses(task, seed)
    device = CpuLatency()
    found = {"dense": accuracy(task, dense, test)}
    tuning = Distilled(learner, TorchTeacher(dense), [Logits(4.0, 0.9)], labels=0.1) if teacher else learner
    suffix = "-taught" if teacher else ""
    networks: dict[str, nn.Module] = {"dense": dense}
    ways: list[tuple[str, Any, tuple[int, ...]]] = [
        ("Sartor", ours, (tuned,)),
        ("Torch-Pruning, 8", partial(theirs, round_to=8), (tuned // 4, tuned - tuned // 4)),
        (f"Torch-Pruning, {WIDTH}", partial(theirs, round_to=WIDTH), (tuned,)),
        ("dense, trained on", None, (tuned,)),
    ]
    for name, prune, rounds in ways:
        if name not in chosen:
            continue
        network = copy.deepcopy(dense)
        for number, length in enumerate(rounds):
            if prune is not None:
                try:
                    network = prune(network, inputs, batches, loss, whole * SHARE ** ((number + 1) / len(rounds)))
                except ModuleNotFoundError:
                    print(f"{name} is not installed: pip install torch-pruning==1.6.1")
                    break
            kept = f"{name.replace(', ', '-').replace(' ', '-')}-{'-'.join(map(str, rounds))}-{number}"
            network = trained(
                network.to(memory_format=layout), tuning, splits.train, task.recipe, steps=length * per_epoch,
                seed=seed + 1 + number, file=folder / f"structured-{seed}-{kept}{suffix}.pt",
            )
        else:
            found[name] = accuracy(task, network, test)
            networks[name] = network
    # One after the other, several times, since a machine has slow minutes.
    for name in [name for _ in range(NUM_TIMINGS) for name in networks]:
        now = device.measure(networks[name], inputs)["latency_ms"].value
        found[f"{name}_ms"] = min(now, found.get(f"{name}_ms", now))
    for name, network in networks.items():
        print(
            f"seed {seed}, {name}: {found[name]:.2f}, {macs(network, inputs) / whole:.3f} of the MACs,"
            f" {found[f'{name}_ms']:.4f} ms ({found[f'{name}_ms'] / found['dense_ms']:.3f})", flush=True,
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


def run(
    quick: bool, *, state: str | None = None, ways: Sequence[str] = WAYS, parts: Sequence[str] = PARTS,
    teacher: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Returns the figures; prints the rest.

    Args:
        quick: Short trainings: nothing is decided.
        state: Folder that keeps trainings, to go on from; a temporary one when None.
        ways: Which, beside the dense network: "Sartor" at least.
        parts: Which.
        teacher: Whether all networks learn from the dense one as they are trained on.
    """
    torch.set_num_threads(1)
    figures: dict[str, float] = dict(architectures()) if "architectures" in parts else {}
    if "accuracy" not in parts:
        return figures
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(state or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        epochs, tuned, seeds = (1, 1, 1) if quick else (8, TUNED, NUM_SEEDS)
        found = [
            accuracies(folder, epochs=epochs, tuned=tuned, seed=seed, quick=quick, chosen=ways, teacher=teacher)
            for seed in range(seeds)
        ]

    def mean(function: Callable[[dict[str, float]], float]) -> float:
        return sum(map(function, found)) / len(found)

    figures["structured_accuracy_loss_points"] = mean(lambda each: each["dense"] - each["Sartor"])
    figures["structured_latency_ratio"] = mean(lambda each: each["Sartor_ms"] / each["dense_ms"])
    peers = [name for name in found[0] if name.startswith("Torch-Pruning") and not name.endswith("_ms")]
    if peers:
        best = max(peers, key=lambda name: mean(lambda each: each[name]))
        figures["torch_pruning_accuracy_loss_points"] = mean(lambda each: each["dense"] - each[best])
        figures["torch_pruning_latency_ratio"] = mean(lambda each: each[f"{best}_ms"] / each["dense_ms"])
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", metavar="DIR", help="folder that keeps trainings, to go on from")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="to half the MACs")
    parser.add_argument("--teacher", action="store_true", help="learn from the dense network as well")
    parser.add_argument("--quick", action="store_true", help="short trainings; decides nothing")
    arguments = parser.parse_args()
    print(json.dumps(environment()))
    figures = run(
        arguments.quick, state=arguments.state, ways=arguments.ways, parts=arguments.parts, teacher=arguments.teacher
    )
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
