"""The Gymnasium adapter beside Gymnasium itself, bad environments, and our worlds registered."""

import subprocess
import sys

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from dreamer_lite import worlds
from dreamer_lite.worlds import Space, WorldError, gymnasium_envs, hosted


class Custom(gymnasium.Env):
    """Gives the observations and takes the actions that a test wants."""

    def __init__(self, observation_space, action_space=None, give=None, render_mode=None):
        self.observation_space = observation_space
        self.action_space = action_space or spaces.Discrete(2)
        self.give = give or (lambda env: env.observation_space.sample())
        self.actions = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.actions.append(action)
        self.time += 1
        return self.give(self), 1.0, self.time == 3, False, {}


@pytest.fixture
def register():
    """Registers Custom environments by name, for one test; returns the world of one."""
    known = set(gymnasium.registry)

    def make(*args, id="Custom-v0", entry=Custom, **kwargs):
        gymnasium.registry.pop(id, None)
        gymnasium.register(id, entry_point=lambda **more: entry(*args, **kwargs, **more))
        return worlds.make(f"gym/{id}")

    yield make
    for id in set(gymnasium.registry) - known:
        del gymnasium.registry[id]


def box(shape, low=-np.inf, high=np.inf, dtype=np.float32):
    return spaces.Box(low, high, shape, dtype)


@pytest.mark.parametrize("id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Taxi-v4"])
def test_rows_equal_those_of_the_plain_environment(id):
    """Two worlds by hand: same seeds, same actions, the resets where the flags say."""
    world = worlds.make(f"gym/{id}")
    stepper = world.start(2, seed=5)
    plain = [gymnasium.make(id) for _ in range(2)]
    row = stepper.reset()
    want = [env.reset(seed=seed)[0] for env, seed in zip(plain, hosted.seeds(5, 2))]
    (key,) = world.obs_space
    np.testing.assert_array_equal(row.obs[key], np.array(want, row.obs[key].dtype))
    assert row.is_first.all() and not row.is_last.any() and (row.reward == 0).all()
    rng, ends = np.random.default_rng(0), 0
    for _ in range(450):
        if world.action_space.is_discrete:
            action = rng.integers(world.action_space.classes, size=2).astype(np.int32)
        else:
            action = rng.uniform(-1.2, 1.2, (2, 1)).astype(np.float32)
        before, row = row, stepper.step(action)
        for i, env in enumerate(plain):
            if before.is_last[i]:
                obs, reward, flags = env.reset()[0], 0.0, (True, False, False)
            else:
                its = (
                    int(action[i]) if world.action_space.is_discrete else 2 * action[i].clip(-1, 1)
                )
                obs, reward, terminated, truncated, _ = env.step(its)
                flags = (False, terminated or truncated, terminated)
            np.testing.assert_allclose(row.obs[key][i], obs, rtol=1e-6)
            np.testing.assert_allclose(row.reward[i], reward, rtol=1e-5)
            assert (row.is_first[i], row.is_last[i], row.is_terminal[i]) == flags
            ends += flags[1]
    assert ends >= 4
    stepper.close()


def test_known_worlds_are_described():
    world = worlds.make("gym/CartPole-v1")
    assert worlds.is_hosted(world) and world.name == "gym/CartPole-v1" and world.repeat == 1
    assert world.obs_space == {"vector": Space((4,), "float32")}
    assert world.action_space == Space((), "int32", classes=2) and world.action_names == ("0", "1")
    assert world == worlds.make("gym/CartPole-v1") and len({world, world}) == 1
    assert worlds.make("gym/FrozenLake-v1").obs_space == {"state": Space((), "int32", classes=16)}
    assert worlds.make("gym/Pendulum-v1").action_space == Space((1,), "float32")


