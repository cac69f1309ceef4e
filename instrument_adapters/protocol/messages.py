"""Messages of the wire protocol, version 2: all that an instrument and the agent may send to each other.

A message is one JSON header, validated by the models below, followed by the raw arrays that `arrays` announces
(see `codec`). The instrument sends `Hello`, `ScanMessage`, `ResultMessage`, `TroubleMessage`, `StatusMessage`, `LinesMessage`,
`Heartbeat` and `Bye`. The agent sends `Welcome`, `SnapshotMessage`, `RecommendationMessage`, `CommandMessage`, `Heartbeat` and
`Bye`. Both send `Resend` when a message is missing, and answer with `Ack` or `Refused`. A sender repeats a message until it is
answered, and a receiver acts once on each id, so a lost message or a lost answer does no harm. `LinesMessage` and
`StatusMessage` are best effort: they only show what an instrument is doing, and are neither acknowledged nor repeated.

The agent numbers the recommendations and commands for each instrument without gaps (`seq`). Its heartbeats carry the last
number, so that every lost message is noticed. The instrument then asks with `Resend`, and the agent answers with its present
state (`SnapshotMessage`) and repeats the messages that are still open; superseded ones are not repeated.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from instrument_adapters.bounds import Count, Distance, Expiry, Metres, Number, Pixel, Radius, Seconds, Sequence, Time, Volts
from instrument_adapters.geometry import Frame
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

__all__ = [
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
    """Limits of an instrument; a request outside them is refused, never clamped.

    Parameters
    ----------
    x_min_m, x_max_m, y_min_m, y_max_m
        Range of the stage in metres.
    bias_max_V
        Largest magnitude of the tip bias in volts.
    spacing_min_m
        Smallest distance in metres between two points measured after the same scan.
    points_max
        Largest number of points measured after one scan.
    dose_max, dose_radius_m
        Largest number of points measured within `dose_radius_m` metres of any place, over all scans of a sample.
    scan_age_max_s
        Largest age in seconds of the scan that a point was chosen from. Because of drift, points of an older scan are not
        measured, and a new scan is needed.
    """

    x_min_m: Metres = -45e-6
    x_max_m: Metres = 45e-6
    y_min_m: Metres = -45e-6
    y_max_m: Metres = 45e-6
    bias_max_V: Volts = 10.0
    spacing_min_m: Distance = 100e-9
    points_max: Count = 200
    dose_max: Count = 60
    dose_radius_m: Radius = 500e-9
    scan_age_max_s: Seconds = 7200.0


State = Literal["running", "paused", "stopped"]
"""What an instrument may do: everything; begin nothing new; after an emergency stop nothing at all, until `resume`."""


class Snapshot(Wire):
    """The agent's summary of its state for one instrument.

    Parameters
    ----------
    seq
        Sequence number of the last recommendation or command for this instrument; 0 if there was none.
    state, state_reason
        What the instrument may do, and who decided so and why ("Ada: lunch").
    newest_scan_id
        Newest scan of the instrument that the agent has recorded.
    stop_seq
        Sequence number of the last emergency stop; 0 if there was none. Points recommended before it are never measured.
    open_decision_id
        Decision whose recommendation has been sent, or is to be sent, and is not acknowledged.
    """

    seq: Count = 0
    state: State = "running"
    state_reason: Sentence = ""
    stop_seq: Count = 0
    newest_scan_id: Id | None = None
    open_decision_id: Id | None = None


class Hello(Message):
    """First message of an instrument: its name and its limits.

    `bias_V` is the largest magnitude of the bias that its measurements apply; None: unknown. `sent_at` is by the instrument's
    clock, and the agent gives every `expires_at` by the same clock.
    """

    type: Literal["hello"] = "hello"
    instrument_id: Id
    model: Name
    software: Name
    limits: Limits = Limits()
    bias_V: Volts | None = None


class Welcome(Message):
    """The agent's answer to `Hello`: the run that the instrument has joined, and a snapshot of its state."""

    type: Literal["welcome"] = "welcome"
    of: Id
    run_id: Id
    scans_recorded: Count
    snapshot: Snapshot = Snapshot()


class Resend(Message):
    """Request to repeat all unanswered messages. `after`: the last sequence number without a gap before it."""

    type: Literal["resend"] = "resend"
    after: Count = 0


class SnapshotMessage(Message):
    """The agent's answer to `Resend`; the messages that are still open follow it."""

    type: Literal["snapshot"] = "snapshot"
    of: Id
    snapshot: Snapshot


class Ack(Message):
    """Message `of` is on disk. `duplicate`: it was there before; `first_sent_at`: `sent_at` of the scan recorded then."""

    type: Literal["ack"] = "ack"
    of: Id
    duplicate: bool = False
    first_sent_at: Time | None = None


class Refused(Message):
    """Message `of` was not accepted: `code` for programs, `reason` for people. Repeating it unchanged has no effect."""

    type: Literal["refused"] = "refused"
    of: Id | None
    code: Name
    reason: Sentence


