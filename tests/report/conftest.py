"""Records of searches as they really look, made without training anything."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sartor import pictures
from sartor.pictures import Gallery, Matrix
from sartor.runs import Record
from sartor.space import Architecture
from sartor.trials import Fidelity, Figure, Proposal, Trial

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
FIDELITIES = (Fidelity(3.3333), Fidelity(10.0), Fidelity(30.0))


@dataclass(frozen=True)
class Made:
    """A record and its search."""

    record: Record
    run: str
    chosen: int | None


def config(**changes: Any) -> dict[str, Any]:
    return {
        "task": {"class": "sartor.tasks.images.task:Images", "source": "garments/", "options": {"size": 28, "seed": 0}},
        "task_name": "images",
        "primary": "accuracy",
        "direction": "max",
        "objectives": [["accuracy", "max"], ["latency_ms", "min"]],
        "limits": [["latency_ms", 0.25], ["params", 200_000.0]],
        "strategy": "evolution",
        "strategy_options": {},
        "halving": True,
        "fidelities": [[f.amount, f.unit] for f in FIDELITIES],
        "space": "5f1c0e9d2b7a4410",
        "space_text": "network: Chain\n  stem.out_channels: 8 | 16 | 24\n  blocks: 1 to 4 of MBConv\n    kernel: 3 | 5",
        "data": "c0ffee12ab34cd56",
        "describe": {"classes": ["coat", "dress", "shirt"], "shape": [1, 28, 28]},
        "seed": 7,
        "slots": 4,
        "initial": [],
        "command": "sartor search images --data garments/ --limit latency=250us --limit params=200k --trials 120",
        **changes,
    }


ENVIRONMENT = {
    "cpu": "Example CPU 3.1 GHz",
    "cores": 2,
    "memory_bytes": 16 * 2**30,
    "system": "Linux 6.1",
    "python": "3.11.9",
    "sartor": "0.1.0",
    "torch": "2.13.0",
    "numpy": "2.4.6",
}


def architecture(rng: np.random.Generator) -> Architecture:
    values: dict[str, Any] = {
        "data.resolution": int(rng.choice([20, 24, 28])),
        "network.stem.out_channels": int(rng.choice([8, 16, 24])),
    }
    for stage in range(3):
        times = int(rng.integers(1, 4))
        values[f"network.stages.{stage}.times"] = times
        values[f"network.stages.{stage}.width"] = int(rng.choice([16, 24, 32, 48])) * (stage + 1)
        for block in range(times):
            key = f"network.stages.{stage}.blocks.{block}"
            kind = str(rng.choice(["mbconv", "skip"], p=[0.8, 0.2]))
            values[key] = kind
            if kind == "mbconv":
                values[f"{key}.kernel"] = int(rng.choice([3, 5, 7]))
                values[f"{key}.expand"] = int(rng.choice([2, 3, 4, 6]))
                values[f"{key}.squeeze_excite"] = bool(rng.random() < 0.5)
    values["recipe.learning_rate"] = float(rng.choice([0.001, 0.003, 0.01]))
    return Architecture(values)


@cache
def graph(values: Architecture) -> dict[str, Any]:
    """Returns a graph as sartor.devices.graph records it: chains, residual branches, squeeze-excite gates."""
    nodes: list[dict[str, Any]] = []

    def add(label: str, kind: str, shape: tuple[int, ...], params: int, macs: int, *inputs: int, name: str = "") -> int:
        nodes.append(
            {
                "id": len(nodes),
                "name": name,
                "label": label,
                "kind": kind,
                "shape": list(shape),
                "params": params,
                "macs": macs,
                "inputs": list(inputs),
            }
        )
        return len(nodes) - 1

    size = int(values["data.resolution"])
    channels = int(values["network.stem.out_channels"])
    x = add("input", "input", (1, 1, size, size), 0, 0)

    def conv(x: int, old: int, new: int, size: int, label: str, params: int, name: str, act: bool = True) -> int:
        x = add(label, "Conv2d", (1, new, size, size), params, params * size * size, x, name=f"{name}.conv")
        x = add("BatchNorm2d", "BatchNorm2d", (1, new, size, size), 2 * new, 0, x, name=f"{name}.norm")
        return add("SiLU", "SiLU", (1, new, size, size), 0, 0, x, name=f"{name}.act") if act else x

    x = conv(x, 1, channels, size, "Conv2d 3x3", 9 * channels, "stem")
    for stage in range(3):
        width = int(values[f"network.stages.{stage}.width"])
        for block in range(int(values[f"network.stages.{stage}.times"])):
            key = f"network.stages.{stage}.blocks.{block}"
            if values[key] == "skip":
                continue
            kernel, inner = int(values[f"{key}.kernel"]), channels * int(values[f"{key}.expand"])
            stride = 2 if block == 0 and stage else 1
            before, size = x, size // stride
            y = conv(x, channels, inner, size * stride, "Conv2d 1x1", channels * inner, f"{key}.expand")
            y = conv(
                y,
                inner,
                inner,
                size,
                f"depthwise Conv2d {kernel}x{kernel}{', stride 2' if stride == 2 else ''}",
                kernel * kernel * inner,
                f"{key}.depthwise",
            )
            if values[f"{key}.squeeze_excite"]:
                gate = add("average pool", "_adaptive_avg_pool2d", (1, inner, 1, 1), 0, 0, y)
                gate = add(
                    "Conv2d 1x1",
                    "Conv2d",
                    (1, inner // 4, 1, 1),
                    inner * inner // 4,
                    inner * inner // 4,
                    gate,
                    name=f"{key}.gate.0",
                )
                gate = add("ReLU", "ReLU", (1, inner // 4, 1, 1), 0, 0, gate)
                gate = add(
                    "Conv2d 1x1",
                    "Conv2d",
                    (1, inner, 1, 1),
                    inner * inner // 4,
                    inner * inner // 4,
                    gate,
                    name=f"{key}.gate.2",
                )
                gate = add("sigmoid", "sigmoid", (1, inner, 1, 1), 0, 0, gate)
                y = add("×", "mul", (1, inner, size, size), 0, 0, y, gate)
            x = conv(y, inner, width, size, "Conv2d 1x1", inner * width, f"{key}.project", act=False)
            if stride == 1 and channels == width:
                x = add("+", "add", (1, width, size, size), 0, 0, x, before)
            channels = width
    x = add("mean", "mean", (1, channels), 0, 0, x)
    x = add("Linear 64 to 10", "Linear", (1, 10), channels * 10 + 10, channels * 10, x, name="head")
    add("output", "output", (1, 10), 0, 0, x)
    return {"nodes": nodes}


def costs(values: Architecture, rng: np.random.Generator, limited: bool = True) -> dict[str, Figure]:
    nodes = graph(values)["nodes"]
    params = sum(node["params"] for node in nodes)
    macs = sum(node["macs"] for node in nodes)
    peak = 4 * max(math.prod(node["shape"]) for node in nodes) * 2
    latency = 0.03 + macs * 1.1e-8 + 0.0012 * len(nodes)
    busy = "the machine was busy during 2 of 5 repeats" if rng.random() < 0.1 else ""
    return {
        "params": Figure(params),
        "macs": Figure(macs),
        "peak_memory_bytes": Figure(peak, "B"),
        "model_bytes": Figure(4 * params + 2300, "B"),
        "latency_ms": Figure(
            float(latency * (1 + 0.02 * rng.standard_normal())),
            "ms",
            0.021 + 0.03 * rng.random(),
            "measured",
            (latency, latency * 1.1),
            busy,
        ),
    }


def accuracy(values: Architecture, epochs: float, rng: np.random.Generator) -> float:
    params = sum(node["params"] for node in graph(values)["nodes"])
    best = 0.935 - 0.9 * params**-0.32 - (0.02 if values["recipe.learning_rate"] == 0.01 else 0)
    return float(np.clip(best - 0.35 * epochs**-0.9 + 0.006 * rng.standard_normal(), 0.1, 0.99))


def sample_images(n: int, rng: np.random.Generator) -> np.ndarray:
    """Returns uint8 images ``(n, 28, 28)`` that look a little like garments: smooth blobs."""
    grid = np.linspace(-1, 1, 28)
    x, y = np.meshgrid(grid, grid)
    out = []
    for _ in range(n):
        a, b, c = rng.uniform(0.3, 0.8, 3)
        body = (np.abs(x) < a) & (np.abs(y) < 0.9)
        sleeves = (np.abs(y + 0.5) < 0.25 * b) & (np.abs(x) < 0.95)
        out.append(np.where(body | sleeves, 90 + 130 * c + 25 * np.sin(9 * x * a), 0) + rng.uniform(0, 12, x.shape))
    return np.clip(np.array(out), 0, 255).astype(np.uint8)


CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def shown(
    score: float, rng: np.random.Generator, classes: tuple[str, ...] = CLASSES
) -> tuple[list[pictures.Picture], float]:
    """Returns pictures of a classifier with about that accuracy, and its exact accuracy."""
    n = len(classes)
    matrix = np.zeros((n, n), np.int64)
    for i in range(n):
        for _ in range(100):
            j = i if rng.random() < score else (i + int(rng.choice([1, 2, 4, 6]))) % n
            matrix[i, j] += 1
    exact = float(np.trace(matrix) / matrix.sum())
    wrong = [(i, j) for i in range(n) for j in range(n) for _ in range(matrix[i, j]) if i != j][:40]
    captions = tuple(f"{classes[i]} taken for {classes[j]} ({rng.uniform(0.4, 0.99):.2f})" for i, j in wrong)
    return [
        Matrix(matrix, classes, classes, "true", "predicted", "Confusion matrix"),
        Gallery(sample_images(len(wrong), rng), captions, "Mistakes, the most confident first"),
    ], exact


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    """Makes the record of a search with the given numbers of trials and finalists."""

    def make(
        num_trials: int = 60,
        num_finals: int = 5,
        *,
        state: str = "complete",
        seed: int = 0,
        out: Path = tmp_path / "out",
        classes: tuple[str, ...] = CLASSES,
        failing: float = 0.04,
        tested: bool = True,
        files: bool = True,
        **changes: Any,
    ) -> Made:
        rng = np.random.default_rng(seed)
        record = Record(out)
        run = record.create_run("search", "images", config(**changes), seed=7, environment=ENVIRONMENT)
        record.log(run.id, "note", "class 'bag' has 12 images, 40 times fewer than 'coat'")
        record.log(run.id, "lost", "worker of trial 3 died by signal 9; tried again from its checkpoint")
        found: list[Trial] = []
        for number in range(num_trials):
            continued = None
            fidelity = FIDELITIES[0] if rng.random() < 0.6 else FIDELITIES[1 + int(rng.random() < 0.5)]
            values = architecture(rng)
            complete = [t for t in found[-40:] if t.state == "complete" and t.proposal.fidelity < fidelity]
            if fidelity is not FIDELITIES[0] and complete:
                best = max(complete[-9:], key=lambda t: t.metrics["accuracy"])
                values, continued = best.architecture, best.number
            trial = Trial(
                number, Proposal(values, fidelity, continued), int(rng.integers(2**31)), costs=costs(values, rng)
            )
            broken = [name for name, bound in run.config["limits"] if trial.costs[name].value > bound]
            if broken and number:
                trial.state, trial.failure = "infeasible", f"{broken[0]} over the limit"
                trial.usage = {"cpu_s": 0.05, "wall_s": 0.06, "peak_rss_bytes": 4e8}
            elif rng.random() < failing and number:
                trial.state, trial.failure = "failed", "the loss of 'network' is nan at step 12"
                trial.usage = {"cpu_s": 1.0, "wall_s": 1.1, "peak_rss_bytes": 4e8}
            else:
                trial.state = "complete"
                trial.metrics = {
                    "accuracy": accuracy(values, fidelity.amount, rng),
                    "cross_entropy": float(rng.uniform(0.2, 0.9)),
                }
                trial.usage = {"cpu_s": fidelity.amount * 0.9, "wall_s": fidelity.amount, "peak_rss_bytes": 4e8}
            record.add_trial(run.id, trial)
            found.append(trial)
            if trial.state == "complete" and number < 40:
                _curves(record, run.id, trial, rng)
        record.add_elapsed(run.id, 95.0)
        chosen = None
        if num_finals:
            done = [t for t in found if t.state == "complete"]
            top = max((t.proposal.fidelity.amount for t in done), default=0)
            ranked = sorted(
                (t for t in done if t.proposal.fidelity.amount == top), key=lambda t: -t.metrics["accuracy"]
            )
            picked = [t.architecture for t in ranked if t.architecture != found[0].architecture][: num_finals - 1] + [
                found[0].architecture
            ]
            final = record.create_run(
                "final", "images", config(strategy="listed"), seed=7, environment=ENVIRONMENT, parent=run.id
            )
            for number, values in enumerate(dict.fromkeys(picked)):
                trial = Trial(
                    number, Proposal(values, FIDELITIES[2], replicate=1), 1, "complete", costs=costs(values, rng)
                )
                score = accuracy(values, 30, rng)
                pics, exact = shown(score - 0.004, rng, classes)
                trial.metrics = {"accuracy": score, "cross_entropy": 0.4}
                if tested:
                    trial.metrics |= {"test.accuracy": exact, "test.cross_entropy": 0.42}
                trial.usage = {"cpu_s": 31.0, "wall_s": 33.0, "peak_rss_bytes": 4.4e8}
                record.add_trial(final.id, trial)
                _curves(record, final.id, trial, rng)
                if files:
                    folder = record.path(final.id)
                    (folder / f"{number}.graph.json").write_text(json.dumps(graph(values)))
                    pictures.save(pics, folder / f"{number}.pictures.npz")
                    (folder / f"{number}.onnx").write_bytes(b"onnx" * 9000)
                    for name, file in (
                        ("graph", f"{number}.graph.json"),
                        ("pictures", f"{number}.pictures.npz"),
                        ("onnx", f"{number}.onnx"),
                    ):
                        record.add_file(final.id, number, name, folder / file)
            record.add_elapsed(final.id, 70.0)
            scored = record.trials(final.id)
            chosen = (
                max(scored, key=lambda t: (t.architecture != found[0].architecture, t.metrics["accuracy"])).number
                if scored
                else None
            )
            record.set_result(
                run.id,
                {
                    "chosen": chosen,
                    "why": f"highest validation accuracy of {len(scored)} retrained networks",
                },
            )
            record.set_state(final.id, "complete")
        record.set_state(run.id, state)
        record.flush()
        return Made(record, run.id, chosen)

    return make


def _curves(record: Record, run: str, trial: Trial, rng: np.random.Generator) -> None:
    total = int(trial.proposal.fidelity.amount * 20)
    steps = np.arange(5, total + 1, 5)
    share = steps / total
    loss = 0.25 + 2.0 * np.exp(-steps / 60) + 0.08 * rng.standard_normal(len(steps)) * np.exp(-share)
    record.add_points(run, trial.number, "loss.network", steps.tolist(), loss.tolist())
    record.add_points(
        run,
        trial.number,
        "learning_rate",
        steps.tolist(),
        (3e-3 * np.minimum(1, np.minimum(share / 0.05, (1 - share) / 0.3))).tolist(),
    )
    every = np.arange(20, total + 1, 20)
    score = trial.metrics["accuracy"] - 0.5 * np.exp(-every / 90) + 0.004 * rng.standard_normal(len(every))
    record.add_points(run, trial.number, "validation.accuracy", every.tolist(), score.tolist())
