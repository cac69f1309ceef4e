"""Where the page is, said without loading what it takes to show it."""

from pathlib import Path

from agent.run_directories import TOKEN_FILE


def page_address(http: str, run_directory: Path) -> str:
    """The page's address, with the token in its fragment, which a browser sends to nobody."""
    try:
        token = (run_directory / TOKEN_FILE).read_text(encoding="ascii")
    except OSError:
        return f"{http}/"
    return f"{http}/#token={token}"
