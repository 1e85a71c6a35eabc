"""Scores the architectures of a space without training: parallel, resumable, to Parquet.

    from sartor.estimators.proxies.survey import Subject, survey
    subject = Subject("space", "nasbench201", {"channels": 3, "classes": 10}, size=32)
    scores = survey(subject, ["jacov", "macs"], num=1000, out="scores.parquet")

What is finished is kept in a journal beside the result, ``<out>.journal``, and not computed again when the survey is
started anew with the same arguments. With ``fold`` architectures that compute the same are scored once, by the one of
the fewest parameters; otherwise operations that lead nowhere are part of a network, of its costs and of its scores.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sartor._parent import die_with
from sartor._threads import one_thread
from sartor.errors import InputError, MissingExtraError, SartorError, UnsupportedNetworkError
from sartor.estimators.proxies._proxy import DEAD, LEAST, load, score
from sartor.estimators.proxies.aggregate import AGGREGATE, INGREDIENTS, aggregate
from sartor.registry import find, specs
from sartor.space import Architecture, Space
from sartor.trials import Fidelity

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sartor.task import Task

_Part = Sequence[str]
"""Architectures (JSON)."""
_Work = Callable[[_Part], dict[str, dict[str, float]]]
_NUM_DRAWS = 20
_PER_CALL = 8
"""Architectures a worker is given at a time."""
_NO_DATA = "{} is a space: what is trained on is the data of a task"
SHORT_TRAINING = ("short-training", "short-training-cpu-s")
"""Columns of a short training: its metric, and the processor's seconds that it took."""


@dataclass(frozen=True)
class Subject:
    """What is scored, by names, so that other processes can make it: a ready-made space of images, or a task's space.

    Attributes:
        kind: ``space``: inputs are noise with the spectrum of photographs. ``task``: inputs are what its loss feeds to
            the network.
        name: Of the space or task.
        options: Of its function or class.
        size: Side of the images of a space, in pixels.
        source: Data of a task.
    """

    kind: Literal["space", "task"]
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int = 32
    source: str | None = None

    def open(self) -> tuple[Space, Task | None]:
        """Returns the space, and the task where there is one."""
        if self.kind == "task":
            task: Task = find("tasks", self.name).load()(self.source, **self.options)
            return task.space(), task
        make = find("spaces", self.name).load()
        sized = {"image_size": self.size} if "image_size" in inspect.signature(make).parameters else {}
        return make(**self.options, **sized), None


