"""Environments of other people: what they declare, give, take, draw, print and raise.

Tables of many tiny environments, most of which are only made and stepped; nothing is trained here
but one board, which is slow.
"""

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from dreamer_lite import __main__ as commands
from dreamer_lite import presets, worlds
from dreamer_lite.agent import learner, networks
from dreamer_lite.evaluation import rollouts
from dreamer_lite.worlds import Space, WorldError, checks, gym, gym_actions, gym_spaces

U8 = np.uint8
INF = np.inf
GUIDE = Path(__file__).resolve().parents[1] / "docs" / "environments.md"


def box(shape, low=-INF, high=INF, dtype=np.float32):
    return spaces.Box(low, high, shape, dtype)


class Tiny(gymnasium.Env):
    """Three steps; `give` makes its observations, and every action must lie in its space."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, observation=None, action=None, give=None, frame=None, render_mode=None):
        self.observation_space = observation or box((2,), -1, 1)
        self.action_space = action or spaces.Discrete(2)
        self.give = give or self.observation_space.sample
        self.frame = frame
        self.answer = (1.0, None, False)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.give(), {}

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is none of {self.action_space}"
        self.time += 1
        reward, terminated, truncated = self.answer
        over = self.time == 3 if terminated is None else terminated
        return self.give(), reward, over, truncated, {}

    def render(self):
        return self.frame(self)


@pytest.fixture
def register():
    """Registers an environment as `Tiny-v0`, for one test; returns its name as a world."""
    known = set(gymnasium.registry)

    def make(entry=Tiny, id="Tiny-v0", **kwargs):
        gymnasium.registry.pop(id, None)
        gymnasium.register(id, entry_point=lambda **more: entry(**kwargs, **more))
        return f"gym/{id}"

    yield make
    for id in set(gymnasium.registry) - known:
        del gymnasium.registry[id]


def play(name, steps=3):
    """A few rows of one environment, the last of the first episode at the end."""
    world = worlds.make(name)
    stepper = world.start(1, 0)
    rows = [stepper.reset()]
    action = world.action_space
    rng = np.random.default_rng(0)
    for _ in range(steps):
        if action.is_discrete:
            rows.append(stepper.step(rng.integers(action.classes, size=1)))
        else:
            rows.append(stepper.step(rng.uniform(-1.5, 1.5, (1, *action.shape)).astype("f")))
    stepper.close()
    return rows


# Actions


def random_action_space(rng):
    """Any space of actions that is supported, odd ones often."""
    kind = rng.integers(6)
    if kind == 0:
        return spaces.Discrete(int(rng.integers(1, 9)), start=int(rng.integers(-5, 6)))
    if kind == 1:
        shape = (2,) if rng.integers(2) else (1, 3)
        nvec = rng.integers(1, 5, shape)
        return spaces.MultiDiscrete(nvec, dtype=rng.choice([np.int32, np.int64]), start=nvec - 3)
    if kind == 2:
        return spaces.MultiBinary(int(rng.integers(1, 7)))
    shape = [(1,), (3,), (2, 2), ()][rng.integers(4)]
    if kind == 3:
        dtype = rng.choice([np.int8, U8, np.int16, np.int32, np.int64, np.uint32])
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        low, high = sorted(int(x) for x in rng.integers(max(least, -300), min(most, 300), 2))
        ends = [(low, high), (least, most), (low, most), (least, high)][rng.integers(4)]
        return spaces.Box(dtype(ends[0]), dtype(ends[1]), shape, dtype)
    dtype = rng.choice([np.float16, np.float32, np.float64])
    scale = 10.0 ** rng.integers(-6, 4)
    a, b = rng.normal(size=(2, *shape)) * scale
    low = np.asarray(np.minimum(a, b), dtype)
    high = np.asarray(np.maximum(a, b), dtype)
    for side in (low, high):
        side[rng.random(shape) < 0.2] = 0
    low, high = np.array(np.minimum(low, high)), np.array(np.maximum(low, high))
    most = np.finfo(dtype).max
    low[rng.random(shape) < 0.2] = rng.choice([-INF, -most])
    high[rng.random(shape) < 0.2] = rng.choice([INF, most])
    return spaces.Box(low, high, dtype=dtype)


@pytest.mark.filterwarnings("ignore")
def test_every_action_lies_in_its_space():
    rng = np.random.default_rng(0)
    for _ in range(600):
        space = random_action_space(rng)
        ours = gym_actions.agent_space("gym/X", space)
        change = gym_actions.action_map(space)
        if ours.is_discrete:
            actions = list(range(ours.classes))
            assert len({str(change(np.int32(x))) for x in actions}) == ours.classes
        else:
            ends = [np.full(ours.shape, x, "f") for x in (-1, 1, 0, -9, 9, 1 - 1e-7)]
            actions = ends + list(rng.normal(size=(5, *ours.shape)).astype("f"))
        for action in actions:
            assert space.contains(change(np.asarray(action))), (space, space.dtype, action)
        if not ours.is_discrete and np.dtype(space.dtype).kind == "f":
            bounded = (np.abs(space.low) < 1e4) & (np.abs(space.high) < 1e4)
            np.testing.assert_allclose(change(ends[0])[bounded], space.low[bounded])
            np.testing.assert_allclose(change(ends[1])[bounded], space.high[bounded])


@pytest.mark.parametrize(
    "action",
    [
        box((2,), 5, INF),
        box((2,), -INF, -5),
        box((1,), -3e38, 3e38),
        box((1,), 1e10, 2e10),
        box((2, 2), 0, 255, U8),
        box((1,), -3, 4, np.int64),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([[2, 3]], start=[[1, -4]]),
        spaces.MultiBinary((2, 2)),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_environments_get_actions_of_their_space(action, register):
    play(register(action=action), steps=9)


def test_each_integer_gets_an_equal_part():
    change = gym_actions.action_map(box((1,), -1, 2, np.int8))
    found = [int(change(np.array([x], "f"))[0]) for x in np.linspace(-1, 1, 4001)]
    assert np.bincount(np.array(found) + 1).tolist() == [1000, 1000, 1000, 1001]


def test_open_bounds_are_said_and_can_be_named(register):
    name = register(action=box((2,), 0, INF))
    with pytest.warns(UserWarning, match="action 0 of 2 may lie between 0 and inf; the agent cho"):
        worlds.make(name)
    with warnings.catch_warnings(action="error"):
        world = worlds.make(f"{name}@action=0..50")
    change = gym_actions.action_map(box((2,), 0, INF), world.options)
    assert change(np.array([0, 1], "f")).tolist() == [25, 50]
    with pytest.raises(ValueError, match="no action of"):
        worlds.make(f"{name}@action=-9..-5")
    with pytest.raises(ValueError, match="no Box"):
        worlds.make(f"{register()}@action=0..5")


def test_an_agent_that_chose_no_number_is_said(register):
    stepper = worlds.make(register(action=box((2,), 0, 1))).start(1, 0)
    stepper.reset()
    with pytest.raises(WorldError, match="the agent's action holds nan"):
        stepper.step(np.array([[0, np.nan]], "f"))


# Observations

IMAGE = box((40, 40, 3), 0, 255, U8)
FLOATS = box((40, 40, 3), 0, 1)

GIVEN = [  # space, what is given, what of it reaches the agent or the end of a sentence
    (box((2,), 0, 2, U8), [0, 2], [0, 2]),
    (box((2,), 0, 2, U8), np.array([True, False]), [1, 0]),
    (box((2,), 0, 2, U8), np.array([0, 2], np.int64), [0, 2]),
    (box((2,), 0, 2, U8), [0, 3], "holds 3 at [1], its space says 0 to 2; gym/Tiny-v0@0..3 takes"),
    (box((2,), 0, 2, U8), [0, 258], "holds 258 at [1], its space says 0 to 2;"),
    (box((2,), 0, 2, U8), [0, -1], "holds -1 at [1], its space says 0 to 2; gym/Tiny-v0@-1..2"),
    (box((2,), 0, 2, U8), [0, 1.5], "has dtype float64, its space says uint8."),
    (box((2,), 0, 2, U8), [0, 2**70], "has dtype object, its space says uint8."),
    (box((2,), 0, 2, U8), [[0], [1, 2]], "is no array (ValueError:"),
    (box((2,), 0, 2, U8), None, "is None."),
    (box((2,), 0, 2, U8), ["a", "b"], "has dtype <U1, its space says uint8."),
    (box((2,), 0, 2, U8), [0j, 1j], "has dtype complex128, its space says uint8."),
    (box((2,), -2, 2, np.int8), np.array([-2, 2]), [0, 4]),
    (box((2,), -500, 500, np.int16), [400, 300], [400, 300]),
    (box((2,), -500, 500, np.int16), np.array([400, 2**63], np.uint64), [400, 2**63]),
    (box((2,), -1, 1), [1, 0], [1, 0]),
    (box((2,), -1, 1), np.array([1 + 1e-9, 0.3]), [1, 0.3]),
    (box((2,)), np.array([1e39, 0], np.float64), "holds inf at [0], not a finite number."),
    (box((2,), dtype=np.float64), [1e39, 0], "holds 1e+39 at [0], too large for float32."),
    (box((2,), dtype=np.float64), [-INF, 0], "holds -inf at [0], not a finite number."),
    (box((2,), dtype=np.float16), np.array([7e4, 0]), "holds inf at [0], not a finite number."),
    (box((2,)), np.array([None, 1]), "has dtype object, its space says float32."),
    (
        IMAGE,
        np.full(IMAGE.shape, 300, np.uint16),
        "holds 300 at [0, 0, 0], its space says 0 to",
    ),
    (IMAGE, np.full(IMAGE.shape, 255, np.int64), 255),
    (IMAGE, np.full(IMAGE.shape, 0.5), "has dtype float64, its space says uint8."),
    (FLOATS, np.full(FLOATS.shape, 200.0), "holds 200.0 at [0, 0, 0], its space says 0.0 to 1.0;"),
    (FLOATS, np.full(FLOATS.shape, 1 + 1e-6), 255),
    (FLOATS, np.full(FLOATS.shape, -0.1), "its space says 0.0 to 1.0; gym/Tiny-v0@-inf..inf"),
    (spaces.Discrete(3, start=5), 7, 2),
    (spaces.Discrete(3, start=5), 4, "holds 4, its space says 5 to 7."),
    (spaces.Discrete(3), 2**40, f"holds {2**40}, its space says 0 to 2."),
    (spaces.Discrete(3), [1], "has shape (1,), its space says one number."),
    (spaces.MultiDiscrete([2, 5]), [1, 4], [1, 4]),
    (spaces.MultiDiscrete([2, 5]), [2, 4], "holds 2 at [0], its space says 0 to 1."),
    (spaces.MultiBinary(2), [True, False], [1, 0]),
    (spaces.Tuple([spaces.Discrete(3), box((1,))]), (2, [0.5]), 2),
    (spaces.Tuple([spaces.Discrete(3), box((1,))]), (2,), "observation '1' is missing."),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("space", "given", "want"), GIVEN, ids=range(len(GIVEN)))
def test_what_reaches_the_agent_is_as_declared(space, given, want, register):
    name = register(observation=space, give=lambda: given)
    if isinstance(want, str):
        with pytest.raises(WorldError) as caught:
            play(name)
        assert want in str(caught.value) and str(caught.value).startswith("gym/Tiny-v0: ")
        if way := re.search(r"(gym/\S+@\S+) takes other bounds", str(caught.value)):
            play(way[1])
    else:
        rows = play(name)
        obs = next(iter(rows[1].obs.values()))
        np.testing.assert_allclose(obs[0], np.broadcast_to(want, obs.shape[1:]), rtol=1e-6)


@pytest.mark.parametrize(
    ("give", "option"),
    [
        (lambda: np.full(IMAGE.shape, 1, U8), "0..1"),
        (lambda: np.full(IMAGE.shape, 10, U8), "0..10"),
        (lambda: np.full(IMAGE.shape, 255, U8), None),
    ],
)
def test_bytes_that_stay_small_are_said_once(give, option, register):
    name = register(observation=IMAGE, give=give)
    with warnings.catch_warnings(record=True, action="always") as said:
        play(name, steps=12)
    assert len(said) == (option is not None)
    if option:
        assert f"that there can be: {name}@{option}." in str(said[0].message)
        with warnings.catch_warnings(action="error"):
            rows = play(f"{name}@{option}", steps=12)
        assert (rows[0].obs["image"] == 255).all()


def test_numbers_outside_of_their_bounds_are_said_once_and_taken(register):
    name = register(give=lambda: np.array([5, 0], "f"))
    with warnings.catch_warnings(record=True, action="always") as said:
        world = worlds.make(name)
        stepper = world.start(4, 0)
        stepper.reset()
        row = stepper.step(np.zeros(4, int))
    assert (row.obs["vector"] == [5, 0]).all()
    (one,) = said
    assert "'vector' holds 5.0 at [0], its space says -1.0 to 1.0" in str(one.message)


def test_small_symbols_of_a_grid_can_be_named_classes(register):
    space = spaces.Dict(direction=spaces.Discrete(4), image=box((7, 7, 3), 0, 255, U8))
    grid = np.arange(147).reshape(7, 7, 3).astype(U8) % 11
    name = register(observation=space, give=lambda: {"direction": 1, "image": grid})
    with pytest.warns(UserWarning) as said:
        play(name)
    assert f"{name}@image=0..10." in str(said[0].message)
    world = worlds.make(f"{name}@image=0..10")
    assert world.obs_space["image"] == Space((7, 7, 3), "uint8", classes=11)
    assert (play(f"{name}@0..10")[1].obs["image"][0] == grid).all()
    assert world.render({"image": grid[None], "direction": np.zeros(1)}).shape == (1, 7, 7, 3)
    probabilities = np.eye(11, dtype="f")[grid][None]
    dreamt = world.render({"image": probabilities, "direction": np.zeros((1, 4))})
    assert (dreamt == world.render({"image": grid[None], "direction": np.zeros(1)})).all()


def test_names_of_observations_cannot_meet_those_of_losses(register):
    settings = presets.make_config("gym", image_net="dense")
    assert gym_spaces.TAKEN == {*learner.loss_scales(settings), "total"}
    odd = {name: box((1,)) for name in ("reward", "total", "", "a/b", "é .x", "reward_", "0")}
    space = spaces.Dict(**odd, a=spaces.Dict(b=box((1,)), c=spaces.Tuple([box((1,))])))
    world = worlds.make(register(observation=space))
    assert len(world.obs_space) == 9 and not gym_spaces.TAKEN & set(world.obs_space)
    play(world.name)
    graph = networks.Decoder(world.obs_space, settings, np.random.default_rng(0))
    deter, stoch = jnp.zeros((1, settings.deter)), jnp.zeros((1, settings.stoch, settings.classes))
    assert set(graph(deter, stoch)) == set(world.obs_space)


def test_arrays_of_classes_are_one_hot_and_predicted_as_such():
    space = Space((2, 3), "uint8", classes=4)
    x = jnp.array([[[0, 1, 2], [3, 0, 1]]], jnp.uint8)
    assert not space.is_image and space.is_discrete and space.size == 24
    flat = networks.flatten(x, space)
    np.testing.assert_array_equal(flat, np.eye(4)[np.asarray(x)].reshape(1, 24))
    logits = np.random.default_rng(0).normal(size=(1, 24)).astype("f")
    loss = networks.prediction(jnp.asarray(logits), space).loss(jax.nn.one_hot(x, 4))
    probabilities = np.exp(logits.reshape(6, 4))
    probabilities /= probabilities.sum(1, keepdims=True)
    want = -np.log(probabilities[np.arange(6), np.asarray(x).ravel()])
    np.testing.assert_allclose(loss.ravel(), want, rtol=1e-5)


# Options


def test_images_are_resized_by_the_mean_of_areas(register):
    picture = np.random.default_rng(0).integers(0, 256, (128, 96, 3)).astype(U8)
    name = register(observation=box((128, 96, 3), 0, 255, U8), give=lambda: picture)
    image = play(f"{name}@64x48")[0].obs["image"][0]
    want = picture.reshape(64, 2, 48, 2, 3).mean((1, 3))
    assert image.shape == (64, 48, 3) and np.abs(image - want).max() <= 1
    for space in (
        box((84, 84), 0, 255, U8),
        box((3, 210, 160), 0, 255, U8),
        box((40, 50, 1), 0, 1),
    ):
        shape = worlds.make(register(observation=space) + "@64x64").obs_space["image"].shape
        assert shape[:2] == (64, 64)


def test_entries_are_left_out(register):
    space = spaces.Dict(a=box((1,)), mission=spaces.Text(4), b=spaces.Dict(t=spaces.Text(3)))
    name = register(observation=space)
    for _ in range(2):  # the way out of each sentence, until it works
        with pytest.raises(ValueError) as caught:
            worlds.make(name)
        name = re.search(r"(gym/\S+) leaves it out", str(caught.value))[1]
    assert list(play(name)[0].obs) == ["a"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("64", "@64 is no option; there are @HEIGHTxWIDTH"),
        ("", "@ is no option"),
        ("5..5", "@5..5 is no option"),
        ("1x1", "@1x1 is no option"),
        ("64x64", "has no image to resize: leave @64x64 out"),
        ("-b", "there is no entry 'b'; valid are a"),
        ("b=0..1", "there is no entry 'b'; valid are a"),
        ("-a", "has no observation"),
    ],
)
def test_options_that_fit_nothing_are_one_sentence(option, words, register):
    name = f"{register(observation=spaces.Dict(a=box((2,), -1, 1)))}@{option}"
    with pytest.raises(ValueError) as caught:
        worlds.make(name)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_option_hides_no_module_from_the_gate():
    assert worlds.module_needed("gym/os:X-v0@64x64") == "os"
    gymnasium.register("Foreign-v0", entry_point="some_module_of_theirs:X")
    try:
        assert worlds.module_needed("gym/Foreign-v0@64x64@-a:b") == "some_module_of_theirs"
    finally:
        del gymnasium.registry["Foreign-v0"]


# Answers of a step

ANSWERS = [  # (reward, terminated, truncated), the same or a sentence
    ((2, False, False), (2, False, False)),
    ((True, False, False), (1, False, False)),
    ((np.float64(0.5), np.bool_(True), 0), (0.5, True, False)),
    ((np.array(1.5), 1, False), (1.5, True, False)),
    ((np.int64(7), np.array(False), np.array(1)), (7, False, True)),
    ((None, False, False), "the reward is None."),
    ((np.array([1.0]), False, False), "the reward has shape (1,), it must be one number."),
    ((float("nan"), False, False), "the reward holds nan, not a finite number."),
    ((1e300, False, False), "the reward holds inf, not a finite number."),
    ((10**400, False, False), "the reward has dtype object, it must be float32."),
    (("1", False, False), "the reward has dtype <U1, it must be float32."),
    (({}, False, False), "the reward has dtype object, it must be float32."),
    ((1, 2, False), "terminated holds 2, it must be bool."),
    ((1, 1.0, False), "terminated has dtype float64, it must be bool."),
    ((1, False, "no"), "truncated has dtype <U2, it must be bool."),
    ((1, np.array([True, False]), False), "terminated has shape (2,), it must be one number."),
]


@pytest.mark.parametrize(("answer", "want"), ANSWERS, ids=range(len(ANSWERS)))
def test_rewards_and_flags(answer, want, register):
    class Answering(Tiny):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.answer = answer

    name = register(Answering, observation=IMAGE, give=lambda: np.full(IMAGE.shape, 99, U8))
    if isinstance(want, str):
        with pytest.raises(WorldError) as caught:
            play(name, 1)
        assert str(caught.value) == f"{name}: {want}"
    else:
        row = play(name, 1)[1]
        over = want[1] or want[2]
        found = (row.reward[0], row.is_last[0], row.is_terminal[0])
        assert found == (want[0], over, want[1])


# Pictures

FRAMES = [
    (lambda env: np.full((5, 7, 3), 9, U8), 9),
    (lambda env: np.full((5, 7, 4), 9, U8), 9),
    (lambda env: np.full((5, 7), 9, U8), 9),
    (lambda env: np.full((5, 7, 1), 9, U8), 9),
    (lambda env: np.full((5, 7, 3), 0.2), 51),
    (lambda env: np.full((5, 7, 3), 200, np.int64), 200),
    (lambda env: np.full((5, 7), True), 255),
    (lambda env: [[[9, 9, 9]] * 7] * 5, 9),
    (lambda env: None, None),
    (lambda env: np.full((5, 7, 3), 200.0), "the frame is float64 and not within 0 to 1"),
    (lambda env: np.full((5, 7, 3), np.nan), "the frame is float64 and not within 0 to 1"),
    (lambda env: np.full((5, 7, 3), -1), "the frame is int64 and not within 0 to 255"),
    (lambda env: np.zeros((5, 7, 2)), "the frame has shape (5, 7, 2), it must be (h, w)"),
    (lambda env: np.zeros((0, 7, 3)), "the frame has shape (0, 7, 3), it must be (h, w)"),
    (lambda env: "text", "the frame has shape ()"),
    (lambda env: [[1], [2, 3]], "the frame is no array (ValueError"),
    (lambda env: 1 / 0, "drawing it raised ZeroDivisionError: division by zero."),
    (lambda env: np.zeros((5 + env.time, 7, 3)), "has shape (6, 7, 3), earlier it was (5, 7, 3)"),
    (lambda env: None if env.time else np.zeros((5, 7, 3)), "the frame is None."),
]


@pytest.mark.parametrize(("frame", "want"), FRAMES, ids=range(len(FRAMES)))
def test_whatever_environments_draw(frame, want, register):
    stepper = worlds.make(register(frame=frame)).start(2, 0)
    stepper.reset()
    if isinstance(want, str):
        with pytest.raises(WorldError) as caught:
            for _ in range(2):
                stepper.frames()
                stepper.step(np.zeros(2, int))
        assert want in str(caught.value)
        return
    for _ in range(2):
        frames = stepper.frames()
        stepper.step(np.zeros(2, int))
        if want is None:
            assert frames is None
        else:
            assert frames.shape == (2, 5, 7, 3) and frames.dtype == U8 and (frames == want).all()


@pytest.mark.parametrize("metadata", [None, {}, {"render_modes": None}, {"render_modes": 3}, 7])
def test_odd_metadata_only_means_no_pictures(metadata, register):
    class Odd(Tiny):
        pass

    Odd.metadata = metadata
    assert not worlds.make(register(Odd)).draws


def test_what_is_only_missing_for_pictures_does_not_stop_play(register):
    class Blind(Tiny):
        def __init__(self, **kwargs):
            if kwargs.get("render_mode"):
                raise ModuleNotFoundError("No module named 'imageio'", name="imageio")
            super().__init__(**kwargs)

    stepper = worlds.make(register(Blind)).start(2, 0)
    stepper.reset()
    with pytest.warns(
        UserWarning, match=r"cannot be drawn: .*'imageio', run `pip install imageio`"
    ):
        assert stepper.frames() is None


# Making, naming, closing


def test_names_of_actions_are_whatever_they_are(register):
    class Named(Tiny):
        def get_action_meanings(self):
            return self.names()

    for names, want in (
        (lambda: ["Left\nor so", 7], ("left or so", "7")),
        (lambda: 1 / 0, ("0", "1")),
        (lambda: None, ("0", "1")),
        (lambda: ["UPRIGHTFIRE", "Upright"], ("up right fire", "up right")),
        (lambda: ["backfire", "downtown"], ("backfire", "downtown")),
        (lambda: ["only one"], ("0", "1")),
        (lambda: {0: "a", 1: "b"}, ("0", "1")),
    ):
        Named.names = staticmethod(names)
        assert worlds.make(register(Named)).action_names == want
    combined = worlds.make(register(action=spaces.MultiDiscrete([2, 2], start=[1, 0])))
    assert combined.action_names == ("1 0", "1 1", "2 0", "2 1")


def test_an_environment_that_cannot_be_closed_loses_nothing(register):
    class Stuck(Tiny):
        def close(self):
            raise KeyError("door")

    with pytest.warns(UserWarning, match=r"closing it raised KeyError: 'door'\.$"):
        world = worlds.make(register(Stuck))
        returns = rollouts.evaluate(presets.make_config(world.name), None, world, 3, 0)
    assert returns.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            gymnasium.error.DependencyNotInstalled("cv2 is missing, run `pip install opencv`"),
            "gym/Tiny-v0 cannot be made: cv2 is missing, run `pip install opencv`.",
        ),
        (gymnasium.error.NameNotFound("no Inner-v0"), "cannot be made: NameNotFound: no Inner-v0."),
        (SystemExit(3), "gym/Tiny-v0 cannot be made: SystemExit: 3."),
        (OSError(98, "in use"), "gym/Tiny-v0 cannot be made: OSError: [Errno 98] in use."),
    ],
)
def test_what_a_constructor_raises_is_shown(error, words, register):
    def entry(**kwargs):
        raise error

    with pytest.raises(ValueError) as caught:
        worlds.make(register(entry))
    assert words in str(caught.value)
    with pytest.raises(ValueError) as caught:  # the same where a module is named
        worlds.make("gym/gymnasium:Tiny-v0")
    assert "knows no environment" not in str(caught.value)


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("ALE/Pong-v5", "atari/pong here; gym/ale_py:ALE/Pong-v5@64x64 takes"),
        ("PongNoFrameskip-v4", "atari/pong here"),
        ("MsPacman-v0", "atari/ms_pacman here"),
        ("ALE/Pong-ram-v5", "atari/pong here"),
        ("dm_control/walker-walk-v0", "dmc/walker-walk here"),
        ("MinAtar/Breakout-v1", "minatar/breakout here"),
    ],
)
def test_names_from_elsewhere(id, words):
    if "atari" in words:
        pytest.importorskip("ale_py")
    assert words in gym.unknown(id)
    assert "did you mean gym/CartPole-v1" in gym.unknown("gymnasium:CartPol-v1")


class Alone(Tiny):
    """Only one may exist at a time."""

    alive = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        if Alone.alive:
            raise OSError("address in use")
        Alone.alive += 1

    def close(self):
        Alone.alive -= 1


def test_where_only_one_may_exist_they_play_one_after_another(register):
    world = worlds.make(register(Alone))
    with pytest.raises(checks.TooMany) as caught:
        world.start(16, 0)
    assert "making number 2 of 16 environments raised OSError: address in use." in str(caught.value)
    assert "--set worlds=1" in str(caught.value) and Alone.alive == 0
    with pytest.warns(UserWarning, match="Here 1 is taken at a time"):
        returns = rollouts.evaluate(presets.make_config(world.name), None, world, 3, 0)
    assert returns.tolist() == [3, 3, 3] and Alone.alive == 0
    presets.make_config(world.name, worlds=1)


# Commands


def test_images_of_any_size_are_played_at_random_and_refused_with_a_way_out(register, capsys):
    name = register(observation=box((84, 100, 3), 0, 255, U8))
    assert commands.main(["evaluate", "--agent", "random", "--world", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["return_mean"] == 3
    assert commands.main(["train", "--world", name, "--updates", "1"]) == 2
    sentence = capsys.readouterr().err
    way = re.search(r"take --world (gym/\S+),", sentence)[1]
    world = worlds.make(way)
    networks.split_keys(world.obs_space, presets.make_config(way))
    networks.split_keys(worlds.make(name).obs_space, presets.make_config(name, image_net="dense"))


NOISY = """
import os, subprocess, sys
import gymnasium
print("imported")
class Noisy(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self, render_mode=None): print("made")
    def reset(self, seed=None, options=None):
        os.write(1, b"by the system\\n")
        subprocess.run(["echo", "by a child"])
        return self.observation_space.sample(), {}
    def step(self, action): print("step"); return self.reset()[0], 1.0, True, False, {}
    def get_action_meanings(self): print("names"); return ["a", "b"]
    def close(self): print("closed")
    def __del__(self): print("gone")
