"""JSON that the dashboard receives: positions in metres, pixels as row and col, times with their zone."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits


class View(BaseModel):
    """Base of all views: immutable, and without undeclared fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ChannelView(View):
    """One channel of a scan; its values are sent separately, as raw float32.

    `low` and `high` are the values that the analysis maps to 0 and 1; `factor` converts values to `shown_unit`.
    """

    name: str
    unit: str
    low: float
    high: float
    factor: float
    shown_unit: str


class ScanView(View):
    """One finished scan. `main` is the index of the analysed channel in `channels`."""

    scan_id: str
    instrument_id: str
    sample_id: str
    seq: int
    at: datetime
    started_at: datetime | None
    frame: Frame
    channels: list[ChannelView]
    main: int


class ScanLine(View):
    """One row of the list of scans. `outcome_text` is the outcome of its decision in words; "" without a decision."""

    scan_id: str
    sample_id: str
    at: datetime
    decision_id: str | None
    outcome_text: str
    places: int
    measured: int
    closed: bool


class InstrumentView(View):
    """One instrument according to the history; newest scan first."""

    instrument_id: str
    model: str
    software: str
    limits: Limits
    connected: bool
    state: str
    state_reason: str
    scans: list[ScanLine]


class RunView(View):
    """The run. `seq` is the sequence number of the last event included; `listens_at` is the address for instruments."""

    run_id: str
    directory: str
    listens_at: str
    seq: int
    started_at: datetime | None
    versions: dict[str, str]
    reward: str
    instruments: list[InstrumentView]


class ClusterView(View):
    """One cluster: its 2-sigma ellipse in the plotted plane, and its number of points.

    `spread` holds the semi-axes and `angle_rad` the direction of the first.
    """

    cluster: int
    share: float
    points: int
    core_points: int
    centre: tuple[float, float]
    spread: tuple[float, float]
    angle_rad: float


class PointsView(View):
    """All key points, one list per column; `u`, `v` are the coordinates in the plotted plane."""

    row: list[int]
    col: list[int]
    x_m: list[float]
    y_m: list[float]
    u: list[float]
    v: list[float]
    label: list[int]
    core: list[int]
    distance: list[float]


class ConfigurationView(View):
    """One row of the candidate table. `left_out` is the reason why it could not be chosen, or ""."""

    name: str
    label: str
    window_px: int
    kind: int
    mean: float | None
    std: float | None
    seeds: int
    types: int
    sigmas_below_best: float | None
    in_tie_set: bool
    chosen: bool
    left_out: str


class SeedView(View):
    """The reward of one candidate, for the chart; None where a guard rejected it."""

    kind: int
    window_px: int
    value: float | None


class FrontView(View):
    """Mean criteria of each configuration. `front` holds the indices of the Pareto front, from left to right.

    `x_up` and `y_up` say whether larger values are better.
    """

    x_label: str
    y_label: str
    x_up: bool
    y_up: bool
    names: list[str]
    kinds: list[int]
    x: list[float]
    y: list[float]
    front: list[int]


class DecisionView(View):
    """One decision. `saw`, `believes` and `wants` describe it in sentences; `kind` in other views is an index into `kinds`.

    `frame` is that of the scan in the pixels of the key points.
    """

    decision_id: str
    scan_id: str
    instrument_id: str
    sample_id: str
    seq: int
    at: datetime
    seconds: float
    outcome: str
    explanation: str
    saw: list[str]
    believes: list[str]
    wants: list[str]
    warnings: list[str]
    channel: str
    unit: str
    reward: str
    window_px: int
    chosen: str
    reconstruction: str
    axes: tuple[str, str]
    clusters: list[ClusterView]
    frame: Frame
    points: PointsView
    kinds: list[str]
    board: list[ConfigurationView]
    seeds: list[SeedView]
    front: FrontView | None
    versions: dict[str, str]


class PlaceView(View):
    """One recommended point and its state."""

    request_id: str
    number: int
    cluster: int
    row: int
    col: int
    x_m: float
    y_m: float
    state: str
    reason: str
    parameters: dict[str, float]


class PlacesView(View):
    """The points of a decision. `open`: it waits for approval now; `approval`: who approved or rejected it, and why."""

    decision_id: str
    open: bool
    newest: bool
    state: str
    approval: str
    places: list[PlaceView]


class LoopView(View):
    """One measured loop."""

    request_id: str
    number: int
    cluster: int
    bias_V: list[float]
    response: list[float]


class LoopsView(View):
    """All loops of a decision, in the order of arrival."""

    decision_id: str
    response_label: str
    loops: list[LoopView]


class TimelineEntry(View):
    """One event in words. `tone` is "good", "bad", "person" (an operator's action) or "plain"."""

    seq: int
    at: datetime
    kind: str
    instrument_id: str
    title: str
    text: str
    tone: str


class ProgressView(View):
    """Progress of a search; a remaining time is None where it is unknown.

    `places` is the number of points that would be recommended if the search ended now.
    """

    stage: str
    done: int
    total: int
    share: float
    since_s: float
    about_left_s: float | None
    most_left_s: float | None
    places: int | None


class LiveView(View):
    """State that is shown but not recorded, by instrument; `partial` is the time of the last line of an unfinished scan."""

    run_id: str
    progress: dict[str, ProgressView]
    activity: dict[str, str]
    partial: dict[str, str]


class Edits(View):
    """Edits of an operator: ids of requests to drop, and new positions (x, y) in metres of others."""

    drop: tuple[str, ...] = ()
    move: dict[str, tuple[float, float]] = {}


class EditProblem(View):
    """Why a point may not be measured at its new position."""

    request_id: str
    sentence: str


class Checked(View):
    """Problems of an operator's edits; empty if the decision may be approved with them."""

    problems: list[EditProblem]
