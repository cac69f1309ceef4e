"""What stands in the documentation and is not executed by these tests, with the reason: the one such list.

A command of `vaestar` that is excepted is still read by the program's own parser, with exactly its options.
"""

from dataclasses import dataclass

from tests.docs.snippets import Command, Snippet

ROOT_NEEDED = "needs root and systemd; tests/docs/test_operations_page.py reads the unit that it starts"
NETWORK = "installs from the network"
EVERYTHING = "takes minutes; the target is looked for in the Makefile"
DASK = "needs a scheduler and workers; tests/system/test_dask.py starts them and gives the agent their address"
IGOR = "needs Igor; tests/instrument_adapters/mfp3d/test_mfp3d_docs.py runs it on a bench"
ENDLESS = "goes on until Ctrl-C; tests/agent/history/test_filters.py follows a history"


@dataclass(frozen=True)
class Excepted:
    """A command or block of a page, by how it begins."""

    page: str
    begins: str
    reason: str

    def means(self, what: Command | Snippet) -> bool:
        """Whether it is this one."""
        text = what.line if isinstance(what, Command) else what.text
        return self.page == what.page and text.startswith(self.begins)


EXCEPTED = (
    Excepted("README.md", "make demo", EVERYTHING),
    Excepted("README.md", "make test", EVERYTHING),
    Excepted("cluster.md", "pip install", NETWORK),
    Excepted("cluster.md", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 dask scheduler", DASK),
    Excepted("cluster.md", "PYTHONSAFEPATH=1 dask worker", DASK),
    Excepted("cluster.md", "vaestar analyze", DASK),
    Excepted("history.md", "vaestar history list --follow", ENDLESS),
    Excepted(
        "mfp3d.md",
        "from pathlib import Path",
        "needs Igor; tests/instrument_adapters/mfp3d/test_mfp3d_docs.py runs it on a bench",
    ),
    Excepted("operations.md", "sudo", ROOT_NEEDED),
    Excepted("operations.md", "journalctl", ROOT_NEEDED),
    Excepted("replay.md", "pip install", NETWORK),
    Excepted("tutorial.md", "make install", EVERYTHING),
    Excepted("tutorial.md", ". .venv/bin/activate", "changes the shell that it is given to"),
)


def excepted(what: Command | Snippet) -> bool:
    """Whether it is on the list."""
    return any(entry.means(what) for entry in EXCEPTED)
