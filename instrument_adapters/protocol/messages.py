"""The wire, version 2: every message that may pass between an instrument and the agent, and nothing else.

A message is one JSON header, validated by the models below, followed by the raw arrays that `arrays` announces
(see `codec`). The instrument sends `Hello`, `ScanMessage`, `ResultMessage`, `TroubleMessage`, `StatusMessage`, `LinesMessage`,
`Heartbeat` and `Bye`; the agent sends `Welcome`, `SnapshotMessage`, `RecommendationMessage`, `CommandMessage`, `Heartbeat` and
`Bye`; both send `Resend` when they miss something, and answer with `Ack` or `Refused`. A sender repeats a message until it is
answered and a receiver acts once on each id, so that a lost frame or a lost answer does no harm. `LinesMessage` and
`StatusMessage` are the exceptions: they show an instrument at work, and are neither acknowledged nor repeated.

What the agent tells an instrument to do, recommendations and commands, is numbered for each instrument without gaps (`seq`).
Heartbeats carry the last number, so a gap shows, also at the end; who notices one asks again (`Resend`) and is told where things
stand now (`SnapshotMessage`): what a newer word has replaced is not said again.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, model_validator

from instrument_adapters.geometry import Finite, Frame, Positive
from instrument_adapters.protocol.base import (
    ID_PATTERN,
    PROTOCOL_VERSION,
    ArraySpec,
    Id,
    Message,
    Name,
    Note,
    Sentence,
    Unit,
    Wire,
    as_sentence,
)

__all__ = [  # what is looked for here
    "ID_PATTERN",
    "PROTOCOL_VERSION",
    "ArraySpec",
    "Id",
    "Message",
    "Name",
    "Note",
    "Sentence",
    "Unit",
    "Wire",
    "as_sentence",
]


class Limits(Wire):
    """What the instrument is allowed to do; outside it, a request is refused and never clamped.

    Parameters
    ----------
    x_min_m, x_max_m, y_min_m, y_max_m
        Stage range in metres.
    bias_max_V
        Largest magnitude of the tip bias in volts.
    spacing_min_m
        Smallest distance between two measured points in metres.
    points_max
        Most points that may be measured after one scan.
    dose_max, dose_radius_m
        Most points that may ever be measured within so many metres of any place, over all scans.
    scan_age_max_s
        A point is not measured when the scan that it was chosen from ended longer ago: drift has carried it away, and a new scan
        has to come first.
    """

    x_min_m: Finite = -45e-6
    x_max_m: Finite = 45e-6
    y_min_m: Finite = -45e-6
    y_max_m: Finite = 45e-6
    bias_max_V: Positive = 10.0
    spacing_min_m: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 100e-9
    points_max: int = Field(default=200, ge=0)
    dose_max: int = Field(default=60, ge=0)
    dose_radius_m: Positive = 500e-9
    scan_age_max_s: Positive = 7200.0


State = Literal["running", "paused", "stopped"]
"""What an instrument may do: go on; begin nothing new; nothing at all, after an emergency stop, until a person resumes."""


class Snapshot(Wire):
    """Where things stand between the agent and one instrument.

    Parameters
    ----------
    seq
        Number of the last recommendation or command for this instrument; 0 if there was none.
    state, state_reason
        What the instrument may do, who said so and why ("Ada: lunch").
    newest_scan_id
        The newest of its scans that the agent holds.
    stop_seq
        Number of the last emergency stop; 0 if there was none. What was recommended before it is never measured.
    open_decision_id
        The decision whose recommendation has been sent, or waits to be, and is not acknowledged.
    """

    seq: int = Field(default=0, ge=0)
    state: State = "running"
    state_reason: Sentence = ""
    stop_seq: int = Field(default=0, ge=0)
    newest_scan_id: Id | None = None
    open_decision_id: Id | None = None


class Hello(Message):
    """First message of an instrument: who it is and what it may do.

    `bias_V` is the largest magnitude of the bias that its measurements apply; None: not told. `sent_at` is by the instrument's
    clock, and so is every `expires_at` that the agent answers with.
    """

    type: Literal["hello"] = "hello"
    instrument_id: Id
    model: Name
    software: Name
    limits: Limits = Limits()
    bias_V: Positive | None = None


class Welcome(Message):
    """The agent's answer to `Hello`: which run this instrument has joined, and where things stand in it."""

    type: Literal["welcome"] = "welcome"
    of: Id
    run_id: Id
    scans_recorded: int = Field(ge=0)
    snapshot: Snapshot = Snapshot()