def survey(
    subject: Subject,
    proxies: Sequence[str],
    *,
    num: int | None = 1000,
    out: str | Path,
    batch_size: int = 32,
    seed: int = 0,
    num_seeds: int = 1,
    fold: bool = False,
    steps: int | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, list[Any]]:
    """Returns columns: ``architecture`` (JSON), and the scores by each proxy's name; and writes them to ``out``.

    Where the scores have what Sartor's aggregate is made of, ``aggregate`` is a column too. A short training is a score
    that uses labels: the column ``short-training`` is the task's primary metric on validation data, its sign changed
    where less is better, minus infinity where training diverged; ``short-training-cpu-s`` is what it took.

    Args:
        subject: Whose architectures are scored.
        proxies: By name.
        num: How many, drawn uniformly by ``seed``; None: all.
        out: Parquet file.
        batch_size: Samples in a pass.
        seed: Of the sample, the inputs and the weights.
        num_seeds: Times that each is scored, with inputs and weights of its own; means count.
        fold: Score architectures once that compute the same, see `representatives`.
        steps: Of a short training of each on the data of a task; None: nothing is trained.
        workers: Processes, one thread each.
        progress: Told how many are done, of how many: before the first is scored, and after each few.

    Raises:
        InputError: Unknown names; nothing to score by; ``num``, ``num_seeds`` or ``steps`` below 1; ``fold`` in a space
            whose graphs are not known; ``steps`` of a space, which has no data; a journal of other arguments.
        UnsupportedNetworkError: A proxy cannot score these networks.
    """
    if not (proxies or steps) or len(set(proxies)) < len(proxies):
        raise InputError(f"expected the names of proxies, each once, got {list(proxies)}")
    load(*proxies)
    _parquet()
    for name, value, least in (
        ("worker", workers, 1),
        ("pixel a side", subject.size, 1),
        ("seed", num_seeds, 1),
        ("as the seed", seed, 0),
        ("step", 1 if steps is None else steps, 1),
    ):
        if value < least:
            raise InputError(f"expected at least {least} {name}, got {value}")
    if Path(out).is_dir():
        raise InputError(f"expected a file to write, got the folder {out}")
    if batch_size < LEAST:
        raise InputError(f"expected a batch of at least {LEAST} samples, got {batch_size}")
    if num is not None and num < 1:
        raise InputError(f"expected at least one architecture to score, got {num}")
    if steps is not None and subject.kind == "space":
        raise InputError(_NO_DATA.format(subject.name))
    space, task = subject.open()
    chosen = _chosen(space, num, np.random.default_rng([seed, 23]))
    texts = [architecture.to_json() for architecture in chosen]
    scored = [texts[row] for row in representatives(space, chosen, _sizes(space, task))] if fold else texts
    seeds = tuple(range(seed, seed + num_seeds))
    journal = _Journal(Path(f"{out}.journal"), _identity(subject, space, task, proxies, batch_size, seeds, steps))
    different = list(dict.fromkeys(scored))
    todo = [text for text in different if text not in journal.scores]
    work = partial(_scored, subject, tuple(proxies), batch_size, seeds, steps)
    parts = [todo[i : i + _PER_CALL] for i in range(0, len(todo), _PER_CALL)]
    done = len(different) - len(todo)
    if progress is not None:
        progress(done, len(different))
    with journal:
        for found in _computed(work, parts, workers):
            journal.add(found)
            if progress is not None:
                done += len(found)
                progress(done, len(different))
    columns: dict[str, list[Any]] = {"architecture": texts}
    for name in (*proxies, *(SHORT_TRAINING if steps else ())):
        columns[name] = [journal.scores[text][name] for text in scored]
    if set(INGREDIENTS) <= set(proxies):
        columns[AGGREGATE] = aggregate(columns).tolist()
    write(columns, out)
    journal.path.unlink(missing_ok=True)
    return columns


def supporting(subject: Subject, *, num: int = 3, batch_size: int = 32, seed: int = 0) -> list[str]:
    """Returns the names of the proxies that score all of some networks, drawn by ``seed``."""
    space, _ = subject.open()
    texts = [architecture.to_json() for architecture in _chosen(space, num, np.random.default_rng([seed, 23]))]
    found = []
    for name in specs("proxies"):
        try:
            scores = _scored(subject, (name,), batch_size, (seed,), None, texts)
        except UnsupportedNetworkError:
            continue
        if any(each[name] > DEAD for each in scores.values()):
            found.append(name)
    return found


def _chosen(space: Space, num: int | None, rng: np.random.Generator) -> list[Architecture]:
    """Returns all architectures, or up to ``num`` different ones; of a space of few more than that perhaps fewer."""
    if num is None:
        return list(space)
    found: dict[Architecture, None] = {}
    for _ in range(_NUM_DRAWS):
        found.update(dict.fromkeys(space.sample(rng, num)))
        if len(found) >= num:
            break
    return list(found)[:num]


def representatives(
    space: Space, architectures: Sequence[Architecture], size: Callable[[Architecture], float]
) -> list[int]:
    """Returns for each architecture the row of the smallest that computes the same, the first of equal ones.

    The same compute graphs that are equal without skips and what leads nowhere, up to the numbering of their nodes.

    Args:
        space: Of the architectures.
        architectures: Among which representatives are chosen.
        size: Of an architecture, with what leads nowhere; asked where several compute the same.

    Raises:
        InputError: The space does not know the graphs of its architectures.
    """
    from sartor.space.encodings._isomorphism import canonical_key, contracted

    if not space.is_wired:
        raise InputError("what computes the same is found by graphs, which this space does not know: say graph=...")
    classes: dict[str, list[int]] = {}
    for row, architecture in enumerate(architectures):
        classes.setdefault(canonical_key(contracted(space.graph(architecture).live())), []).append(row)
    found = [0] * len(architectures)
    for rows in classes.values():
        first = rows[0] if len(rows) == 1 else min(rows, key=lambda row: size(architectures[row]))
        for row in rows:
            found[row] = first
    return found


