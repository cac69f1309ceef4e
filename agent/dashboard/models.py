"""What the page is told, as plain JSON: positions in metres, pixels as row and col, times with their zone."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits


class View(BaseModel):
    """Base of all that the page is told: immutable, and nothing in it that is not said here."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ChannelView(View):
    """One channel of a scan; its values come as raw float32 numbers.

    `low` and `high` are what the analysis made 0 and 1; `factor` turns values into `shown_unit`.
    """

    name: str
    unit: str
    low: float
    high: float
    factor: float
    shown_unit: str


class ScanView(View):
    """One finished scan. `main` is the place of the analysed channel among the channels."""

    scan_id: str
    instrument_id: str
    sample_id: str
    seq: int
    at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    frame: Frame
    channels: list[ChannelView]
    main: int


class ScanLine(View):
    """One scan in a list: what came of it."""

    scan_id: str
    sample_id: str
    at: datetime
    decision_id: str | None
    outcome: str | None
    places: int
    measured: int
    closed: bool


class InstrumentView(View):
    """One instrument, as the history knows it; newest scan first."""

    instrument_id: str
    model: str
    software: str
    limits: Limits
    connected: bool
    state: str
    state_reason: str
    scans: list[ScanLine]


class RunView(View):
    """The run: `seq` is the number of the last event that this rests on, `listens_at` where instruments connect."""

    run_id: str
    directory: str
    listens_at: str
    seq: int
    started_at: datetime | None
    versions: dict[str, str]
    reward: str
    instruments: list[InstrumentView]


class ClusterView(View):
    """One type: its ellipse in the plane that is drawn (2 sigma), and how many points it has.

    `spread` holds the half axes and `angle_rad` the direction of the first.
    """

    cluster: int
    share: float
    points: int
    core_points: int
    centre: tuple[float, float]
    spread: tuple[float, float]
    angle_rad: float


class PointsView(View):
    """All key points, column by column; `u`, `v` are the latents in the plane that is drawn."""

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
    """One line of the candidate board."""

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
    """One trained model, for the charts: its reward, and its two criteria where it has both."""

    name: str
    kind: int
    window_px: int
    seed: int
    value: float | None
    criteria: tuple[float, float] | None


class FrontView(View):
    """Means of two criteria by configuration. `front` is in order from left to right; better is up and to the right."""

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
    """One decision. `saw`, `believes` and `wants` say it in words; `kinds` are the kinds of representation by number."""

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
    points: PointsView
    kinds: list[str]
    board: list[ConfigurationView]
    seeds: list[SeedView]
    front: FrontView | None
    versions: dict[str, str]


class PlaceView(View):
    """One recommended place and what has become of it."""

    request_id: str
    number: int
    cluster: int
    rank: int
    row: int
    col: int
    x_m: float
    y_m: float
    x_asked_m: float
    y_asked_m: float
    state: str
    reason: str
    parameters: dict[str, float]
    core_distance: float


class PlacesView(View):
    """The places of a decision. `open` says whether it waits for a person now, `approval` who said what."""

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
    """All loops of a decision, in the order in which they came."""

    decision_id: str
    response_label: str
    loops: list[LoopView]


class TimelineEntry(View):
    """One event in words. `tone`: "good", "bad", "person", "plain"."""

    seq: int
    at: datetime
    kind: str
    instrument_id: str
    subject: str
    title: str
    text: str
    tone: str


class ProgressView(View):
    """How far a search is; times left are None where nothing is known of them.

    `rungs` says what is complete, and `places` how many could be measured if it ended now.
    """

    stage: str
    done: int
    total: int
    share: float
    since_s: float
    about_left_s: float | None
    most_left_s: float | None
    rungs: list[str]
    places: int | None


class LiveView(View):
    """What is shown and not recorded, by instrument; `partial` says when the last line of a frame came."""

    run_id: str
    progress: dict[str, ProgressView]
    activity: dict[str, str]
    partial: dict[str, str]


class Edits(View):
    """What a person would change: ids of places to be dropped, and where others are to be moved, x and y in metres."""

    drop: tuple[str, ...] = ()
    move: dict[str, tuple[float, float]] = {}


class Problem(View):
    """Why a place may not be measured where it was moved."""

    request_id: str
    sentence: str


class Checked(View):
    """What is wrong with an edit; empty if it may be approved."""

    problems: list[Problem]
