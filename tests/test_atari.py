"""The Atari adapter beside one emulator that is stepped by hand, and its twin at full size."""

import dataclasses
import importlib.util

import numpy as np
import pytest

from dreamer_lite import worlds
from dreamer_lite.worlds import Space, WorldError, hosted

if importlib.util.find_spec("ale_py") is None:
    pytest.skip("ale-py is not installed", allow_module_level=True)

import ale_py
from ale_py import roms

from dreamer_lite.worlds import atari

FIRE = 1


def shares(small, large):
    """How much of each of `large` pixels lies in each of `small` cells; rows sum to 1."""
    edges = np.arange(small + 1) * large / small
    low = np.maximum(edges[:-1, None], np.arange(large))
    high = np.minimum(edges[1:, None], np.arange(large) + 1)
    return np.maximum(high - low, 0) * small / large


def shrink(screen, side):
    """Average by area of (h, w, c), exactly, as float."""
    rows, columns = (shares(side, n) for n in screen.shape[:2])
    by_rows = np.tensordot(rows, screen.astype(float), 1)  # (side, w, c)
    return np.moveaxis(np.tensordot(columns, by_rows, (1, 1)), 0, 1)


class ByHand:
    """One emulator, each frame asked for alone."""

    def __init__(self, world, seed):
        self.world = world
        self.ale = ale_py.ALEInterface()
        self.ale.setInt("random_seed", seed)
        self.ale.setFloat("repeat_action_probability", world.sticky)
        self.ale.loadROM(roms.get_rom_path(world.game))
        self.actions = (
            self.ale.getLegalActionSet() if world.every_action else self.ale.getMinimalActionSet()
        )

    def look(self):
        return self.ale.getScreenRGB()

    def reset(self, no_ops):
        """The number of no-ops is the emulator's die, given; it is checked to be in range."""
        assert 0 <= no_ops <= 30
        self.ale.reset_game()
        for _ in range(no_ops):
            self.ale.act(ale_py.Action.NOOP)
        self.buffers, self.time = [self.look(), self.look()], 0
        return self.buffers[0], 0.0, (True, False, False)

    def step(self, action):
        reward, over = 0.0, False
        for frame in range(4):
            reward += self.ale.act(self.actions[action])
            over = self.ale.game_over()
            if over:
                break  # the screen of this frame is not looked at any more
            if frame >= 2:
                self.buffers[frame - 2] = self.look()
        self.time += 4  # since the no-ops
        cut = self.time >= self.world.time_limit
        return np.max(self.buffers, 0), reward, (False, over or cut, over)


def no_ops(stepper):
    """Frames played at a reset, from the emulator's own count."""
    seen = []
    step, reset = stepper.games.step, stepper.games.reset

    def spy(function):
        def call(*args, **kwargs):
            answer = function(*args, **kwargs)
            seen[:] = answer[-1]["episode_frame_number"]
            return answer

        return call

    stepper.games.step, stepper.games.reset = spy(step), spy(reset)
    return seen


@pytest.mark.parametrize("name", ["atari/breakout", "atari/breakout@200m", "atari/pong"])
def test_rows_and_twin_equal_emulators_stepped_by_hand(name):
    """Screens, rewards and flags of two worlds; resets with no-ops, sticky actions, time limits."""
    world = worlds.make(name)
    if name == "atari/pong":  # its games are long: cut them
        world = dataclasses.replace(world, time_limit=400)
    stepper = world.start(2, 7)
    frames = no_ops(stepper)
    hands = [ByHand(world, seed) for seed in hosted.seeds(7, 2)]
    rng = np.random.default_rng(0)
    row = stepper.reset()
    want = [hand.reset(n) for hand, n in zip(hands, frames)]
    starts, ends, scored = set(frames), 0, 0.0
    for t in range(300):
        for i, (_, reward, flags) in enumerate(want):
            assert (row.is_first[i], row.is_last[i], row.is_terminal[i]) == flags
            assert row.reward[i] == reward
            ends += flags[1]
            scored += abs(reward)
        if t % 7 == 0 or row.is_last.any() or row.is_first.any():
            twin = stepper.frames()
            for i, (screen, _, (_, last, terminal)) in enumerate(want):
                if terminal or not last:  # ale-py mixes older screens into that of a game it cuts
                    np.testing.assert_array_equal(twin[i], screen)
                if world.obs_space["image"].shape[-1] == 3:
                    assert abs(shrink(twin[i], 64) - row.obs["image"][i]).max() <= 0.5 + 1e-6
        action = rng.integers(world.action_space.classes, size=2).astype(np.int32)
        action[rng.random(2) < 0.2] = FIRE
        before, row = row, stepper.step(action)
        want = []
        for i, hand in enumerate(hands):
            if before.is_last[i]:
                want.append(hand.reset(frames[i]))
                starts.add(frames[i])
            else:
                want.append(hand.step(action[i]))
    assert ends >= 3 and scored > 0 and len(starts) > 2
    stepper.close()


