"""All results on one sample, in columns: an object for each result would fill the memory in weeks."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from agent.schema.measurements import MeasuredOnSample

_OK, _SKIPPED = "ok", "skipped"
_TOUCHED = "touched"  # marks a place that may have been touched besides the one that was measured


class SampleResults:
    """Results in order of arrival; `add` appends one, nothing is ever changed."""

    def __init__(self) -> None:
        self._statuses: list[str] = [_OK, _SKIPPED]
        self._status = array("B")  # index in `_statuses`
        self._x_m, self._y_m, self._at_s = array("d"), array("d"), array("d")
        self._scan = array("q")  # sequence number of the event of the scan that a point was chosen from
        self._decision: list[str] = []
        self._name_sets: dict[tuple[str, ...], int] = {}
        self._name_set = array("i")  # index in `_name_sets`
        self._first = array("q")  # where the numbers of a result begin in `_numbers`
        self._numbers = array("d")
        self._judgements: list[str] = ["", _TOUCHED]
        self._judged = array("B")  # index in `_judgements`

    def __repr__(self) -> str:
        return f"SampleResults({vars(self)})"

    def add(
        self,
        status: str,
        xy_m: tuple[float, float],
        at_s: float,
        parameters: Mapping[str, object],
        scan_seq: int,
        decision_id: str,
        judged: str = "",
    ) -> None:
        """Append a result.

        Parameters
        ----------
        status
            "ok", "skipped" or "failed".
        xy_m
            Position (x, y) in metres.
        at_s
            Time of the measurement in POSIX seconds; NaN if unknown.
        parameters
            Numbers by name.
        scan_seq
            Sequence number of the event of the scan.
        decision_id
            Decision that the point belongs to.
        judged
            Why the agent does not use the result as evidence ("elsewhere", "unasked", "impossible"); empty if it may.
        """
        if judged not in self._judgements:
            self._judgements.append(judged)
        self._judged.append(self._judgements.index(judged))
        if status not in self._statuses:
            self._statuses.append(status)
        self._status.append(self._statuses.index(status))
        self._x_m.append(xy_m[0])
        self._y_m.append(xy_m[1])
        self._at_s.append(at_s)
        self._scan.append(scan_seq)
        self._decision.append(decision_id)
        self._name_set.append(self._name_sets.setdefault(tuple(parameters), len(self._name_sets)))
        self._first.append(len(self._numbers))
        self._numbers.extend(map(_number, parameters.values()))

    def add_touched(self, status: str, xy_m: tuple[float, float], at_s: float, scan_seq: int, decision_id: str) -> None:
        """Append a place that may have been touched as well: where a point was sent that was measured elsewhere.

        It counts as tried, and is no result. The parameters are those of `add`.
        """
        self.add(status, xy_m, at_s, {}, scan_seq, decision_id, _TOUCHED)

    def tried(self) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, " k"]]:
        """Positions in metres and POSIX times (NaN: unknown) of the points that were measured or tried."""
        went = np.flatnonzero(self._went())
        return _rows(self._xy(), went), _rows(_copy(self._at_s), went)

    def tried_for_others(self, scan_seq: int, decision_id: str) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, " k"], int]:
        """As `tried`, without the points of one decision; and how many of them were tried after its scan.

        Parameters
        ----------
        scan_seq
            Sequence number of the event of the decision's scan.
        decision_id
            The decision.
        """
        went = self._went()
        of_scan = np.flatnonzero(went & (_copy(self._scan) == scan_seq))
        own = [row for row in of_scan if self._decision[row] == decision_id]
        went[own] = False
        return self._xy()[went], _copy(self._at_s)[went], len(of_scan) - len(own)

    def usable(self) -> MeasuredOnSample:
        """The results that can be used together; the same as `MeasuredOnSample.of` finds in them one by one."""
        name_set, status, judged = _copy(self._name_set), _copy(self._status), _copy(self._judged)
        sizes = np.array([len(names) for names in self._name_sets] or [0])
        unjudged = judged == 0
        measured = (status == self._statuses.index(_OK)) & (sizes[name_set] > 0) & unjudged
        counts: Counter[str] = Counter()
        for names, number in zip(self._name_sets, np.bincount(name_set[measured], minlength=len(sizes)), strict=False):
            counts.update(dict.fromkeys(names, int(number)))
        total = int(measured.sum())
        common = tuple(sorted(name for name, count in counts.items() if 2 * count > total))
        complete = np.array([bool(common) and set(common) <= set(names) for names in self._name_sets] or [False])
        chosen = np.flatnonzero(measured & complete[name_set])
        xy, values = _rows(self._xy(), chosen), self._values(chosen, common)
        finite = np.isfinite(xy).all(axis=1) & np.isfinite(values).all(axis=1)
        left_out = {name: int(((status == i) & unjudged).sum()) for i, name in enumerate(self._statuses) if name != _OK}
        left_out |= {name: int((judged == i).sum()) for i, name in enumerate(self._judgements) if name not in ("", _TOUCHED)}
        left_out["without_parameters"] = int(((status == self._statuses.index(_OK)) & unjudged).sum()) - total
        left_out["lacking_a_parameter"] = total - len(chosen)
        left_out["not_finite"] = int((~finite).sum())
        counted = {reason: number for reason, number in left_out.items() if number}
        used = np.flatnonzero(finite)
        at_s = _rows(_rows(_copy(self._at_s), chosen), used)
        return MeasuredOnSample(_rows(xy, used), _rows(values, used), common, counted, at_s)

    def _values(self, rows: np.ndarray, names: tuple[str, ...]) -> Float[np.ndarray, "n p"]:
        numbers = _copy(self._numbers)
        if len(numbers) == len(rows) * len(names) and [known for known in self._name_sets if known] == [names]:
            return numbers.reshape(len(rows), len(names))
        first, name_set = _copy(self._first)[rows], _copy(self._name_set)[rows]
        values = np.empty((len(rows), len(names)))
        for known, index in self._name_sets.items():
            at = np.flatnonzero(name_set == index)
            if len(at):
                offsets = np.array([known.index(name) for name in names], dtype=np.int64)
                values[at] = numbers[first[at][:, None] + offsets]
        return values

    def _went(self) -> Bool[np.ndarray, " n"]:
        return np.asarray(_copy(self._status) != self._statuses.index(_SKIPPED))

    def _xy(self) -> Float[np.ndarray, "n 2"]:
        xy = np.empty((len(self._x_m), 2))
        xy[:, 0], xy[:, 1] = self._x_m, self._y_m
        return xy


def _copy(column: array) -> np.ndarray:
    """A column as an array of its own: a view would forbid to append to the column."""
    return np.array(column)


def _rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows in ascending order; the array itself if they are all of them."""
    return values if len(rows) == len(values) else values[rows]


def _number(value: object) -> float:
    """A number; NaN for what is none, as only an altered history can hold it."""
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # an integer beyond all floats
        return math.inf
