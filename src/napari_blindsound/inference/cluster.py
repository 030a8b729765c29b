"""Where processes that denoise come from: this computer, a dask cluster, Slurm.

A local cluster lives as long as the command that started it; the jobs of Slurm, too.
The workers of a scheduler that runs anyway are used, and left alone afterwards.
"""

from __future__ import annotations

import logging
import signal
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import dask

from napari_blindsound.errors import ClusterError, MissingExtraError
from napari_blindsound.inference.working import MATTER, other_versions, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Client = Any  # distributed comes without types

ANSWER_SECONDS = 10
"""A scheduler that is there answers sooner."""
_INSTALL = "pip install 'napari-blindsound[cluster]'"
# A worker that looks at its own stack a hundred times a second, and at the clock fifty
# times, takes a tenth of the core that the network is to have.
_CALM = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Which processes shall do the work: one of three, or none for this one.

    Parameters
    ----------
    workers : int, optional
        So many on this computer.
    scheduler : str, optional
        Those of the dask scheduler at this address, such as ``tcp://head:8786``.
    slurm : int, optional
        Those of so many Slurm jobs, of the size that dask's own configuration of
        dask-jobqueue says.
    threads : int
        Processor threads of each for the network. Results of another number differ in
        the last bits.

    Raises
    ------
    ValueError
        If two are given, or a number is below one.
    """

    workers: int | None = None
    scheduler: str | None = None
    slurm: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        given = [
            name
            for name in ("workers", "scheduler", "slurm")
            if getattr(self, name) is not None
        ]
        if len(given) > 1:
            msg = f"{' and '.join(given)} exclude each other: give one of them"
            raise ValueError(msg)
        for name in ("workers", "slurm", "threads"):
            number = getattr(self, name)
            if number is not None and number < 1:
                msg = f"{name} is {number}: give a number above zero"
                raise ValueError(msg)

    def __bool__(self) -> bool:
        return bool(self.workers or self.scheduler or self.slurm)


class Workers:
    """Processes that are there, or will come, to do work.

    Parameters
    ----------
    client : distributed.Client
        Connected to their scheduler.
    name : str
        What to call them.
    threads : int
        As of `Cluster`.
    share_gpus : bool
        Whether they are all on this computer and its accelerators are theirs.
    has_dashboard : bool
        Whether they can be watched at work.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        *,
        threads: int = 1,
        share_gpus: bool = False,
        has_dashboard: bool = True,
    ) -> None:
        self.client, self.name, self.threads = client, name, threads
        self.share_gpus = share_gpus
        self._has_dashboard = has_dashboard

    @property
    def dashboard(self) -> str | None:
        """Where they can be watched at work; None where nothing is to be seen."""
        return self.client.dashboard_link or None if self._has_dashboard else None

    def are_lost(self) -> bool:
        """Whether the scheduler has gone."""
        return bool(self.client.status not in ("running", "newly-created"))

    def count(self) -> int:
        """How many there are now.

        Raises
        ------
        ClusterError
            If the scheduler has gone.
        """
        try:
            return len(self.client.nthreads())
        except (OSError, RuntimeError, ValueError) as error:
            raise self.lost() from error

    def lost(self) -> ClusterError:
        """What to say when the scheduler has gone."""
        address = getattr(self.client.scheduler, "address", "") or self.name
        return ClusterError(
            f"the scheduler at {address} is gone: what is finished is kept; start one "
            "again, and give the same command to go on"
        )

    def check(self) -> list[str]:
        """Refuse processes that would give other pixels.

        Returns
        -------
        list of str
            Names of their computers.

        Raises
        ------
        ClusterError
            With what differs, and where.
        """
        asked = self.client.run(_asking(MATTER), on_error="return")
        here, hosts = versions(), set()
        for address, there in asked.items():
            if isinstance(there, BaseException):
                msg = f"the worker at {address} does not answer ({there})"
                raise ClusterError(msg)
            hosts.add(there["host"])
            who = f"the worker at {address} on {there['host']}"
            difference = other_versions(here, there, who)
            if difference:
                raise ClusterError(difference)
        return sorted(hosts)