U8 = np.uint8
CONVERSIONS = [
    (box((4, 6, 3), 0, 255, U8), Space((72,), "float32"), lambda x: x.ravel().astype("f")),
    (box((8, 9, 5), 0, 255, U8), Space((8, 9, 5), "uint8"), lambda x: x),
    (box((10, 12), 0, 255, U8), Space((10, 12, 1), "uint8"), lambda x: x[..., None]),
    (box((3, 10, 12), 0, 255, U8), Space((10, 12, 3), "uint8"), lambda x: x.transpose(1, 2, 0)),
    (box((10, 10, 6), 0, 1, U8), Space((10, 10, 6), "uint8", classes=2), lambda x: x),
    (box((48, 40, 2), 0, 1, U8), Space((48, 40, 2), "uint8"), lambda x: 255 * x),
    (box((12, 40, 48), 0, 255, U8), Space((40, 48, 12), "uint8"), lambda x: x.transpose(1, 2, 0)),
    (
        box((48, 40), -5, 5, np.int8),
        Space((48, 40, 1), "uint8"),
        lambda x: np.rint(25.5 * (x + 5.0))[..., None],
    ),
    (box((6, 7), 0, 2, U8), Space((6, 7), "uint8", classes=3), lambda x: x),
    (box((3, 3), -1, 1, np.int8), Space((3, 3), "uint8", classes=3), lambda x: x + 1),
    (box((2, 2), -10, 21, np.int64), Space((2, 2), "uint8", classes=32), lambda x: x + 10),
    (box((2, 2), -10, 22, np.int64), Space((4,), "float32"), lambda x: x.ravel().astype("f")),
    (box((7, 7, 3), 0, 255, U8), Space((147,), "float32"), lambda x: x.ravel().astype("f")),
    (
        box((40, 40, 20), 0, 31, np.int16),
        Space((32000,), "float32"),
        lambda x: x.ravel().astype("f"),
    ),
    (spaces.MultiBinary((2, 3)), Space((2, 3), "uint8", classes=2), lambda x: x),
    (
        spaces.MultiDiscrete([2, 300], start=[5, -1]),
        Space((2,), "int32", classes=300),
        lambda x: x - [5, -1],
    ),
    (box((128,), 0, 255, U8), Space((128,), "float32"), np.float32),
    (box((8, 9, 3), 0, 1), Space((8, 9, 3), "uint8"), lambda x: np.round(255 * x)),
    (box((8, 9, 1), 0, 255, np.float64), Space((8, 9, 1), "uint8"), np.round),
    (
        box((1, 8, 9), 0, 1, np.float64),
        Space((8, 9, 1), "uint8"),
        lambda x: np.round(255 * x).transpose(1, 2, 0),
    ),
    (box((2, 3, 3), 0, 1), Space((18,), "float32"), np.ravel),
    (box((8, 9, 3)), Space((216,), "float32"), np.ravel),
    (box((2, 3), dtype=np.float64), Space((6,), "float32"), lambda x: x.ravel().astype("float32")),
    (box((), -1, 1), Space((1,), "float32"), np.ravel),
    (box((2,), 0, 9, np.int64), Space((2,), "uint8", classes=10), lambda x: x),
    (box((2,), 0, 900, np.int64), Space((2,), "float32"), np.float32),
    (spaces.Discrete(4, start=-2), Space((), "int32", classes=4), lambda x: x + 2),
]


@pytest.mark.parametrize(("space", "ours", "by_hand"), CONVERSIONS, ids=range(len(CONVERSIONS)))
def test_every_kind_of_observation(space, ours, by_hand, register):
    """Alone and inside of a Dict, beside another."""
    key = "state" if ours.is_discrete else "image" if ours.is_image else "vector"
    given = []

    def give(env):
        given.append(env.observation_space.sample())
        return given[-1]

    world = register(space, give=give)
    assert world.obs_space == {key: ours}
    stepper = world.start(1, 0)
    stepper.reset()
    np.testing.assert_array_equal(stepper.step(np.zeros(1, int)).obs[key][0], by_hand(given[0]))

    both = spaces.Dict({"a": space, "b": box((2,))})
    world = register(both, give=give)
    assert world.obs_space == {"a": ours, "b": Space((2,), "float32")}
    stepper = world.start(1, 0)
    stepper.reset()
    row = stepper.step(np.zeros(1, int))
    np.testing.assert_array_equal(row.obs["a"][0], by_hand(given[-1]["a"]))
    np.testing.assert_array_equal(row.obs["b"][0], given[-1]["b"])


