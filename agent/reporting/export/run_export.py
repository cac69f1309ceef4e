"""`vaestar history export`: writes a run, or a part of it, in formats for other programs; completely or not at all."""

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.errors import HistoryError
from agent.history.event_log import History
from agent.history.filters import EventFilter, filtered_events
from agent.history.lookup import open_history, reading_history
from instrument_adapters.command_line.output import write_error, write_line
from instrument_adapters.errors import plain_reason
from instrument_adapters.new_file import open_new

Format = Literal["jsonl", "nsid", "csv", "bluesky"]
#: Formats that are folders, with the suffix of their files; --force replaces only folders of such files.
_FOLDER_SUFFIXES = {"nsid": ".h5", "csv": ".csv"}


@dataclass(frozen=True)
class ExportRequest:
    """What to export, and where to.

    Parameters
    ----------
    format
        "jsonl" (all events), "csv" (five tables), "nsid" (one HDF5 file for each scan) or "bluesky" (documents, one bluesky run
        for each scan).
    event_filter
        Events to export.
    out
        File to write, or folder for "csv" and "nsid"; None for standard output.
    force
        Whether an existing file or folder may be replaced.
    """

    format: Format
    event_filter: EventFilter
    out: Path | None
    force: bool = False


def export(run: Path | None, request: ExportRequest) -> None:
    """Write a run, or a part of it, to a file, a folder, or standard output.

    Raises
    ------
    HistoryError
        If the output cannot be written or exists already, or the run has no event of the wanted instrument, sample or scan.
    """
    folder = request.format in _FOLDER_SUFFIXES
    if request.out is None and folder:
        raise HistoryError(f"the format '{request.format}' is a folder of files; name the folder with --out")
    with open_history(run) as history, reading_history(history):
        _refuse_unknown(history, request.event_filter)
        if request.out is None:
            for line in _lines(request.format)(history, request.event_filter):
                write_line(line)  # JSON in ASCII
            return
        with atomic_output(request.out, folder=_FOLDER_SUFFIXES.get(request.format), force=request.force) as target:
            count = _write(history, request, target)
    write_error(f"{count} written to {request.out}")


def _refuse_unknown(history: History, event_filter: EventFilter) -> None:
    """Refuse a name that occurs nowhere: an empty export would look like one of a run in which nothing happened."""
    named = bool(event_filter.instrument or event_filter.sample or event_filter.scan) and event_filter.since is None
    if named and next(filtered_events(history, event_filter), None) is None:
        raise HistoryError(
            f"no event of {event_filter} in {history.run_directory}, so there is nothing to export; `vaestar history list` shows "
            "what it holds"
        )


def _write(history: History, request: ExportRequest, target: Path) -> str:
    """Write to `target`; returns a summary such as "12 lines"."""
    if request.format == "csv":
        from agent.reporting.export.csv_tables import write_tables

        return write_tables(history, request.event_filter, target)
    if request.format == "nsid":
        from agent.reporting.export.nsid import write_scans

        return write_scans(history, request.event_filter, target)
    lines = 0
    with io.TextIOWrapper(open_new(target), encoding="utf-8", newline="\n") as file:
        for line in _lines(request.format)(history, request.event_filter):
            file.write(line + "\n")
            lines += 1
    return f"{lines} lines"


def _lines(form: Format) -> Callable[[History, EventFilter], Iterator[str]]:
    if form == "bluesky":
        from agent.reporting.export.bluesky import documents

        return documents
    from agent.reporting.export.jsonl import json_lines

    return json_lines


@contextlib.contextmanager
def atomic_output(out: Path, *, folder: str | None, force: bool) -> Iterator[Path]:
    """Yields a temporary path, which is renamed to `out` if the block succeeds.

    Parameters
    ----------
    out
        Final path of the file or folder.
    folder
        Suffix of the files if the output is a folder; None for a file.
    force
        Whether an existing output may be replaced; a folder is replaced only if it holds nothing but files with this suffix.

    Raises
    ------
    HistoryError
        If `out` exists already or cannot be written.
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
        raise HistoryError(f"{out} cannot be written: {plain_reason(error)}; choose another path with --out") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):
            part.unlink()


def _check_free(out: Path, folder: str | None, force: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not force:
        raise HistoryError(f"{out} exists already; choose another path, or replace it with --force")
    if out.is_dir() != (folder is not None) or out.is_symlink():
        raise HistoryError(f"{out} is {'a folder' if out.is_dir() else 'not a folder'} and is not replaced; choose another path")
    if folder is not None and any(p.is_dir() or p.suffix != folder for p in out.iterdir()):
        raise HistoryError(f"the folder {out} holds more than {folder} files and is not replaced; choose another path")
