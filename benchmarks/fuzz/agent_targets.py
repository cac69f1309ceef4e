"""Fuzz targets of the agent: dispatcher with a real history, configuration, and rows of a history."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import count

from agent.config.model import load_config
from agent.errors import AgentError, HistoryError
from agent.history.event_log import History
from agent.history.run_directory import DATABASE
from agent.ledger.ledger import Ledger
from agent.messaging.dispatcher import Dispatcher
from benchmarks.fuzz import goldens
from benchmarks.fuzz.mutations import json_text, mutated_bytes, mutated_json, mutated_text, some_number
from benchmarks.fuzz.targets import Input, Random, Target, _InFolder, mutated_frames, words
from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol import codec

_INSTRUMENT = "mfp3d-b12"


class Dispatch(_InFolder):
    """Wire frames, handled as in the service: decoded and dispatched with a history on disk, or refused and recorded."""

    name, share, answers = "dispatcher", 0.06, ()

    def __init__(self) -> None:
        super().__init__()
        self.golden = {k: v for k, v in goldens.wire().items() if k not in {"welcome", "snapshot"}}
        self._runs = count()
        self._history: History | None = None
        self.renew()

    def make(self, rng: Random) -> Input:
        sender = _INSTRUMENT
        if rng.random() < 0.3:
            sender = rng.choice((_INSTRUMENT, _INSTRUMENT, _INSTRUMENT, "afm-2", "", words(rng)))
        original = list(self.golden[rng.choice(list(self.golden))])
        frames = original if rng.random() < 0.1 else mutated_frames(self.golden, rng)
        return [sender.encode("utf-8", "surrogatepass"), *frames]

    def take(self, given: Input) -> str:
        identity, *frames = given
        instrument_id = identity.decode("utf-8", "backslashreplace")
        try:
            answer = self._dispatch.on_packet(instrument_id, codec.decode(frames))
        except ProtocolError as error:
            refused = self._dispatch.refuse(instrument_id, codec.message_id(frames), error)
            codec.encode(codec.Packet(refused))
            return f"refused {error.code}"
        if answer is None:
            return "taken in"
        codec.encode(codec.Packet(answer))  # type: ignore[arg-type]
        return f"answered {type(answer).__name__}"

    def renew(self) -> None:
        if self._history is not None:
            self._history.close()
        folder = self.folder / f"run-{next(self._runs)}"
        self._history = History(folder)
        self._dispatch = Dispatcher(self._history, "run-fuzz", lambda: datetime.now(UTC))
        goldens.first_cycle(self._dispatch, _INSTRUMENT)

    def close(self) -> None:
        if self._history is not None:
            self._history.close()
        super().close()


class Configuration(_InFolder):
    """Configuration file of the agent (TOML)."""

    name, share, answers = "config", 0.02, (AgentError,)

    def __init__(self) -> None:
        super().__init__()
        self.golden = goldens.config()

    def make(self, rng: Random) -> Input:
        text = mutated_text(self.golden, rng).encode("utf-8", "surrogatepass")
        return [mutated_bytes(text, rng) if rng.random() < 0.2 else text]

    def take(self, given: Input) -> str:
        path = self.folder / "fuzzed.toml"
        path.write_bytes(given[0])
        load_config(path)
        return "accepted"


class Rows(_InFolder):
    """Altered rows of a history: read, verified and folded into the ledger."""

    name, share, answers = "history", 0.02, (HistoryError,)

    def __init__(self) -> None:
        super().__init__()
        self._run = self.folder / "run"
        with History(self._run) as history:
            dispatch = Dispatcher(history, "run-fuzz", lambda: datetime.now(UTC))
            goldens.first_cycle(dispatch, _INSTRUMENT)
        with closing(sqlite3.connect(self._run / DATABASE)) as db:
            db.execute("DROP TRIGGER event_is_final")
            db.execute("DROP TRIGGER event_stays")
            db.commit()
            db.execute("PRAGMA journal_mode=MEMORY")
            self.golden = db.execute("SELECT seq, recorded_at, kind, subject, once, body, arrays, hash FROM event").fetchall()

    def make(self, rng: Random) -> Input:
        rows = [list(row) for row in self.golden]
        for _ in range(rng.choice((1, 1, 2))):
            at, column = rng.randrange(len(rows)), rng.randrange(1, 8)
            row = rows[at]
            if column in {5, 6} and rng.random() < 0.8:
                row[column] = json_text(mutated_json(json.loads(self.golden[at][column]), rng), rng).decode("utf-8", "replace")
            elif column == 4:
                row[column] = None
            else:
                row[column] = words(rng).encode("utf-8", "replace").decode()
        if rng.random() < 0.2:
            del rows[rng.randrange(len(rows))]
        if rng.random() < 0.1:
            rng.choice(rows)[0] = max(-(2**63), min(2**63 - 1, some_number(rng)))
        return [json.dumps(row).encode() for row in rows]

    def take(self, given: Input) -> str:
        rows = {json.loads(row)[0]: json.loads(row) for row in given}
        once = {row[4]: key for key, row in rows.items()}
        with closing(sqlite3.connect(self._run / DATABASE)) as db:
            db.execute("PRAGMA synchronous=OFF")
            with db:
                db.execute("DELETE FROM event")
                for key, row in rows.items():
                    row[4] = row[4] if once[row[4]] == key else None
                    db.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        with History(self._run, read_only=True) as history:
            faults = history.verify()
            Ledger.of(history.events())
        return "found altered" if faults else "accepted"


AGENT_SIDE: tuple[type[Target], ...] = (Dispatch, Configuration, Rows)