def _sizes(space: Space, task: Task | None) -> Callable[[Architecture], float]:
    """Returns the number of parameters: one is built and counted of those that choose the same in another order.

    Elsewhere than in a cell of edges another order may have other numbers of channels. It decides no more than which of
    several architectures that compute the same stands for all.
    """
    known: dict[tuple[tuple[str, str], ...], float] = {}

    def size(architecture: Architecture) -> float:
        chosen = tuple(sorted((re.sub(r"\d+", "", key), str(value)) for key, value in architecture.items()))
        if chosen not in known:
            known[chosen] = _num_parameters(space, task, architecture)
        return known[chosen]

    return size


def _num_parameters(space: Space, task: Task | None, architecture: Architecture) -> float:
    import torch

    with torch.random.fork_rng(devices=[]):
        network = space.build(architecture) if task is None else task.build(space, architecture)
    return sum(parameter.numel() for parameter in network.parameters())


def _identity(
    subject: Subject,
    space: Space,
    task: Task | None,
    proxies: Sequence[str],
    batch_size: int,
    seeds: Sequence[int],
    steps: int | None,
) -> dict[str, Any]:
    versions = {name: find("proxies", name).version for name in proxies}
    return {
        "subject": asdict(subject),
        "space": space.fingerprint,
        "data": None if task is None else task.data().fingerprint,
        "proxies": versions,
        "batch_size": batch_size,
        "seeds": list(seeds),
        **({} if steps is None else {"steps": steps}),
    }


_BEGINNING = '{"subject": '
"""Of every journal."""