class Heartbeat(Message):
    """Sign of life.

    `seq`: from the agent, the sequence number of the last recommendation or command for this instrument. `unanswered`: from an
    instrument, the number of its unanswered messages.
    """

    type: Literal["heartbeat"] = "heartbeat"
    seq: Count = 0
    unanswered: Count = 0


class CommandMessage(Message):
    """An operator's command to this instrument; acknowledged when it has been obeyed.

    `pause`: finish the scan or point in progress and begin nothing new. `resume`: continue. `stop`: abort the scan or point in
    progress, leave the instrument in a safe state, and do nothing until `resume`.
    """

    type: Literal["command"] = "command"
    seq: Sequence
    command: Literal["pause", "resume", "stop"]
    by: Name
    reason: Sentence = ""


class StatusMessage(Message):
    """What an instrument is doing, for display only: best effort, and not recorded."""

    type: Literal["status"] = "status"
    activity: Literal["waiting", "scanning", "measuring", "paused", "stopped"]
    scan_id: Id | None = None
    request_id: Id | None = None
    points_left: Count = 0
    sentence: Sentence = ""


class TroubleMessage(Message):
    """A fault at an instrument that neither a scan nor a result shows. The agent records it and does not act on it.

    The one exception is the report of a pause or stop that the agent may not know of; see `instrument_adapters.protocol.holds`.
    """

    type: Literal["trouble"] = "trouble"
    event: Id
    sentence: Annotated[Sentence, Field(min_length=1)]


class Bye(Message):
    """Clean shutdown of the sender: nothing is lost, and no message follows."""

    type: Literal["bye"] = "bye"
    reason: Sentence = ""


class ChannelSpec(Wire):
    """Name and unit of one channel of a scan."""

    name: Name
    unit: Unit = ""


class ScanMessage(Message):
    """A finished scan. Its only array, `channels`, has shape (channels, rows, cols), in the orientation of `geometry`."""

    type: Literal["scan"] = "scan"
    scan_id: Id
    sample_id: Id
    frame: Frame
    channels: tuple[ChannelSpec, ...] = Field(min_length=1, max_length=32)
    started_at: Time | None = None
    finished_at: Time | None = None
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
    """Lines of a scan that is still being recorded, for display only; the scan that follows holds all of them.

    Its only array, `lines`, has shape (channels, lines, cols): the lines from row `first_row` of `frame` on, in the orientation
    of `geometry`. Optional and best effort: not recorded, and not used in any decision.
    """

    type: Literal["lines"] = "lines"
    scan_id: Id
    frame: Frame
    channels: tuple[ChannelSpec, ...] = Field(min_length=1, max_length=32)
    first_row: Pixel

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
    """One point to measure.

    Parameters
    ----------
    request_id
        Unique id of the request, repeated in its result.
    x_m, y_m
        Position in metres in the coordinates of the instrument.
    row, col
        Pixel of the key point in the scan.
    cluster, rank
        Type of microstructure that the point represents, and its rank among the requests of that type, the most typical first.
    core_distance
        Mahalanobis distance from the centre of the cluster.
    """

    request_id: Id
    x_m: Metres
    y_m: Metres
    row: Pixel
    col: Pixel
    cluster: Count
    rank: Count
    core_distance: Annotated[Number, Field(ge=0)]


class RecommendationMessage(Message):
    """Points to measure after scan `scan_id`, in this order; empty if nothing is recommended, which `reason` explains.

    Parameters
    ----------
    seq
        Sequence number among the recommendations and commands for this instrument.
    expires_at
        Time by the instrument's clock from which on no further point is begun; None: the recommendation does not expire.
    bias_max_V
        Largest magnitude in volts of the bias that the measurements may apply; an instrument that applies more skips the points.
        None: the instrument's own limit.
    approved_by
        Who approved the points: the name of an operator, or "policy".
    """

    type: Literal["recommendation"] = "recommendation"
    seq: Sequence
    decision_id: Id
    scan_id: Id
    requests: tuple[MeasurementRequest, ...] = Field(max_length=10_000)
    reason: Sentence
    expires_at: Expiry | None = None
    bias_max_V: Volts | None = None
    approved_by: Name = "policy"


class ResultMessage(Message):
    """The result of one request.

    `sent_at` is by the instrument's clock, as `measured_at`, which cannot be later.

    An `ok` result holds the measured position, for a loop the arrays `bias_V` and `response` of equal length, and `parameters`,
    numbers that the instrument computes from the curves (with units in their names). `skipped` and `failed` need a reason; in an
    `ok` result, `reason` may hold a remark for people.
    """

    type: Literal["result"] = "result"
    request_id: Id
    status: Literal["ok", "skipped", "failed"]
    reason: Sentence = ""
    x_m: Metres | None = None
    y_m: Metres | None = None
    measured_at: Time | None = None
    parameters: dict[Name, Number] = Field(default_factory=dict, max_length=64)

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
