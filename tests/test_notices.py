"""The package's own warnings are sentences; what others warn of is shown as ever."""

import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from dreamer_lite import notices
from dreamer_lite.__main__ import main


@pytest.mark.filterwarnings("default")
def test_only_our_own_warnings_are_sentences(capsys):
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: said.append(f"as ever: {message}")
        notices.say_plainly(said.append)
        place = str(Path(notices.__file__).with_name("mirror.py"))
        warnings.warn_explicit("ours", UserWarning, place, 1)
        warnings.warn_explicit("old", DeprecationWarning, place, 1)
        warnings.warn_explicit("theirs", UserWarning, "elsewhere.py", 1)
    assert said == ["ours", "as ever: old", "as ever: theirs"]


class Undrawn(gymnasium.Env):
    """Ends after three steps; draws itself by a package that is missing."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode, self.count = render_mode, 0

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.zeros(2, np.float32), 1.0, self.count == 3, False, {}

    def render(self):
        raise gymnasium.error.DependencyNotInstalled("pygame is not installed, run `pip`")


@pytest.mark.filterwarnings("default:.* cannot be drawn:UserWarning")
def test_a_film_without_pictures_is_said_in_sentences(tmp_path, capsys, monkeypatch):
    gymnasium.register("Undrawn-v0", Undrawn)
    try:
        out = str(tmp_path / "film.mp4")
        status = main(["record", "--agent", "random", "--world", "gym/Undrawn-v0", "--out", out])
    finally:
        del gymnasium.registry["Undrawn-v0"]
    lines = capsys.readouterr().err.splitlines()
    assert status == 0 and len(lines) == 2, lines
    assert lines[0].startswith("dreamer-lite: gym/Undrawn-v0 cannot be drawn: pygame is not")
    assert lines[1] == "gym/Undrawn-v0 was not drawn: the film shows its observations."
