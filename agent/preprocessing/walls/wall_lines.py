"""Lines of walls between junctions, and the key points that lie on the same line."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from rewards.base import WallGraph

_SPUR_PX = 4.0  # a branch so short is a barb of the skeleton, no wall


def wall_graph(pixels_rc: Int[np.ndarray, "n 2"], points_rc: Int[np.ndarray, "m 2"], reach_px: float = 40.0) -> WallGraph:
    """Pairs of key points on the same wall, with their distance along it.

    Walls are cut at junctions, where one type may end and another begin.

    Parameters
    ----------
    pixels_rc
        Shape (n, 2): pixels of the skeleton of the walls, (row, col), each once.
    points_rc
        Shape (m, 2): key points; one that is not a pixel of the skeleton belongs to the pixel beside it, if there is one.
    reach_px
        Largest distance along the wall, in pixels.
    """
    line, distance = wall_lines(pixels_rc)
    if not len(pixels_rc) or not len(points_rc):
        return WallGraph.empty()
    apart, nearest = cKDTree(pixels_rc).query(points_rc, distance_upper_bound=1.5)
    on_wall = np.flatnonzero(np.isfinite(apart))
    on_wall = on_wall[line[nearest[on_wall]] >= 0]
    own_line, own_distance = line[nearest[on_wall]], distance[nearest[on_wall]]
    order = np.lexsort((own_distance, own_line))
    rows, own_line, own_distance = on_wall[order], own_line[order], own_distance[order]
    pairs, along = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
    for ahead in range(1, len(rows)):
        gap = own_distance[ahead:] - own_distance[:-ahead]
        near = (own_line[ahead:] == own_line[:-ahead]) & (gap <= reach_px)
        if not near.any():
            break
        pairs.append(np.column_stack([rows[:-ahead][near], rows[ahead:][near]]))
        along.append(gap[near])
    joined = np.concatenate(pairs)
    return WallGraph(np.sort(joined, axis=1), np.concatenate(along))


def wall_lines(pixels_rc: Int[np.ndarray, "n 2"]) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The line that each pixel of a skeleton belongs to, and its distance from the beginning of the line.

    Parameters
    ----------
    pixels_rc
        Shape (n, 2): pixels of the skeleton, each once.

    Returns
    -------
    Number of the line, -1 for pixels at junctions and on barbs; and distance along the line in pixels, from one of its ends, or
    from its first pixel if the line is closed.
    """
    links = _links(pixels_rc)
    lines = _follow(pixels_rc, links)
    if lines.barb.any():  # without its barbs, a junction may be none
        links = links[~lines.barb[links].any(axis=1)]
        lines = _follow(pixels_rc, links)
    return lines.line, lines.distance


@dataclass(frozen=True, eq=False)
class _Lines:
    """Line of each pixel, or -1; distance along it; and whether the pixel is on a barb."""

    line: Int[np.ndarray, " n"]
    distance: Float[np.ndarray, " n"]
    barb: Bool[np.ndarray, " n"]


def _links(pixels_rc: np.ndarray) -> np.ndarray:
    """Shape (m, 2): neighbouring pixels; diagonal ones only if no third pixel beside both joins them."""
    at = pixels_rc - pixels_rc.min(axis=0, initial=0) + 1
    index = np.full(at.max(axis=0, initial=0) + 2, -1, dtype=np.int64)
    index[tuple(at.T)] = np.arange(len(at))
    rows, cols = at.T
    out = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = index[rows + down, cols + right]
        joined = other >= 0
        if down and right:
            joined &= (index[rows + down, cols] < 0) & (index[rows, cols + right] < 0)
        out.append(np.column_stack([np.flatnonzero(joined), other[joined]]))
    return np.concatenate(out)


def _follow(pixels_rc: np.ndarray, links: np.ndarray) -> _Lines:
    n = len(pixels_rc)
    junction = np.bincount(links.ravel(), minlength=n) > 2
    cut = junction[links].any(axis=1)
    at_junction = np.zeros(n, dtype=bool)
    at_junction[links[cut].ravel()] = True
    free = links[~cut]
    line = connected_components(_symmetric(free, np.ones(len(free)), n), directed=False)[1]
    ends = np.bincount(free.ravel(), minlength=n) < 2
    closed = np.flatnonzero(np.bincount(line, weights=ends) == 0)
    opened = np.flatnonzero(np.isin(line[free[:, 0]], closed))
    opened = opened[np.unique(line[free[opened, 0]], return_index=True)[1]]
    ends[free[opened].ravel()] = True
    free = np.delete(free, opened, axis=0)
    start = np.flatnonzero(ends)
    start = start[np.unique(line[start], return_index=True)[1]]  # one end of each line, in the order of the lines
    length = np.hypot(*(pixels_rc[free[:, 0]] - pixels_rc[free[:, 1]]).T)
    distance = dijkstra(_symmetric(free, length, n), directed=False, indices=start, min_only=True) if n else np.zeros(0)
    last = np.lexsort((distance, line))[np.cumsum(np.bincount(line, minlength=len(start))) - 1] if n else start
    short = distance[last] < _SPUR_PX
    barb = (short & (at_junction[start] != at_junction[last]))[line] & ~junction
    return _Lines(np.where(junction, -1, line), distance, barb)


def _symmetric(links: np.ndarray, values: np.ndarray, n: int) -> csr_matrix:
    return csr_matrix((np.tile(values, 2), (links.T.ravel(), links[:, ::-1].T.ravel())), shape=(n, n))
