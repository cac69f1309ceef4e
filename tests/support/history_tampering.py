"""What somebody who knows SQLite does to a history, leaving it looking as it did."""

import contextlib
import sqlite3
from pathlib import Path

from agent.history.run_directory import DATABASE


def tamper(run: Path, *statements: str) -> None:
    """Run statements on the database with the triggers out of the way; they are put back afterwards."""
    with contextlib.closing(sqlite3.connect(run / DATABASE)) as db, db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        for _, sql in triggers:
            db.execute(sql)
