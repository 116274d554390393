"""A replay buffer as a ring: places, write head, sampled windows."""

from collections.abc import Iterator

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Wedge

EPISODES = ("#56B4E9", "#C4E2F5")  # alternating, so that the borders are seen
EMPTY, INK = "#EFEFEF", "#1a1d29"
WINDOWS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00")
INCHES, DPI = 4.4, 100


def film(
    numbers: np.ndarray, episodes: np.ndarray, is_first: np.ndarray, windows: np.ndarray
) -> np.ndarray:
    """Frames (n, 440, 440, 3) uint8 of a ring of L places that is being written.

    Place 0 is at the top, and places go clockwise. Time steps of an episode have one colour, the
    number of its first one is bold. The triangle is the write head, at the place that is written
    next. Each window is an arc of its own inside the ring; its first place is pale.

    Args:
      numbers: (n, L) the number of the time step at each place, -1 where there is none yet.
      episodes: (n, L) the number of its episode.
      is_first: (n, L) whether it begins that episode.
      windows: (n, T+1, B) the places of B windows, at most 4; negative: not drawn.

    Raises:
      ValueError: more than 4 windows.
    """
    if windows.shape[2] > len(WINDOWS):
        raise ValueError(f"At most {len(WINDOWS)} windows can be drawn, not {windows.shape[2]}.")
    return np.stack(list(frames(numbers, episodes, is_first, windows)))


def frames(
    numbers: np.ndarray, episodes: np.ndarray, is_first: np.ndarray, windows: np.ndarray
) -> Iterator[np.ndarray]:
    """The frames of `film` one by one; the shapes are drawn once, and changed for each frame."""
    capacity = numbers.shape[1]
    step = 360 / capacity
    figure = Figure(figsize=(INCHES, INCHES), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    axes.axis("off")
    cells = [Wedge((0, 0), 1.0, *span(i, step), width=0.26) for i in range(capacity)]
    words = [
        axes.text(*at(i, step, 0.87), "", ha="center", va="center", size=9, color=INK, zorder=5)
        for i in range(capacity)
    ]
    arcs = [
        [
            Wedge((0, 0), 0.69 - 0.13 * which, 0, step, width=0.1, facecolor=WINDOWS[which],
                  edgecolor="white", alpha=1 if i else 0.4)
            for i in range(windows.shape[1])
        ]
        for which in range(windows.shape[2])
    ]  # fmt: skip
    for patch in (*cells, *(wedge for arc in arcs for wedge in arc)):
        axes.add_patch(patch)
    (head,) = axes.plot(0, 0, markersize=15, color=INK)
    middle = axes.text(0, 0, "", ha="center", va="center", size=10, color=INK)
    for number, episode, first, window in zip(numbers, episodes, is_first, windows):
        newest = number.max()
        for i, wedge in enumerate(cells):
            fresh = number[i] == newest >= 0
            wedge.set_facecolor(EPISODES[episode[i] % 2] if number[i] >= 0 else EMPTY)
            wedge.set_edgecolor(INK if fresh else "white")
            wedge.set(linewidth=2.5 if fresh else 1, zorder=4 if fresh else 2)
            words[i].set(text=str(number[i]) if number[i] >= 0 else "",
                         weight="bold" if first[i] else "normal")  # fmt: skip
        for places, arc in zip(window.T, arcs):
            for place, wedge in zip(places, arc):
                wedge.set_visible(bool(place >= 0))
                start, end = span(place, step)
                wedge.set(theta1=start, theta2=end)
        next_place = (newest + 1) % capacity
        head.set_data(*([x] for x in at(next_place, step, 1.09)))
        head.set_marker((3, 0, 180 - (next_place + 0.5) * step))
        kept = number[number >= 0]
        middle.set_text(f"{newest + 1} added\nkept: {kept.min()} to {newest}" if len(kept) else "")
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def at(place: float, step: float, radius: float) -> tuple[float, float]:
    """The middle of a place of `step` degrees, at a radius."""
    angle = np.deg2rad(90 - (place + 0.5) * step)
    return radius * np.cos(angle), radius * np.sin(angle)


def span(place: int, step: float) -> tuple[float, float]:
    """From where to where a place goes, in degrees, counter-clockwise."""
    return 90 - (place + 1) * step, 90 - place * step
