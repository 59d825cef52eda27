"""A Ray cluster: actors that hold a backend each, and get one task after the other.

Why actors and not Ray Data: docs/decisions/0016-many-machines.md. On a cluster of several machines, and on GPUs, this
has never run; the tests run it on two nodes of one machine.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from dadfi_fast.errors import BackendMissing, DadfiError, UsageError
from dadfi_fast.protect.config import ProtectConfig
from dadfi_fast.protect.distributed.pool import Event, TaskFinished, WorkerLost, WorkerPool, WorkerReady, WorkerRefused
from dadfi_fast.protect.distributed.worker import ContextFactory, Task, TaskResult, Worker
from dadfi_fast.protect.interrupt import Stop
from dadfi_fast.protect.manifest import NAME

#: Cores of one actor where nobody says how many: with more, the stages of one run wait for each other.
CORES: Final = 8


def connect(address: str | None) -> Any:
    """Ray, connected to the cluster at ``address``; without one to that of RAY_ADDRESS, else to one of its own here.

    A cluster that is started here sends no usage statistics, unless RAY_USAGE_STATS_ENABLED asks for them; one that
    runs already has settled that when it was started.

    Raises:
        BackendMissing: Ray is not installed.
        UsageError: there is no cluster at ``address``.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise BackendMissing("--engine ray needs Ray. Run: pip install 'dadfi-fast[ray]'") from error
    if not ray.is_initialized():
        where = address or os.environ.get("RAY_ADDRESS") or "local"
        # The dashboard belongs to clusters that are started here, and so does its port.
        more = {"include_dashboard": False} if where == "local" else {}
        try:
            ray.init(where, log_to_driver=False, logging_level=logging.WARNING, **more)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageError(f"--ray-address {where}: no Ray cluster answers: {error}") from error
    return ray


@dataclass(frozen=True)
class Capacity:
    """How many actors a cluster has room for, and what each of them takes."""

    count: int
    cpus: int
    gpus: int


def capacity(nodes: list[dict[str, Any]], *, device: str, workers: int | None, count: int | None) -> Capacity:
    """One actor a GPU, or one for every so many cores of a node.

    Args:
        nodes: as ``ray.nodes()`` lists them.
        device: cpu or cuda.
        workers: cores of one actor; None picks.
        count: how many actors; None: as many as there is room for.

    Raises:
        UsageError: the cluster has no GPU, or no room for a single actor.
    """
    nodes_alive = [node["Resources"] for node in nodes if node["Alive"]]
    cores = [int(node.get("CPU", 0)) for node in nodes_alive]
    if device != "cpu":
        cards = [int(node.get("GPU", 0)) for node in nodes_alive]
        if not sum(cards):
            raise UsageError("--device cuda: no node of the Ray cluster has a GPU. Run ray status to list the nodes.")
        task = min(cpu // gpu for cpu, gpu in zip(cores, cards, strict=True) if gpu)
        return Capacity(count or sum(cards), workers or max(1, min(CORES, task)), 1)
    cpus = workers or max(1, min(CORES, min((cpu for cpu in cores if cpu), default=0)))
    node = sum(cpu // cpus for cpu in cores)
    if not node:
        raise UsageError(f"no node of the Ray cluster has {cpus} cores. Run ray status to list the nodes.")
    return Capacity(count or node, cpus, 0)


class Actor:
    """What runs in Ray's processes; each call but ``stop`` comes after the one before has ended."""

    def __init__(self, config: ProtectConfig, factory: ContextFactory) -> None:
        self._config, self._make, self._stop = config, factory, Stop(grace=math.inf)
        self._worker: Worker | None = None

    def describe(self) -> str | DadfiError:
        """What runs here, once it does; or why it cannot."""
        try:
            self._worker = Worker(self._config, self._make, NAME)
        except DadfiError as error:
            return error
        return self._worker.describe

    def do(self, task: Task) -> TaskResult:
        """Work on a task."""
        assert self._worker is not None, "hello comes first"
        return self._worker.do(task, self._stop)

    def stop(self) -> None:
        """Finish the photos that are under way, and take no more."""
        self._stop.set()


class Ray(WorkerPool):
    """Actors on a Ray cluster.

    Args:
        config: of the run.
        factory: makes the context of a worker, in its process.
        address: of the cluster; see `connect`.
        count: how many actors; None: as many as there is room for.

    Raises:
        BackendMissing: Ray is not installed.
        UsageError: there is no such cluster, it has no room, or the output folder is of this process alone.
    """

    def __init__(
        self, config: ProtectConfig, factory: ContextFactory, *, address: str | None = None, count: int | None = None
    ):
        for path in (*config.sources, str(config.out)):
            if path.startswith("memory://"):
                raise UsageError(f"{path} is in the memory of one process. Ray workers need files or an object store.")
        self._ours = not _is_connected()
        self._ray = connect(address)
        slots = capacity(self._ray.nodes(), device=config.device, workers=config.workers, count=count)
        super().__init__(slots.count, threads=slots.cpus)
        self._make = self._ray.put(factory)
        device = "cpu" if config.device == "cpu" else "cuda:0"  # an actor sees only the GPU that it has been given
        self._config = self._ray.put(replace(self.config_for_workers(config), workers=slots.cpus, device=device))
        self._kind = self._ray.remote(
            num_cpus=slots.cpus, num_gpus=slots.gpus, max_restarts=0, max_concurrency=2, scheduling_strategy="SPREAD"
        )(Actor)
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, tuple[int, str]] = {}  # reference of an answer -> worker, call

    def config_for_workers(self, config: ProtectConfig) -> ProtectConfig:
        """With absolute paths: actors run in folders of their own."""
        sources = tuple(source if "://" in source else os.path.abspath(source) for source in config.sources)  # noqa: PTH100
        return replace(config, sources=sources, out=config.out.absolute())

    def begin(self, worker: int) -> None:
        self._actors[worker] = self._kind.remote(self._config, self._make)
        self._calls[self._actors[worker].describe.remote()] = worker, "hello"

    def give(self, worker: int, task: Task) -> None:
        self._calls[self._actors[worker].do.remote(task)] = worker, "do"

    def events(self, timeout: float) -> Iterator[Event]:
        if not self._calls:
            return
        answered, _ = self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        if not answered:
            answered, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=timeout)
        for reference in answered:
            yield self._event(reference, *self._calls.pop(reference))

    def stop(self) -> None:
        for actor in self._actors.values():
            actor.stop.remote()

    def close(self) -> None:
        for actor in self._actors.values():
            with suppress(Exception):  # it may be gone, and so may the cluster
                self._ray.kill(actor)
        self._actors.clear()
        self._calls.clear()
        self.idle.clear()
        if self._ours:
            self._ray.shutdown()

    def _event(self, reference: Any, worker: int, call: str) -> Event:
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            # Also where the answer alone is lost: what is done stands in the shard.
            with suppress(Exception):
                self._ray.kill(self._actors[worker])
            return WorkerLost(worker, str(error).strip().splitlines()[0])
        if call == "do":
            return TaskFinished(worker, answer)
        return WorkerRefused(worker, answer) if isinstance(answer, DadfiError) else WorkerReady(worker, answer)


def _is_connected() -> bool:
    import sys

    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
