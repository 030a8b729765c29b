"""Options of the commands that denoise: in which processes, or which part of it all."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from napari_blindsound.errors import RecipeError
from napari_blindsound.inference.cluster import Cluster, started
from napari_blindsound.inference.parts import Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cyclopts import ArgumentCollection, Token

    from napari_blindsound.cli.options import Console
    from napari_blindsound.inference.cluster import Workers
    from napari_blindsound.job import Job


def _one_at_most(arguments: ArgumentCollection) -> None:
    given = [one.name for one in arguments if one.tokens]
    if len(given) > 1:
        msg = f"{' and '.join(given)} exclude each other; give one of them"
        raise ValueError(msg)


_GROUP = Group("Several processes", sort_key=35, validator=_one_at_most)
_COUNT = Parameter(validator=Number(gte=1))


def _part(kind: object, tokens: Sequence[Token]) -> Part:
    del kind
    return Part.parse(tokens[0].value)


# One word, whose two numbers have no options of their own.
_PART = Parameter(
    converter=_part, n_tokens=1, accepts_keys=False, metavar="NUMBER/COUNT"
)


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True, kw_only=True)
class ProcessOptions:
    """Who does the work; the pixels are the same with the same --threads.

    Parameters
    ----------
    workers
        Denoise in so many processes on this computer, with --threads each (1).
    scheduler
        Denoise on a dask cluster that runs: the address of its scheduler, such as
        tcp://head:8786. All its computers must see image and result at these paths.
    slurm
        Denoise in so many Slurm jobs, ended with the command. Cores, memory and time of
        a job are what dask's own ~/.config/dask/jobqueue.yaml says.
    part
        Do one part only of several, such as 3/16, where other commands, of a job array
        say, do the others: the same command but for this number. Whichever is last
        completes the result.
    """

    workers: Annotated[int | None, _COUNT] = None
    scheduler: str | None = None
    slurm: Annotated[int | None, _COUNT] = None
    part: Annotated[Part | None, _PART] = None

    @property
    def are_several(self) -> bool:
        """Whether other processes than this one do the work."""
        return bool(self.workers or self.scheduler or self.slurm)

    def settled(self, job: Job) -> Job:
        """The job with the threads that other processes use, if they do it."""
        train = job.recipe.train
        if not self.are_several or train.threads is not None:
            return job
        train = train.model_copy(update={"threads": 1})
        return job.changed(recipe=job.recipe.model_copy(update={"train": train}))

    @contextmanager
    def started(
        self, threads: int | None, console: Console
    ) -> Iterator[Workers | None]:
        """Have the processes for the time of a ``with``; None where this one does all.

        Raises
        ------
        ClusterError, MissingExtraError
            If they cannot be had.
        """
        if not self.are_several:
            yield None
            return
        wanted = Cluster(
            workers=self.workers,
            scheduler=self.scheduler,
            slurm=self.slurm,
            threads=threads or 1,
        )
        with started(wanted) as workers:
            link = workers.dashboard
            watched = f", to be watched at {link}" if link else ""
            console.say(f"denoising with {workers.name}{watched}")
            yield workers

    def check_alone(self) -> None:
        """Refuse to train and denoise in parts.

        Raises
        ------
        RecipeError
            With what to do.
        """
        if self.part is not None:
            msg = (
                "the parts of a result need one model: train it once (blindsound "
                "train), then denoise with it in parts (blindsound denoise --part)"
            )
            raise RecipeError(msg)


PROCESSES = ProcessOptions()
