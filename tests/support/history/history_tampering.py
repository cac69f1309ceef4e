"""Tampering with a history as an attacker who knows SQLite would, without leaving traces in the schema."""

import contextlib
import sqlite3
from pathlib import Path

from agent.history.run_directory import DATABASE


def tamper(run: Path, *statements: str) -> None:
    """Run statements on the database with its triggers dropped; they are restored afterwards."""
    with contextlib.closing(sqlite3.connect(run / DATABASE)) as db, db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        for _, sql in triggers:
            db.execute(sql)
