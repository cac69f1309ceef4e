"""`vaestar history export`: a run, or a part of it, in formats that other programs read; there whole, or not at all."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.errors import HistoryError
from agent.history.event_log import History
from agent.history.filters import Part
from agent.history.lookup import legible, opened
from agent.reporting.terminal import ERR

Format = Literal["jsonl", "nsid", "csv", "bluesky"]
#: How the files of each format are named, of those that are folders: --force replaces folders of such files only.
_FOLDERS = {"nsid": ".h5", "csv": ".csv"}


@dataclass(frozen=True)
class Wanted:
    """What is to be exported, and where to.

    Parameters
    ----------
    format
        "jsonl" (all events), "csv" (five tables), "nsid" (an HDF5 file for each scan) or "bluesky" (documents, a run each scan).
    part
        Which events.
    out
        A file, or a folder for "csv" and "nsid"; None: standard output.
    force
        Whether what is there already may be replaced.
    """

    format: Format
    part: Part
    out: Path | None
    force: bool = False


def export(run: Path | None, wanted: Wanted) -> None:
    """Write a run, or a part of it.

    Raises
    ------
    HistoryError
        If it cannot be written there, or something is there already.
    """
    folder = wanted.format in _FOLDERS
    if wanted.out is None and folder:
        raise HistoryError(f"the format '{wanted.format}' is a folder of files; say where it shall lie with --out")
    with opened(run) as history, legible(history):
        if wanted.out is None:
            for line in _lines(wanted.format)(history, wanted.part):
                sys.stdout.write(line + "\n")
            return
        with placed(wanted.out, folder=_FOLDERS.get(wanted.format), force=wanted.force) as target:
            count = _written(history, wanted, target)
    ERR.print(f"{count} written to {wanted.out}", highlight=False, markup=False, soft_wrap=True)


def _written(history: History, wanted: Wanted, target: Path) -> str:
    """Write to `target`; says how much."""
    if wanted.format == "csv":
        from agent.reporting.export.csv_tables import write_tables

        return write_tables(history, wanted.part, target)
    if wanted.format == "nsid":
        from agent.reporting.export.nsid import write_scans

        return write_scans(history, wanted.part, target)
    lines = 0
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for line in _lines(wanted.format)(history, wanted.part):
            file.write(line + "\n")
            lines += 1
    return f"{lines} lines"


def _lines(form: Format) -> Callable[[History, Part], Iterator[str]]:
    if form == "bluesky":
        from agent.reporting.export.bluesky import documents

        return documents
    from agent.reporting.export.jsonl import json_lines

    return json_lines


@contextlib.contextmanager
def placed(out: Path, *, folder: str | None, force: bool) -> Iterator[Path]:
    """A path to write to, which becomes `out` when all went well.

    Parameters
    ----------
    out
        Where the result shall be.
    folder
        Suffix of the files if it is a folder; None for a file.
    force
        Whether an earlier result may be replaced; of a folder, only one that holds such files and nothing else.

    Raises
    ------
    HistoryError
        If something is there already, or it cannot be written.
    """
    _check_free(out, folder, force)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if folder is not None:
            part.mkdir()
        yield part
        _check_free(out, folder, force)
        if out.is_dir():
            shutil.rmtree(out)
        part.replace(out)
    except HistoryError:
        raise
    except OSError as error:
        raise HistoryError(f"{out} cannot be written: {error}; choose another place with --out") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):
            part.unlink()


def _check_free(out: Path, folder: str | None, force: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not force:
        raise HistoryError(f"{out} is there already; choose another place, or replace it with --force")
    if out.is_dir() != (folder is not None) or out.is_symlink():
        raise HistoryError(f"{out} is {'a folder' if out.is_dir() else 'no folder'}, it is not replaced; choose another place")
    if folder is not None and any(p.is_dir() or p.suffix != folder for p in out.iterdir()):
        raise HistoryError(f"the folder {out} holds other things than {folder} files, it is not replaced; choose another place")