@contextmanager
def started(cluster: Cluster) -> Iterator[Workers]:
    """Get processes, and let them go in the end.

    Parameters
    ----------
    cluster : Cluster
        Which ones.

    Raises
    ------
    MissingExtraError
        If what is needed for it is not installed.
    ClusterError
        If the scheduler does not answer, or Slurm's jobs cannot be made.
    """
    if not find_spec("distributed"):
        msg = f"several processes need dask.distributed: {_INSTALL}"
        raise MissingExtraError(msg)
    with _silenced(), ExitStack() as stack:
        if cluster.scheduler is not None:
            client = stack.enter_context(_client(cluster.scheduler))
            name = f"the workers of {cluster.scheduler}"
            yield Workers(client, name, threads=cluster.threads)
            return
        made = _slurm(cluster.slurm) if cluster.slurm else _local(cluster.workers or 1)
        client = stack.enter_context(_client(stack.enter_context(made)))
        if not cluster.slurm:
            client.register_plugin(_deaf())
        count = cluster.slurm or cluster.workers or 1
        what = "Slurm job" if cluster.slurm else "worker"
        yield Workers(
            client,
            f"{count} {what}{'s' if count > 1 else ''}",
            threads=cluster.threads,
            share_gpus=not cluster.slurm,
            # The page of a scheduler of ours is drawn by bokeh.
            has_dashboard=bool(find_spec("bokeh")),
        )


def connected(scheduler: Workers | str) -> AbstractContextManager[Workers]:
    """Processes that are there, or those of a scheduler, for the time of a ``with``."""
    if isinstance(scheduler, str):
        return started(Cluster(scheduler=scheduler))
    return nullcontext(scheduler)


@contextmanager
def _silenced() -> Iterator[None]:
    """Say what goes wrong in one sentence, where distributed would say it in fifty."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _client(scheduler: Any) -> Iterator[Client]:  # noqa: ANN401 - address or cluster
    connect = import_module("distributed").Client
    try:
        client = connect(scheduler, timeout=ANSWER_SECONDS, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = (
            f"no dask scheduler answers at {scheduler} ({reason}): check the address, "
            "such as tcp://head:8786, and that it runs"
        )
        raise ClusterError(msg) from error
    try:
        yield client
    finally:
        client.close(timeout=2)


@contextmanager
def _local(workers: int) -> Iterator[Any]:
    local_cluster = import_module("distributed").LocalCluster
    # Memory is bounded by the size of tiles and shards; dask's own limit, a share of
    # what this computer has, would kill workers that do well.
    with (
        dask.config.set(_CALM),
        local_cluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


@contextmanager
def _slurm(jobs: int) -> Iterator[Any]:
    if not find_spec("dask_jobqueue"):
        msg = f"jobs of Slurm need dask-jobqueue: {_INSTALL}"
        raise MissingExtraError(msg)
    jobqueue = import_module("dask_jobqueue")
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(jobqueue.SLURMCluster())
            cluster.scale(jobs=jobs)
        except (ValueError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            msg = (
                f"no jobs of Slurm can be made ({reason}): say their cores, memory and "
                "walltime in ~/.config/dask/jobqueue.yaml, and start the command where "
                "sbatch is"
            )
            raise ClusterError(msg) from error
        yield cluster


def _asking(names: tuple[str, ...]) -> Callable[[], dict[str, str]]:
    """A function that any worker can run, also one without this package."""

    def answer() -> dict[str, str]:
        from importlib.metadata import PackageNotFoundError, version
        from platform import node

        found = {"host": node()}
        for name in names:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = "none"
        return found

    return answer


def _deaf() -> Any:  # noqa: ANN401 - a class of distributed's, which may not be there
    """Lets local workers ignore Ctrl-C, which a terminal sends to them, too."""
    plugin: Any = import_module("distributed").WorkerPlugin

    class Deaf(plugin):  # type: ignore[misc] # distributed comes without types
        name = "blindsound-deaf"

        def setup(self, worker: object) -> None:
            del worker
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return Deaf()