class Resend(Message):
    """Something is missing here: say again what has not been answered. `after`: the last number that came in order."""

    type: Literal["resend"] = "resend"
    after: int = Field(default=0, ge=0)


class SnapshotMessage(Message):
    """The agent's answer to `Resend`; what is still open follows it."""

    type: Literal["snapshot"] = "snapshot"
    of: Id
    snapshot: Snapshot


class Ack(Message):
    """Message `of` is on disk. `duplicate`: it was before; `first_sent_at`: then, `sent_at` of the scan that was recorded."""

    type: Literal["ack"] = "ack"
    of: Id
    duplicate: bool = False
    first_sent_at: AwareDatetime | None = None


class Refused(Message):
    """Message `of` was not accepted. `code` is for programs, `reason` for people. Repeating it unchanged is useless."""

    type: Literal["refused"] = "refused"
    of: Id | None
    code: Name
    reason: Sentence


class Heartbeat(Message):
    """The sender lives.

    `seq`: from the agent, the number of the last recommendation or command for this instrument. `unanswered`: from an instrument,
    how many of its messages wait for an answer.
    """

    type: Literal["heartbeat"] = "heartbeat"
    seq: int = Field(default=0, ge=0)
    unanswered: int = Field(default=0, ge=0)


class CommandMessage(Message):
    """What a person has told the agent to have done at this instrument; acknowledged when it has been obeyed.

    `pause`: finish what is under way and begin nothing new. `resume`: go on. `stop`: end what is under way at once, leave the
    instrument in a safe state, and do nothing until `resume`.
    """

    type: Literal["command"] = "command"
    seq: int = Field(ge=1)
    command: Literal["pause", "resume", "stop"]
    by: Name
    reason: Sentence = ""


class StatusMessage(Message):
    """What an instrument is doing, for whoever watches: not acknowledged, not repeated, not recorded."""

    type: Literal["status"] = "status"
    activity: Literal["waiting", "scanning", "measuring", "paused", "stopped"]
    scan_id: Id | None = None
    request_id: Id | None = None
    points_left: int = Field(default=0, ge=0)
    sentence: Sentence = ""


class TroubleMessage(Message):
    """Something went wrong at an instrument that no scan and no result tells of: for the record, not to be acted on."""

    type: Literal["trouble"] = "trouble"
    event: Id
    sentence: Annotated[Sentence, Field(min_length=1)]


class Bye(Message):
    """The sender stops in order; nothing is lost and nothing more will come."""

    type: Literal["bye"] = "bye"
    reason: Sentence = ""


class ChannelSpec(Wire):
    """Name and unit of one channel of a scan."""

    name: Name
    unit: Unit = ""


class ScanMessage(Message):
    """A finished scan. Its one array, `channels`, has shape (channels, rows, cols), in the orientation of `geometry`."""

    type: Literal["scan"] = "scan"
    scan_id: Id
    sample_id: Id
    frame: Frame
    channels: tuple[ChannelSpec, ...] = Field(min_length=1, max_length=32)
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    metadata: Note = Field(default_factory=dict, max_length=4000)

    @model_validator(mode="after")
    def _one_array_of_the_frames_shape(self) -> "ScanMessage":
        expected = (len(self.channels), self.frame.rows, self.frame.cols)
        if [a.name for a in self.arrays] != ["channels"] or self.arrays[0].shape != expected:
            got = ", ".join(f"{a.name} {a.shape}" for a in self.arrays) or "none"
            raise ValueError(f"a scan carries one array 'channels' of shape {expected}, got {got}")
        if self.arrays[0].dtype != "<f4":
            raise ValueError(f"a scan's array must be '<f4', got {self.arrays[0].dtype!r}")
        if len({c.name for c in self.channels}) != len(self.channels):
            raise ValueError("two channels of a scan have the same name")
        return self


