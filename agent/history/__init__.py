"""The append-only decision history: events, arrays, integrity, retention."""