class _Journal:
    """Finished scores, a line each, behind a line that says of what."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path, self._identity = path, json.loads(json.dumps(identity))
        self.scores: dict[str, dict[str, float]] = {}
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) < 2 and "".join(lines).startswith(_BEGINNING[: len("".join(lines))]):
            # Nothing was finished.
            return
        try:
            kept = json.loads(lines[0])
        except json.JSONDecodeError:
            kept = None
        if not isinstance(kept, dict):
            raise InputError(f"{path} is not the journal of a survey: move it, or write to another file")
        if kept != self._identity:
            names = dict.fromkeys((*self._identity, *kept))
            differs = [name for name in names if kept.get(name) != self._identity.get(name)]
            raise InputError(
                f"{path} is of a survey with another {', '.join(differs)}: delete it, or write to another file"
            )
        for line in lines[1:]:
            try:
                text, scores = json.loads(line)
            except json.JSONDecodeError:
                # Cut off by a kill: the last one is computed again.
                break
            self.scores[text] = {name: float(value) for name, value in scores.items()}

    def __enter__(self) -> _Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(self._identity), *(json.dumps([text, scores]) for text, scores in self.scores.items())]
        part = self.path.with_name(self.path.name + ".part")
        part.write_text("\n".join(lines) + "\n")
        os.replace(part, self.path)
        self._file = self.path.open("a")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, found: Mapping[str, Mapping[str, float]]) -> None:
        for text, scores in found.items():
            self.scores[text] = dict(scores)
            self._file.write(json.dumps([text, scores]) + "\n")
        self._file.flush()


def _computed(work: _Work, parts: Sequence[_Part], workers: int) -> Iterator[dict[str, dict[str, float]]]:
    if workers <= 1 or len(parts) <= 1:
        import torch  # noqa: F401 (one_thread holds a torch that is loaded)

        with one_thread():
            yield from map(work, parts)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),)) as pool:
        try:
            yield from pool.map(work, parts)
        except BrokenProcessPool:
            raise SartorError(
                "a worker was killed, perhaps for want of memory: what was finished is kept; start again, with fewer"
                " workers or a smaller batch"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(parent: int) -> None:
    """Is what a worker does first."""
    import torch

    die_with(parent)
    torch.set_num_threads(1)


@cache
def _opened(subject_text: str) -> tuple[Space, Task | None]:
    return Subject(**json.loads(subject_text)).open()


def _scored(
    subject: Subject,
    names: tuple[str, ...],
    batch_size: int,
    seeds: tuple[int, ...],
    steps: int | None,
    part: _Part,
) -> dict[str, dict[str, float]]:
    """Returns architecture (JSON) -> its scores, means over the seeds."""
    space, task = _opened(json.dumps(asdict(subject), sort_keys=True))
    proxies, found = load(*names), {}
    train = None if task is None or steps is None else _training(task, space, Fidelity(steps, "steps"))
    for text in part:
        architecture, own = Architecture.from_json(text), []
        for seed in seeds:
            scores: dict[str, float] = {}
            if proxies:
                scores |= score(*_fresh(subject, space, task, architecture, batch_size, seed), proxies, seed=seed)
            if train is not None:
                began = time.process_time()
                scores |= zip(SHORT_TRAINING, (train(architecture, seed), time.process_time() - began), strict=True)
            own.append(scores)
        found[text] = {name: sum(each[name] for each in own) / len(own) for name in own[0]}
    return found


def _fresh(
    subject: Subject, space: Space, task: Task | None, architecture: Architecture, batch_size: int, seed: int
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Returns a new network, or what is made of it, and its inputs."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = space.build(architecture) if task is None else task.build(space, architecture)
    if task is None:
        return network, _noise(subject, batch_size, seed)
    return fed(task, network, architecture, batch_size, seed)


def _noise(subject: Subject, batch_size: int, seed: int) -> tuple[Tensor, ...]:
    """Returns noise whose amplitudes fall with the frequency as those of photographs do (Field 1987,
    doi:10.1364/JOSAA.4.002379), most of it common to the channels: ``[batch_size, channels, size, size]``, deviation 1.

    White noise tells networks apart less: its samples have nothing in common that a network could confuse.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    channels, size = subject.options["channels"], subject.size
    own = torch.randn(batch_size, channels, size, size, generator=generator)
    common = torch.randn(batch_size, 1, size, size, generator=generator)
    frequencies = torch.fft.fftfreq(size)
    radius = (frequencies[:, None] ** 2 + frequencies[None] ** 2).sqrt()
    radius[0, 0] = 1 / size
    made = torch.fft.ifft2(torch.fft.fft2(own + 2 * common) / radius).real
    return ((made - made.mean()) / made.std(),)


def _training(task: Task, space: Space, fidelity: Fidelity) -> Callable[[Architecture, int], float]:
    """Returns what trains an architecture by a seed, and says the primary metric on validation data: higher is better,
    minus infinity where training diverged.
    """
    from sartor.contracts import Candidate, NullContext
    from sartor.errors import DivergedError
    from sartor.estimators.training import Training

    training = Training(task, space, dataclasses.replace(task.data(), test=None), [fidelity])
    sign = 1.0 if task.metrics[task.primary].direction == "max" else -1.0

    def train(architecture: Architecture, seed: int) -> float:
        candidate = Candidate(task, space, architecture, seed)
        try:
            found = training.estimate(candidate, fidelity=fidelity, seed=seed, context=NullContext())
        except DivergedError:
            return -math.inf
        return sign * found[task.primary]

    return train