def test_actions_are_mapped_to_the_bounds_and_stay_inside(register):
    low, high = np.array([[0, -np.inf], [-3, -5]], "f"), np.array([[10, np.inf], [1, np.inf]], "f")
    made = []

    class Kept(Custom):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    with pytest.warns(UserWarning, match="action 1 of 4 may lie between -inf and inf; the agent"):
        world = register(box((1,)), spaces.Box(low, high), entry=Kept)
    assert world.action_space == Space((4,), "float32")
    stepper = world.start(1, 0)
    stepper.reset()
    for action in ([-1, -1, -1, -1], [0, 0.5, 0, 0.5], [1, 1, 1, 1], [5, 5, -5, -5]):
        if stepper.over[0]:
            stepper.reset()
        stepper.step(np.array([action], np.float32))
    want = [[[0, -1], [-3, -5]], [[5, 0.5], [-1, -3.5]], [[10, 1], [1, -3]], [[10, 1], [-3, -5]]]
    np.testing.assert_allclose(made[-1].actions, want[: len(made[-1].actions)], atol=1e-6)
    assert all(a.dtype == np.float32 and a.shape == (2, 2) for a in made[-1].actions)


def test_discrete_actions_begin_where_the_space_does(register):
    made = []

    class Kept(Custom):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    stepper = register(box((1,)), spaces.Discrete(3, start=-1), entry=Kept).start(1, 0)
    stepper.reset()
    for action in range(3):
        stepper.step(np.array([action], np.int32))
    assert made[-1].actions == [-1, 0, 1]


BAD = [
    (
        box((2,)),
        lambda env: np.zeros(3, "f"),
        "observation 'vector' has shape (3,), its space says (2,).",
    ),
    (
        box((2,)),
        lambda env: [0, np.nan],
        "observation 'vector' holds nan at [1], not a finite number.",
    ),
    (box((2,)), lambda env: "text", "observation 'vector' has shape (), its space says (2,)."),
    (box((2,)), lambda env: 1 / 0, "step raised ZeroDivisionError: division by zero."),
    (
        box((9, 9, 3), 0, 255, U8),
        lambda env: np.zeros((9, 9, 3)),
        "observation 'image' has dtype float64, its space says uint8.",
    ),
    (
        box((9, 9, 3), 0, 1),
        lambda env: np.full((9, 9, 3), np.nan, "f"),
        "observation 'image' holds nan at [0, 0, 0], not a finite number.",
    ),
    (
        box((2,), dtype=np.float64),
        lambda env: [1e300, 0],
        "observation 'vector' holds 1e+300 at [0], too large for float32.",
    ),
    (spaces.Discrete(3), lambda env: 3, "observation 'state' holds 3, its space says 0 to 2."),
    (
        spaces.Discrete(3),
        lambda env: 1.5,
        "observation 'state' has dtype float64, its space says int64.",
    ),
    (
        spaces.Dict(a=box((1,)), b=box((1,))),
        lambda env: {"a": [0.0]},
        "observation 'b' is missing.",
    ),
    (spaces.Dict(a=box((1,))), lambda env: [0.0], "observation 'a' is missing."),
]


@pytest.mark.parametrize(("space", "give", "sentence"), BAD, ids=range(len(BAD)))
def test_bad_environments_are_one_sentence(space, give, sentence, register):
    stepper = register(space, give=give).start(2, 0)
    stepper.reset()
    with pytest.raises(WorldError) as caught:
        stepper.step(np.zeros(2, np.int32))
    assert str(caught.value) == f"gym/Custom-v0: {sentence}"
    stepper.close()


