"""`espalier records`: list, export, import, merge and prune files of tuning records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from espalier.core.records import Record, RecordFile, environment_text
from espalier.report import tables
from espalier.tuning import records as upkeep

from .output import Outcome


def list_tasks(path: Path) -> Outcome:
    """The tasks in a file by environment, with the best choice of each."""
    with RecordFile(path) as file:
        found = file.read()
    groups: dict[tuple, list[Record]] = {}
    for one in found:
        groups.setdefault((environment_text(one.environment), one.task), []).append(one)
    rows = [_row(trials) for trials in groups.values()]
    shown = [
        (
            one["task"],
            one["shape"],
            str(one["records"]),
            tables.duration(one["best_s"]) if one["best_s"] else tables.NONE,
            one["best"],
        )
        for one in rows
    ]
    table = tables.plain_table(("task", "shape", ">records", ">best", "+choice"), shown)
    states = Counter(one.state for one in found)
    machines = sorted({str(one.environment.get("machine")) for one in found})
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    line = f"{path}: {len(found)} records ({counts or 'none'}) of {len(groups)} tasks; machines: {', '.join(machines)}"
    return Outcome({"records": len(found), "states": dict(states), "tasks": rows}, (table, line))


def export(path: Path, output: Path) -> Outcome:
    """Records to JSON lines, of a damaged file those that are readable."""
    found, remark = upkeep.read_any(path)
    count = upkeep.export_lines(found, output)
    return _told({"exported": count}, f"{count} records are in {output}", remark)


def import_lines(path: Path, source: Path) -> Outcome:
    """JSON lines to records."""
    found, remark = upkeep.read_lines(source)
    return _added(path, found, str(source), [remark])


def merge(path: Path, sources: Sequence[Path]) -> Outcome:
    """The records of other files."""
    read = [upkeep.read_any(source) for source in sources]
    found = [one for records, _ in read for one in records]
    return _added(path, found, ", ".join(map(str, sources)), [remark for _, remark in read])


def prune(path: Path, keep: int) -> Outcome:
    """Only the latest records of each choice stay."""
    with RecordFile(path, write=True) as file:
        every = file.read()
        gone = upkeep.prune(every, keep)
        file.remove(gone)
    left = len(every) - len(gone)
    return _told({"removed": len(gone), "left": left}, f"{path}: {len(gone)} records removed, {left} left")


def _added(path: Path, found: Sequence[Record], source: str, remarks: Sequence[str]) -> Outcome:
    with RecordFile(path, write=True) as file:
        new = file.add(found)
    return _told(
        {"read": len(found), "new": new}, f"{path}: {new} of the {len(found)} records in {source} are new", *remarks
    )


def _told(data: dict, line: str, *remarks: str) -> Outcome:
    kept = tuple(filter(None, remarks))
    return Outcome({**data, "remarks": list(kept)}, (line, *kept))


def _row(trials: Sequence[Record]) -> dict:
    task = trials[0].task
    measured = [one for one in trials if one.seconds]
    best = min(measured, key=lambda one: one.seconds, default=None)
    shapes = task.facts.get("shapes", {})
    weight, image = shapes.get("weight", ()), shapes.get("out", ())[-2:]
    return {
        "task": task.digest,
        "shape": f"{'x'.join(map(str, weight))} to {'x'.join(map(str, image))}" if weight else task.operator,
        "records": len(trials),
        "best_s": best.seconds if best else None,
        "best": str(best.choice) if best else tables.NONE,
        "environment": dict(trials[0].environment),
    }
