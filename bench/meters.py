"""What processes use, as /proc tells it: CPU of whole trees, memory by its share."""

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

TICK: Final = os.sysconf("SC_CLK_TCK")
ATTEMPTS: Final = 20
SERVERS: Final = ("postgres", "redis-server")


class Process(NamedTuple):
    """`ticks` are those of the process and of its children that have ended."""

    pid: int
    parent: int
    name: str
    ticks: int


class Measured(NamedTuple):
    """A stretch of time, and the CPU in seconds that each of some used in it."""

    begin: datetime
    end: datetime
    cpu: dict[str, float]


def measure(roots: Mapping[str, Collection[int]], seconds: float) -> Measured:
    """Let so many seconds pass, and see what these and all below them use."""
    begin, before = datetime.now(UTC), cpu_seconds(roots)
    time.sleep(seconds)
    end, after = datetime.now(UTC), cpu_seconds(roots)
    return Measured(begin, end, {name: after[name] - before[name] for name in roots})


def cpu_seconds(roots: Mapping[str, Collection[int]]) -> dict[str, float]:
    """User and system time of these processes and of all below them, ever.

    Whoever has ended counts in its parent, so that no figure ever falls.
    """
    known = _settled({pid for pids in roots.values() for pid in pids})
    return {
        name: sum(known[pid].ticks for pid in _below(pids, known)) / TICK
        for name, pids in roots.items()
    }


def tree(roots: Collection[int]) -> list[int]:
    """These processes, parents first, and all below them that live."""
    return _below(roots, _processes())


def pss_mib(pid: int) -> float:
    """Memory in MiB, a page that n processes share counted as an nth of one."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def servers() -> list[int]:
    """The processes of PostgreSQL and Redis that started all others of theirs."""
    known = _processes()
    found = [
        process
        for process in known.values()
        if process.name in SERVERS and _name(known, process.parent) != process.name
    ]
    if missing := set(SERVERS) - {process.name for process in found}:
        # As in a container of its own: a run would look cheaper than it is.
        raise RuntimeError(f"No process can be seen of {' and '.join(sorted(missing))}")
    return [process.pid for process in found]


def _settled(roots: Collection[int]) -> dict[int, Process]:
    """All processes, read while none of the tree began or ended.

    One that ends between its parent's turn and its own would count nowhere.
    """
    known = _processes()
    for _ in range(ATTEMPTS):
        before, known = known, _processes()
        if _below(roots, before) == _below(roots, known):
            break
    return known


def _name(known: dict[int, Process], pid: int) -> str:
    return known[pid].name if pid in known else ""


def _below(roots: Collection[int], known: dict[int, Process]) -> list[int]:
    children: dict[int, list[int]] = {}
    for process in known.values():
        children.setdefault(process.parent, []).append(process.pid)
    found = [pid for pid in roots if pid in known]
    for pid in found:  # grows while it is walked
        found += children.get(pid, ())
    # Whoever is both a root and below another counts once.
    return list(dict.fromkeys(found))


def _processes() -> dict[int, Process]:
    return {process.pid: process for process in _walk()}


def _walk() -> Iterator[Process]:
    for folder in _numbers(os.listdir("/proc")):
        try:
            yield _parsed(Path(f"/proc/{folder}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since; its parent knows what it used


def _numbers(names: Iterable[str]) -> Iterator[int]:
    return (int(name) for name in names if name.isdigit())


def _parsed(stat: str) -> Process:
    # The name stands in brackets and may hold anything, brackets too.
    pid, _, rest = stat.partition(" (")
    name, _, rest = rest.rpartition(") ")
    fields = rest.split()
    return Process(int(pid), int(fields[1]), name, sum(map(int, fields[11:15])))