def test_old_interfaces_are_one_sentence(register):
    class OldStep(Custom):
        def step(self, action):
            return self.observation_space.sample(), 0.0, False, {}

    class OldReset(Custom):
        def reset(self, *, seed=None, options=None):
            return self.observation_space.sample()

    stepper = register(box((1,)), entry=OldStep).start(1, 0)
    stepper.reset()
    with pytest.raises(WorldError, match=r"^gym/Custom-v0: step [^\n]*$"):
        stepper.step(np.zeros(1, int))
    with pytest.raises(WorldError, match=r"^gym/Custom-v0: reset [^\n]*$"):
        register(box((1,)), entry=OldReset).start(1, 0).reset()


@pytest.mark.parametrize(
    ("observation", "action", "words"),
    [
        (spaces.Text(9), None, "its observation is a Text space; supported are Box"),
        (spaces.Dict(a=spaces.Dict(b=spaces.Text(9), c=box((1,)))), None, "v0@-a/b leaves it out"),
        (box((2, 0)), None, "which holds no numbers"),
        (spaces.Dict(), None, "has no observation"),
        (spaces.Discrete(2**40), None, "x 1099511627776 classes; at most 32768"),
        (box((4, 84, 84, 3), 0, 255, U8), None, "leave out the wrapper that stacks frames"),
        (box((1,)), spaces.Tuple([spaces.Discrete(2)]), "actions are a Tuple space; supported are"),
        (box((1,)), box((0,), 0, 1), "actions are a Box space of shape (0,)"),
        (box((1,)), spaces.MultiBinary(10), "1024 actions; from 1 to 1000"),
        (box((1,)), spaces.Discrete(10**6), "1000000 actions; from 1 to 32768"),
        (
            spaces.Dict(a=box((8, 8, 3), 0, 255, U8), b=box((9, 9, 3), 0, 255, U8)),
            None,
            "images of several sizes",
        ),
    ],
)
def test_unsupported_spaces_are_one_sentence(observation, action, words, register):
    with pytest.raises(ValueError) as caught:
        register(observation, action)
    message = str(caught.value)
    assert message.startswith("gym/Custom-v0") and words in message and "\n" not in message


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("CartPol-v1", "did you mean gym/CartPole-v1"),
        ("cartpole-v1", "did you mean gym/CartPole-v1"),
        ("CartPole-v99", "CartPole-v1"),
        ("Nothing/Like-this", "knows no environment"),
        ("no_such_module:Env-v0", "no_such_module"),
        ("", "knows no environment"),
    ],
)
def test_unknown_ids_are_one_sentence(id, words):
    with pytest.raises(ValueError) as caught:
        worlds.make(f"gym/{id}")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_an_environment_that_cannot_be_made_is_one_sentence(register):
    class Raises(Custom):
        def __init__(self, **kwargs):
            raise OSError("no camera\nat all")

    with pytest.raises(ValueError, match=r"^gym/Custom-v0 cannot be made: OSError: no camera\.$"):
        register(entry=Raises)


OWN = """
import gymnasium, numpy as np

class Own(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

gymnasium.register("Own-v0", entry_point=Own)
"""


