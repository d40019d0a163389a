"""The Ray cluster that a run uses: found, or started for it; and how many workers have room there."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from advrun.errors import ConfigError
from advrun.pools._machine import WORKER_BYTES, cores, fitting, threads

PACKAGE = Path(__file__).parents[1]
"""Workers run the driver's code: Ray brings it to the nodes, by its hash."""
PATIENCE = 5.0
"""Seconds in which the head of a cluster must take a call."""
HOW = "start one by `ray start --head`, or give --pool ray:HOST:PORT of one that runs"


class Cluster:
    """That at an address, or else the one of RAY_ADDRESS, or one that runs on this machine, or one on this machine alone.

    Raises:
        ConfigError: where Ray is not installed, nothing answers at the address, or no node has room for a worker.
    """

    def __init__(self, address: str | None, room: int) -> None:
        self.ray: Any = _library()
        self.bytes = WORKER_BYTES + room
        self._local = 0
        self._is_ours = not self.ray.is_initialized()
        address = address or os.environ.get("RAY_ADDRESS") or None
        if not self._is_ours:
            self.name = "the cluster that this process is connected to"
        elif address not in (None, "auto", "local"):
            self._call(str(address))
            self.name = f"the cluster at {address}"
        elif address == "local" or not self._found():
            self._local = fitting(room)
            self.name = "a cluster on this machine alone, for no other was found"
        if not self._local and not self.capacity():
            self.close()
            need = f"{'a GPU, ' if self._gpus else ''}a core and {self.bytes / (1 << 30):.1f} GiB of memory"
            raise ConfigError(
                f"pool ray: no node of {self.name} has {need} for a worker; add a node that has, by `ray start --address=...`"
            )

    def start(self, size: int) -> None:
        """Start what is to be started, for so many workers."""
        if self._local and not self.ray.is_initialized():
            self._init(num_cpus=size, num_gpus=0, include_dashboard=False, _memory=size * self.bytes)

    def nodes(self) -> int:
        """How many have room for a worker."""
        return 1 if self._local else sum(map(bool, self._room()))

    def capacity(self) -> int:
        """How many workers have a core each, memory, and a GPU where there are GPUs, on the nodes that are there now."""
        return self._local or sum(self._room())

    def actor(self, made: type) -> Any:
        """An actor with the resources of a worker. It has the threads that a process alone has here, so that its results have the same
        bits on every node."""
        needs = self._needs()
        own = threads(cores())
        env = {**own, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or own["TF_NUM_INTRAOP_THREADS"]}
        asked = {"num_cpus": 1, "num_gpus": needs.get("GPU", 0), "memory": self.bytes, "max_restarts": 0, "runtime_env": {"env_vars": env}}
        return self.ray.remote(made).options(**asked, max_concurrency=2).remote()  # it can be ended while it is asked

    def close(self) -> None:
        """Leave the cluster; one that was started ends."""
        if self._is_ours and self.ray.is_initialized():
            self.ray.shutdown()

    def _room(self) -> list[int]:
        """For how many workers, node by node."""
        needs = self._needs()
        return [min(int(node.get(name, 0) // amount) for name, amount in needs.items()) for node in self._alive()]

    def _alive(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    @property
    def _gpus(self) -> bool:
        return not self._local and any(node.get("GPU") for node in self._alive())

    def _needs(self) -> dict[str, float]:
        return {"CPU": 1, "memory": self.bytes, **({"GPU": 1} if self._gpus else {})}

    def _found(self) -> bool:
        try:
            self._init(address="auto")
        except ConnectionError:
            return False
        except Exception as error:
            raise ConfigError(f"pool ray: the cluster on this machine cannot be joined ({_line(error)}); stop it by `ray stop`") from error
        self.name = f"the cluster at {self.ray.get_runtime_context().gcs_address}"
        return True

    def _call(self, address: str) -> None:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
            self._init(address=address)
        except ValueError as error:
            raise ConfigError(f"pool ray: got the address {address!r} ({_line(error)}); expected HOST:PORT, or ray://HOST:PORT") from error
        except Exception as error:
            raise ConfigError(f"pool ray: no cluster answers at {address} ({_line(error)}); {HOW}, or --pool ray for one here") from error

    def _init(self, **more: Any) -> None:
        package = {"py_modules": [str(PACKAGE)], "excludes": ["**/__pycache__/**"]}
        with _own_signals():
            self.ray.init(log_to_driver=False, logging_level=logging.ERROR, runtime_env=package, **more)


def _library() -> Any:
    """Ray itself, quiet. Raises ConfigError."""
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):  # nothing is sent home; visible GPUs stay visible
        os.environ.setdefault(name, "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            f"pool ray: Ray is not installed ({_line(error)}): pip install 'advrun[ray]', or take --pool processes"
        ) from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and would end the run without a word."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