def test_grey_is_the_emulators_grey_by_area():
    """ITU weights of the colour, up to the rounding of the palette."""
    world = worlds.make("atari/pong@200m")
    stepper = world.start(1, 0)
    row = stepper.reset()
    grey = stepper.frames()[0] @ np.array([0.299, 0.587, 0.114])
    assert row.obs["image"].shape == (1, 96, 96, 1) and row.obs["image"].dtype == np.uint8
    assert abs(shrink(grey[..., None], 96) - row.obs["image"][0]).max() <= 1.5
    stepper.close()


@pytest.mark.parametrize("name", ["atari/pong@200m"])
def test_a_late_twin_shows_what_an_early_one_does(name):
    world, rng = worlds.make(name), np.random.default_rng(1)
    early, late = world.start(2, 3), world.start(2, 3)
    early.reset(), late.reset()
    early.frames()
    for _ in range(100):
        action = rng.integers(world.action_space.classes, size=2)
        rows = early.step(action), late.step(action)
        np.testing.assert_array_equal(rows[0].obs["image"], rows[1].obs["image"])
    assert late.twin is None and len(late.played) == 200
    np.testing.assert_array_equal(early.frames(), late.frames())
    assert early.frames().shape == (2, 210, 160, 3)
    early.step(action), late.step(action)
    np.testing.assert_array_equal(early.frames(), late.frames())
    early.close(), late.close()


def test_reset_starts_all_over():
    stepper = worlds.make("atari/breakout").start(2, 3)
    first, seen = stepper.reset(), stepper.frames()
    for _ in range(10):
        stepper.step(np.array([FIRE, 2]))
    again = stepper.reset()
    np.testing.assert_array_equal(first.obs["image"], again.obs["image"])
    np.testing.assert_array_equal(seen, stepper.frames())
    stepper.close()


def test_protocols():
    short, long = worlds.make("atari/pong"), worlds.make("atari/pong@200m")
    assert worlds.is_hosted(short) and short.repeat == long.repeat == 4
    assert short.obs_space == {"image": Space((64, 64, 3), "uint8")}
    assert long.obs_space == {"image": Space((96, 96, 1), "uint8")}
    assert (short.sticky, long.sticky) == (0, 0.25)
    assert short.time_limit == long.time_limit == 108_000 and short.no_ops == 30
    assert short.action_space == Space((), "int32", classes=6)
    assert long.action_space.classes == len(long.action_names) == 18
    assert long.action_names[2:7] == ("up", "right", "left", "down", "up right")
    assert long.action_names[-1] == "down left fire"
    assert worlds.make("atari/breakout").action_names == ("noop", "fire", "right", "left")
    assert len({short, worlds.make("atari/pong"), long}) == 2


def test_games_start():
    games = roms.get_all_rom_ids()
    assert len(games) > 100
    for game in sorted(set(games) - atari.TWO_PLAYERS)[::27]:
        world = worlds.make(f"atari/{game}")
        stepper = world.start(1, 0)
        stepper.reset()
        assert stepper.step(np.array([world.action_space.classes - 1])).obs["image"].any()
        stepper.close()


def test_render_is_the_image_and_grey_as_grey():
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(worlds.make("atari/pong").render({"image": image}), image)
    grey = worlds.make("atari/pong@200m").render({"image": image[..., :1] / np.float32(255)})
    np.testing.assert_array_equal(grey, np.repeat(image[..., :1], 3, -1))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("atari/pnog", "did you mean atari/pong"),
        ("atari/Breakout", "did you mean atari/breakout"),
        ("atari/MsPacman", "did you mean atari/ms_pacman"),
        ("atari/pong@100k", "atari/GAME@200m"),
        ("atari/joust", "two players"),
        ("atari/", "Names are atari/GAME"),
        ("atari/pong@", "Names are atari/GAME"),
    ],
)
def test_unknown_games_are_one_sentence(name, words):
    with pytest.raises(ValueError) as caught:
        worlds.make(name)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("action", [[4], [-1], [0, 0]])
def test_wrong_actions_are_one_sentence(action):
    stepper = worlds.make("atari/breakout").start(1, 0)
    stepper.reset()
    with pytest.raises(WorldError, match=r"^atari/breakout: actions [^\n]*$"):
        stepper.step(np.array(action))
    stepper.close()


def test_what_the_emulator_gives_is_checked():
    stepper = worlds.make("atari/breakout").start(1, 0)
    stepper.reset()
    stepper.games.step = lambda action: 1 / 0
    with pytest.raises(WorldError, match="atari/breakout: step raised ZeroDivisionError"):
        stepper.step(np.array([0]))
    atari_row = np.zeros((1, 1, 64, 64, 3)), np.ones(1), np.zeros(1, bool), np.zeros(1, bool), {}
    stepper.games.step = lambda action: atari_row
    with pytest.raises(WorldError, match="observation 'image' is float64"):
        stepper.step(np.array([0]))


def test_names_become_snake_case():
    for name in ("MsPacman", "ms-pacman", "Ms Pacman", "ms_pacman"):
        assert atari.snake_case(name) == "ms_pacman"