gymnasium.register("Noisy-v0", entry_point=Noisy)
"""


def test_what_environments_print_stays_out_of_the_json(tmp_path):
    (tmp_path / "noisy.py").write_text(NOISY, encoding="utf-8")
    command = "evaluate --agent random --episodes 2 --json --world gym/noisy:Noisy-v0".split()
    done = subprocess.run(
        [sys.executable, "-m", "dreamer_lite", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"return_mean": 1.0, "return_stderr": 0.0, "episodes": 2}
    for line in ("imported", "made", "step", "closed", "by the system", "by a child"):
        assert line in done.stderr


def test_the_wrapper_of_the_guide_works(tmp_path, register, monkeypatch):
    register(id="TheirEnv-v0", action=spaces.Tuple([spaces.Discrete(2), box((1,), -1, 1)]))

    class Theirs(Tiny):
        def step(self, action):
            assert action in ((0, [0.0]), (0, [1.0]), (1, [0.0]))
            self.action_space = spaces.Discrete(1)
            self.action_space.contains = lambda _: True
            return super().step(action)

    action = spaces.Tuple([spaces.Discrete(2), box((1,), -1, 1)])
    name = register(Theirs, id="TheirEnv-v0", action=action)
    with pytest.raises(ValueError, match=r"docs/environments\.md shows a wrapper"):
        worlds.make(name)
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my_flat_module.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    world = worlds.make("gym/my_flat_module:Flat-v0")
    assert world.action_space == Space((), "int32", classes=3)
    play(world.name)


BOARD = """
import gymnasium, numpy as np
class Board(gymnasium.Env):
    '''A cell holds 0, 1 or 2; the action that names it pays 1; ten times.'''
    observation_space = gymnasium.spaces.Box(0, 2, (6, 7), np.uint8)
    action_space = gymnasium.spaces.Discrete(3)
    def _observe(self):
        self.secret = int(self.np_random.integers(3))
        board = np.zeros((6, 7), np.uint8)
        board[2, 3] = self.secret
        return board
    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}
    def step(self, action):
        reward, self.time = float(action == self.secret), self.time + 1
        return self._observe(), reward, self.time == 10, False, {}
gymnasium.register("Board-v0", entry_point=Board)
"""


@pytest.mark.slow
def test_a_board_of_small_bytes_is_learnt(tmp_path):
    (tmp_path / "boards.py").write_text(BOARD, encoding="utf-8")
    command = "train --world gym/boards:Board-v0 --updates 900 --run run".split()
    subprocess.run([sys.executable, "-m", "dreamer_lite", *command], cwd=tmp_path, check=True)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["return_mean"] > 8  # chance has 3.3