class LinesMessage(Message):
    """Lines of a frame that is still being recorded, for whoever watches; the scan that follows holds them all.

    Its one array, `lines`, has shape (channels, lines, cols): the lines from row `first_row` of `frame` on, in the orientation of
    `geometry`. Optional and best effort: not acknowledged, not repeated, not recorded, and never decided on.
    """

    type: Literal["lines"] = "lines"
    scan_id: Id
    frame: Frame
    channels: tuple[ChannelSpec, ...] = Field(min_length=1, max_length=32)
    first_row: int = Field(ge=0)

    @model_validator(mode="after")
    def _lies_in_its_frame(self) -> "LinesMessage":
        array = self.arrays[0] if len(self.arrays) == 1 else None
        if array is None or array.name != "lines" or array.dtype != "<f4" or len(array.shape) != 3:
            raise ValueError("lines come as one array 'lines' of shape (channels, lines, cols), '<f4'")
        channels, lines, cols = array.shape
        if channels != len(self.channels) or cols != self.frame.cols:
            raise ValueError(
                f"lines of {len(self.channels)} channels and {self.frame.cols} columns cannot have shape {array.shape}"
            )
        if not 1 <= lines <= self.frame.rows - self.first_row:
            raise ValueError(f"{lines} lines from row {self.first_row} on do not lie in a frame of {self.frame.rows} rows")
        return self


class MeasurementRequest(Wire):
    """One place to measure.

    Parameters
    ----------
    request_id
        Names this request; the result carries it back.
    x_m, y_m
        Position in metres in the frame of the instrument.
    row, col
        The key point's pixel in the scan.
    cluster, rank
        Which microstructure type it stands for, and its place among that type's requests (the first are its most typical ones).
    core_distance
        Mahalanobis distance from the cluster's centre.
    """

    request_id: Id
    x_m: Finite
    y_m: Finite
    row: int = Field(ge=0)
    col: int = Field(ge=0)
    cluster: int = Field(ge=0)
    rank: int = Field(ge=0)
    core_distance: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RecommendationMessage(Message):
    """Where to measure after scan `scan_id`, in this order; empty means "nothing to recommend", and `reason` says why.

    Parameters
    ----------
    seq
        Its number among all that this instrument is told to do.
    expires_at
        By the instrument's clock; what has not been begun by then is not measured. None: no end.
    bias_max_V
        Largest magnitude of the bias that the measurements may apply; an instrument whose measurements apply more skips them.
        None: the instrument's own limit.
    approved_by
        Who let the points pass: a person's name, or "policy".
    """

    type: Literal["recommendation"] = "recommendation"
    seq: int = Field(ge=1)
    decision_id: Id
    scan_id: Id
    requests: tuple[MeasurementRequest, ...] = Field(max_length=10_000)
    reason: Sentence
    expires_at: AwareDatetime | None = None
    bias_max_V: Positive | None = None
    approved_by: Name = "policy"


class ResultMessage(Message):
    """What came of one request.

    `ok` carries where it was measured, the arrays `bias_V` and `response` (one loop each, same length) when the measurement
    is a loop, and `parameters`, the numbers that the instrument draws from it (their names carry their units). `skipped` and
    `failed` carry a reason; in an `ok` result it may hold a remark for a person.
    """

    type: Literal["result"] = "result"
    request_id: Id
    status: Literal["ok", "skipped", "failed"]
    reason: Sentence = ""
    x_m: Finite | None = None
    y_m: Finite | None = None
    measured_at: AwareDatetime | None = None
    parameters: dict[Name, Finite] = Field(default_factory=dict, max_length=64)

    @model_validator(mode="after")
    def _says_what_its_status_needs(self) -> "ResultMessage":
        if self.status == "ok" and (self.x_m is None or self.y_m is None or self.measured_at is None):
            raise ValueError("a result that is 'ok' needs x_m, y_m and measured_at")
        if self.status != "ok" and not self.reason:
            raise ValueError(f"a result that is '{self.status}' needs a reason")
        if len({a.shape for a in self.arrays}) > 1:
            raise ValueError("all arrays of a result must have the same shape")
        return self


AnyMessage = Annotated[
    Hello
    | Welcome
    | Resend
    | SnapshotMessage
    | Ack
    | Refused
    | Heartbeat
    | Bye
    | ScanMessage
    | LinesMessage
    | StatusMessage
    | TroubleMessage
    | RecommendationMessage
    | CommandMessage
    | ResultMessage,
    Field(discriminator="type"),
]
ANY_MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)
