"""A table of single kernels: those of networks' descriptions, each measured once, alone.

A space of networks has far fewer kernels than networks (shapes times steps of density), so after the table thousands
of answers cost nothing; see `latency_predictor`. The table is a file of records like a tuner's, and what a tuner has
measured there belongs to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from espalier.codegen.cpu.spaces import convolution_of, family_of, is_tunable, problem_of_task
from espalier.core.choices import Choice, Option, Task
from espalier.core.errors import InvalidInputError
from espalier.core.records import Record, RecordedTimes, environment_text
from espalier.measure.environment import record_environment
from espalier.measure.single_kernels import SingleKernels

from .budget import Budget
from .cost_model.interface import Sample
from .network_work import NetworkWork
from .records import Notebook, opened
from .tuner import record_of

DISTURBED = "disturbed"

BATCH = 48
"""Kernels that are compiled together, and timed by turns: the more, the longer a turn must stay calm."""


def measure_kernels(
    works: Iterable[NetworkWork],
    records=None,
    budget: Budget | str | None = None,
    tell: Callable[[int, int], None] = lambda done, wanted: None,
    warn: Callable[[str], None] = lambda line: None,
) -> list[Sample]:
    """Every kernel that is known on this machine, after those of these networks were measured.

    records: the file to read and to append to; None keeps the table only in the result. budget: such as "10m"; a later
    call goes on from the records. tell: is told how many of the missing ones are done. warn: is told what is wrong with
    the file. A kernel whose times are all of a disturbed machine is not in the result: the model knows it better. It is
    measured again by a later call.

    Raises InvalidInputError if networks of several targets are given or the file is none of records.
    """
    limit = Budget.parse(budget) if isinstance(budget, str) else budget or Budget()
    limit.start()
    environment = record_environment()
    with opened(records) as file:
        book = Notebook(file, warn)
        missing = _missing(works, _of_here(book.records, environment))
        _measure(missing, book, environment, limit, tell)
    return table_of(_of_here(book.records, environment))


def table_of(records: Iterable[Record]) -> list[Sample]:
    """Each kernel that records of one environment have a time of, from a calm machine, once."""
    known = RecordedTimes.of((one for one in records if one.state != DISTURBED), "records").known
    return [_sample(Task.parse(text), choice, one) for text, found in known.items() for choice, one in found.items()]


def _sample(task: Task, choice: Choice, record: Record) -> Sample:
    return Sample(task, Option(choice, family_of(*problem_of_task(task), choice).cycles), record.seconds)


def _of_here(records: Iterable[Record], environment) -> list[Record]:
    return [one for one in records if environment_text(one.environment) == environment_text(environment)]


def _missing(works: Iterable[NetworkWork], records: Iterable[Record]) -> list[tuple[Task, Choice]]:
    """Each kernel without a record, or without one of a calm machine, but for those that cannot run alone."""
    known = {(one.task, one.choice) for one in records if one.state != DISTURBED}
    wanted = {(one.task, one.option.choice): None for work in works for one in work.kernels}
    missing = [pair for pair in wanted if pair not in known and is_tunable(convolution_of(pair[0]))]
    devices = {str(task.device) for task, _ in missing}
    if len(devices) > 1:
        raise InvalidInputError(f"kernels: got networks of {len(devices)} targets, accepted is one")
    return missing


def _measure(missing: Sequence[tuple[Task, Choice]], book: Notebook, environment, limit: Budget, tell) -> None:
    if not missing:
        return
    with SingleKernels() as kernels:
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + limit.batch_of(BATCH)]
            if not part:
                return
            before = limit.seconds_spent()
            outcomes = kernels.run(part)
            book.add(record_of(task, one, environment) for (task, _), one in zip(part, outcomes))
            limit.spend(len(part), limit.seconds_spent() - before)
            tell(start + len(part), len(missing))