def test_a_module_in_the_current_folder_registers_its_environment(tmp_path, monkeypatch):
    (tmp_path / "my_own_worlds.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])  # as a command's
    try:
        world = worlds.make("gym/my_own_worlds:Own-v0")
    finally:
        gymnasium.registry.pop("Own-v0", None)
    assert world.obs_space == {"vector": Space((3,), "float32")}


def test_pictures(register):
    class Drawn(Custom):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

        def render(self):
            return np.full((5, 7, 3), self.time, U8)

    world = register(box((9, 9, 1), 0, 255, U8), entry=Drawn)
    stepper = world.start(2, 0)
    row = stepper.reset()
    stepper.step(np.zeros(2, int))
    assert (stepper.frames() == np.ones((2, 5, 7, 3))).all()
    assert (world.render(row.obs) == np.repeat(row.obs["image"], 3, -1)).all()
    blind = register(box((2,)))
    stepper = blind.start(1, 0)
    assert stepper.reset() and stepper.frames() is None
    assert blind.render({"vector": np.zeros((4, 2))}) is None


def test_a_package_missing_for_pictures_is_said_once(register):
    class Bare(Custom):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

        def render(self):
            raise gymnasium.error.DependencyNotInstalled("pygame is not installed, run `pip`")

    stepper = register(box((2,)), entry=Bare).start(1, 0)
    stepper.reset()
    with pytest.warns(UserWarning, match=r"^gym/Custom-v0 cannot be drawn: pygame is not"):
        assert stepper.frames() is None
    assert stepper.frames() is None


def test_an_environment_may_change_and_be_registered_again(register):
    assert register(box((2,))).obs_space["vector"].shape == (2,)
    assert register(box((3,))).obs_space["vector"].shape == (3,)


# Our own worlds, registered with Gymnasium.


@pytest.mark.parametrize("id", gymnasium_envs.IDS)
def test_jax_worlds_pass_gymnasiums_check(id, recwarn):
    gymnasium_envs.register()
    env = gymnasium.make(id, render_mode="rgb_array", disable_env_checker=True)
    check_env(env.unwrapped)
    complaints = [str(w.message) for w in recwarn if "gymnasium" in str(w.filename)]
    assert not [text for text in complaints if "not within" in text or "render" in text]
    assert env.unwrapped.render().shape == (320, 320, 3)


def test_every_jax_world_is_registered_and_only_when_asked():
    assert sorted(gymnasium_envs.IDS.values()) == sorted(worlds.names())
    program = (
        "import gymnasium; from dreamer_lite.worlds import gymnasium_envs as g\n"
        "assert not set(g.IDS) & set(gymnasium.registry); g.register(); g.register()\n"
        "assert set(g.IDS) <= set(gymnasium.registry)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_registered_world_gives_the_rows_of_the_world():
    """Through both adapters and back: the same as the world itself with the keys of the seed."""
    world, env = worlds.make("catch"), worlds.make("gym/DreamerLite/Catch-v0")
    assert env.obs_space == world.obs_space and env.action_space == world.action_space
    stepper = env.start(1, 9)
    row = stepper.reset()
    rng = gymnasium.utils.seeding.np_random(hosted.seeds(9, 1)[0])[0]
    draw = lambda: jax.random.key(int(rng.integers(2**31)))  # noqa: E731
    state, want = world.reset(draw())
    for t in range(25):
        np.testing.assert_array_equal(row.obs["image"][0], want.obs["image"])
        assert tuple(x[0] for x in row[1:]) == tuple(want[1:])
        row = stepper.step(np.array([t % 3], np.int32))
        state, want = world.reset(draw()) if want.is_last else world.step(state, t % 3, draw())


def test_importing_the_package_imports_no_environment():
    program = (
        "import sys, dreamer_lite.training.loop, dreamer_lite.runs.run, dreamer_lite.__main__\n"
        "from dreamer_lite import worlds; worlds.families()[0].installed\n"
        "print(*sorted({'gymnasium', 'ale_py', 'dm_control', 'mujoco'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


def test_bounds_map_hits_the_bounds_exactly():
    low, high = np.array([-0.1, 0.3], "f"), np.array([0.7, 0.9], "f")
    change = hosted.bounds_map(low, high)
    np.testing.assert_array_equal(change(np.array([1, 1], "f")).astype("f"), high)
    np.testing.assert_array_equal(change(np.array([-1, -1], "f")).astype("f"), low)


def test_names_and_families():
    assert not worlds.is_hosted(worlds.make("catch"))
    assert [family.prefix for family in worlds.families()] == ["atari/", "dmc/", "gym/"]
    with pytest.raises(ValueError, match="did you mean 'atari/pong'"):
        worlds.make("atari_pong")
