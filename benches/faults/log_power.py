"""Power loss: a writer's writes and syncs are recorded, and every state that a disk might be left in is opened.

The model of a disk: what was synced is there. Of what was not, any of it may be: each write or not, or only some of
its 512-byte sectors; a change of a folder (a file made, renamed, removed) only after all earlier ones of it.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benches.faults.outcome import Outcome, broken_account, broken_files, rows_of_sessions
from benches.faults.writer import MIDNIGHT_NS, ROWS_PER_COMMIT
from tests.behaviour_log.sessions import DAY_NS, add_rows, session
from toolkit.behaviour_log import LogWriter

SECTOR = 512
SOURCE = Path(__file__).with_name("recorder.c")
MEMORY = Path("/dev/shm")
VARIANTS = ("nothing", "everything", "some", "torn")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the writer's that succeeded."""

    op: str
    fd: int
    offset: int
    path: str
    data: bytes


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes; None stands for a truncation at the offset."""


class Disk:
    """What is on the disk, and what only the kernel knows yet."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._open: dict[int, _File | None] = {}
        self._names: dict[str, _File] = {}
        self._synced_names: dict[str, _File] = {}
        self._changes: list[dict[str, _File]] = []
        self.announced: dict[int, int] = {}

    def apply(self, call: Call) -> None:
        """Do what the writer did."""
        name = call.path.removeprefix(f"{self._folder}/")
        if call.op == "o":
            if call.path == self._folder or (name not in self._names and not call.offset & 1):
                # None stands for the folder itself.
                self._open[call.fd] = None
                return
            if call.offset & 1:
                self._names[name] = _File()
                self._note_names()
            self._open[call.fd] = self._names[name]
            if call.offset & 2:
                self._names[name].unsynced.append((0, None))
        elif call.op == "r":
            self._names[call.data.decode().removeprefix(f"{self._folder}/")] = self._names.pop(name)
            self._note_names()
        elif call.op == "u":
            del self._names[name]
            self._note_names()
        elif call.op == "c":
            self._open.pop(call.fd)
        else:
            self._change(self._open[call.fd], call)

    def _change(self, file: _File | None, call: Call) -> None:
        if file is None:
            if call.op == "s":
                self._synced_names = dict(self._names)
                self._changes.clear()
            return
        if file is self._names.get("announced"):
            number, rows = call.data.split()
            self.announced[int(number)] = int(rows)
        elif call.op == "w":
            file.unsynced.append((call.offset, call.data))
        elif call.op == "t":
            file.unsynced.append((call.offset, None))
        else:
            for change in file.unsynced:
                _write(file.synced, *change)
            file.unsynced.clear()

    def _note_names(self) -> None:
        self._changes.append(dict(self._names))

    def leave(self, folder: Path, variant: str, chance: random.Random) -> None:
        """Write what a power loss now might leave into an empty folder."""
        names = [self._synced_names, *self._changes]
        kept = {"nothing": 0, "everything": len(names) - 1}.get(variant, chance.randrange(len(names)))
        for name, file in names[kept].items():
            if name in ("announced", ".lock"):
                continue
            content = bytearray(file.synced)
            for offset, data in file.unsynced:
                if variant == "everything" or (variant != "nothing" and chance.random() < 0.5):
                    _write(content, offset, data)
                elif variant == "torn" and data is not None:
                    for start in range(0, len(data), SECTOR):
                        if chance.random() < 0.5:
                            _write(content, offset + start, data[start : start + SECTOR])
            (folder / name).write_bytes(content)


def _write(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def compile_recorder(folder: Path) -> Path:
    """Compile the recorder and return the library; needs gcc."""
    library = folder / "recorder.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def record(folder: Path, starts: int, commits: int) -> list[Call]:
    """Run writers one after the other on one log and return their calls."""
    log, records = folder / "recorded", folder / "records"
    (log / "a1").mkdir(parents=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(compile_recorder(folder)),
        "FAULT_FOLDER": str((log / "a1").resolve()),
        "FAULT_RECORD": str(records.resolve()),
        # numpy's own threads would do nothing here but start.
        "OMP_NUM_THREADS": "1",
    }
    for number in range(1, starts + 1):
        command = [sys.executable, "-m", "benches.faults.writer", str(log.resolve()), str(number), str(commits)]
        subprocess.run(command, check=True, env=environment)
    return list(_calls(records.read_bytes()))


def _calls(content: bytes) -> Iterator[Call]:
    place = 0
    while place < len(content):
        op, fd, offset, path_bytes, data_bytes = struct.unpack_from("<ciqII", content, place)
        place += struct.calcsize("<ciqII")
        path = content[place : place + path_bytes].decode()
        data = content[place + path_bytes : place + path_bytes + data_bytes]
        place += path_bytes + data_bytes
        yield Call(op.decode(), fd, offset, path, data)


def lose_power(folder: Path, *, starts: int = 2, commits: int = 40, every: int = 1, seed: int = 3) -> Outcome:
    """Record writers, and open what a power loss after every `every`-th call might leave, in each variant."""
    chance = random.Random(seed)
    calls = record(folder, starts, commits)
    disk = Disk(str((folder / "recorded" / "a1").resolve()))
    times = rows_lost = 0
    most_lost, longest_s, faults = 0, 0.0, list[str]()
    last = chance.randrange(every)
    for number, call in enumerate(calls):
        disk.apply(call)
        if number % every != last:
            continue
        for variant in VARIANTS:
            with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
                place = Path(name)
                (place / "a1").mkdir()
                disk.leave(place / "a1", variant, chance)
                begun_s = time.perf_counter()
                found, broken = _open(place)
                longest_s = max(longest_s, time.perf_counter() - begun_s)
            times += 1
            for start, rows in disk.announced.items():
                there = found.get(session(start).uuid, [])
                rows_lost += max(0, rows - len(there))
                if there != list(range(len(there))) or len(there) < rows:
                    broken.append(f"start {start} announced {rows} rows, the log has {len(there)}")
            faults += [f"call {number} ({call.op}), {variant}: {fault}" for fault in broken]
            given = sum(disk.announced.values()) + ROWS_PER_COMMIT
            most_lost = max(
                most_lost, given - sum(len(found.get(session(start).uuid, [])) for start in range(starts + 1))
            )
    return Outcome("log: power loss", times, most_lost, rows_lost, longest_s, tuple(faults))


def _open(place: Path) -> tuple[dict[str, list[int]], list[str]]:
    """Start on what was left, write two rows, and return the rows found and what is broken."""
    start_ns = MIDNIGHT_NS + DAY_NS // 2
    with LogWriter(place, "a1", session(99, start_ns=start_ns, offset_ns=start_ns)) as log:
        add_rows(log, [0, 10_000_000])
        log.close("stopped")
    return rows_of_sessions(place / "a1"), broken_files(place / "a1") + broken_account(place / "a1")
