"""The ring of a replay buffer as a film: what is written, where, and which windows are drawn."""

import numpy as np
import pytest

from dreamer_lite.show import rings

L = 12


def moments(added: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(numbers, episodes, is_first) of a ring of 12 places after each time step."""
    number = np.full((added, L), -1)
    for i in range(added):
        number[i:, i % L] = i
    return number, number // 4, (number % 4 == 0)


def test_each_time_step_changes_the_film_at_its_own_place():
    windows = np.full((15, 4, 1), -1)
    frames = rings.film(*moments(15), windows)
    assert frames.shape == (15, 440, 440, 3) and frames.dtype == np.uint8
    for i in (6, 14):  # the second goes over the oldest
        x, y = rings.at(i % L, 360 / L, 0.78)  # below the number
        pixel = (
            slice(*(round(220 - y * 220 / 1.3) + d for d in (-1, 2))),
            round(220 + x * 220 / 1.3),
        )
        assert (frames[i][pixel] != frames[i - 1][pixel]).any()
        other = frames[i - 1] != frames[i]
        assert other.any(-1).mean() < 0.1, "the rest of the ring stands still"


def test_a_window_is_drawn_where_its_places_are():
    number = moments(15)
    nothing = np.full((15, 4, 1), -1)
    window = nothing.copy()
    window[-1, :, 0] = np.arange(4)
    here = (rings.film(*number, window)[-1] != rings.film(*number, nothing)[-1]).any(-1)
    x, y = rings.at(2, 360 / L, 0.64)
    assert here[round(220 - y * 220 / 1.3), round(220 + x * 220 / 1.3)]
    rows, columns = np.nonzero(here)
    assert columns.min() >= 215 and rows.max() <= 330, "places 0 to 3 are at the right"


def test_too_many_windows_are_refused():
    with pytest.raises(ValueError, match="At most 4 windows can be drawn, not 5"):
        rings.film(*moments(2), np.zeros((2, 4, 5), int))