def trained(
    subject: Subject,
    texts: Sequence[str],
    epochs: float,
    *,
    kept: str | Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Returns the task's primary metric on validation data of architectures trained one after the other.

    Higher is better; minus infinity where training diverged. What is finished is kept in a file, and not trained again.

    Args:
        subject: A task.
        texts: Architectures (JSON).
        epochs: Of each training.
        kept: File of what is finished.
        seed: Of weights and data order.
        progress: Told how many are done, of how many.

    Raises:
        InputError: ``subject`` is a space, which has no data; ``kept`` is of other trainings.
    """
    space, task = subject.open()
    if task is None:
        raise InputError(_NO_DATA.format(subject.name))
    train, splits = _training(task, space, Fidelity(epochs)), task.data()
    identity = {"space": space.fingerprint, "data": splits.fingerprint, "epochs": epochs, "seed": seed}
    file, values = Path(kept), dict[str, float]()
    if file.exists():
        found = json.loads(file.read_text())
        if found["of"] != identity:
            raise InputError(f"{kept} is of other trainings: delete it, or write to another file")
        values = {text: float(value) for text, value in found["values"].items()}
    for number, text in enumerate(texts):
        if text not in values:
            values[text] = train(Architecture.from_json(text), seed)
            part = file.with_name(file.name + ".part")
            part.write_text(json.dumps({"of": identity, "values": values}))
            os.replace(part, file)
        if progress is not None:
            progress(number + 1, len(texts))
    return [values[text] for text in texts]


class _Seen(Exception):
    """Carries what a network was given."""

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = inputs


def fed(
    task: Task, network: nn.Module, architecture: Architecture, batch_size: int, seed: int
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Returns a module and its inputs of a batch of training data, ``[batch_size, ...]`` each.

    They are the network and what the task's loss feeds to it first. Where samples are not first there (time is, or
    features are), they are the deployed network and rows of what the task predicts from.

    Raises:
        InputError: The loss never calls the network.
    """
    inputs = _overheard(task, network, architecture, batch_size, seed)
    if _samples_are_first(inputs, partial(_overheard, task, network, architecture, seed=seed), batch_size):
        return network, inputs
    import torch

    from sartor._export import calibration_inputs

    deployed = task.deploy(network, architecture)
    like = task.example_inputs(architecture)
    rows = calibration_inputs(task, deployed, like, task.data().train, num=batch_size, seed=seed)
    return deployed, tuple(torch.cat(columns) for columns in zip(*rows, strict=True))


def _samples_are_first(
    inputs: tuple[Tensor, ...], again: Callable[..., tuple[Tensor, ...]], batch_size: int
) -> bool:
    shapes = [tuple(each.shape) for each in inputs]
    if all(shape[:1] == (batch_size,) and batch_size not in shape[1:] for shape in shapes):
        return True
    others = [tuple(each.shape) for each in again(batch_size=batch_size + 1)]
    grown = {
        place
        for shape, other in zip(shapes, others, strict=True)
        for place, (size, larger) in enumerate(zip(shape, other, strict=True))
        if size != larger
    }
    return grown <= {0}


def _overheard(
    task: Task, network: nn.Module, architecture: Architecture, batch_size: int, seed: int
) -> tuple[Tensor, ...]:
    """Returns what the task's loss feeds to a network first."""
    from sartor.training import Step

    def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not inputs:
            raise InputError(f"the loss of {type(task).__name__} names the network's inputs: give them by position")
        raise _Seen(inputs)

    recipe = dataclasses.replace(task.recipe_for(architecture), batch_size=batch_size)
    step = Step(0, 1, seed, recipe, architecture=architecture)
    learner = task.learner(architecture)
    handle = network.register_forward_pre_hook(see)
    try:
        learner.loss(network, learner.batch(network, task.data().train, step), step)
    except _Seen as seen:
        return seen.inputs
    finally:
        handle.remove()
    raise InputError(f"the loss of {type(task).__name__} never calls the network: its inputs are not known")


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("scores in Parquet", error.name or "pyarrow", "tables") from error
    return parquet


def write(columns: Mapping[str, Sequence[Any]], out: str | Path) -> None:
    """Writes columns to a Parquet file, whole or not at all."""
    parquet = _parquet()
    import pyarrow

    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    parquet.write_table(pyarrow.table({name: list(values) for name, values in columns.items()}), part)
    os.replace(part, path)
