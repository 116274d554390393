"""Hosted worlds: the rows of a loop, and the sentence for everything an environment does wrong."""

import dataclasses

import numpy as np
import pytest

from dreamer_lite.worlds import Space, TimeStep, WorldError, checks, hosted

WORLD = hosted.Description(
    name="gym/Foo-v0",
    spaces=(
        ("position", Space((2,), "float32")),
        ("image", Space((2, 3, 1), "uint8")),
        ("room", Space((), "int32", classes=5)),
    ),
    action_space=Space((), "int32", classes=3),
    action_names=("a", "b", "c"),
    repeat=1,
)


def observe(**changes):
    position, image = np.zeros(2, np.float32), np.zeros((2, 3, 1), np.uint8)
    return {"position": position, "image": image, "room": np.int32(4)} | changes


class Counting:
    """Its position is (episode, time); ends after `length` steps, by termination if it is odd."""

    def __init__(self, length=3, broken=None):
        self.length, self.broken, self.episode, self.seeds, self.log = length, broken, -1, [], []
        self.closed = False

    def reset(self, seed):
        self.seeds.append(seed)
        self.episode = 0 if seed is not None else self.episode + 1
        self.time = 0
        self.log.append("reset")
        if self.broken == "reset":
            raise KeyError("x")
        return self._observe()

    def _observe(self):
        return observe(position=np.array([self.episode, self.time], np.float32))

    def step(self, action):
        self.log.append(int(action))
        self.time += 1
        if isinstance(self.broken, Exception):
            raise self.broken
        over = self.time >= self.length
        answer = hosted.Transition(
            self._observe(), 10.0 * self.time, over and self.length % 2 == 1, over
        )
        if isinstance(self.broken, dict):
            obs = {**answer.obs, **self.broken.pop("obs", {})}
            answer = answer._replace(obs=obs, **self.broken)
        return answer

    def frame(self):
        return np.full((4, 6, 3), self.time, np.uint8)

    def close(self):
        self.closed = True


def loop(*environments, seed=0):
    given = iter(environments)
    return hosted.Loop(WORLD, lambda: next(given), len(environments), seed)


def columns(rows):
    """(position, reward, first, last, terminal) of the first world, a tuple per row."""
    return [
        (tuple(r.obs["position"][0]), r.reward[0], r.is_first[0], r.is_last[0], r.is_terminal[0])
        for r in rows
    ]


def test_rows_are_laid_out_as_the_spec_says():
    """An episode of L actions gives L + 1 rows; the action at its last row is ignored."""
    odd, even = Counting(3), Counting(2)
    stepper = loop(odd, even)
    rows = [stepper.reset()] + [stepper.step(np.array([i % 3, i % 3])) for i in range(1, 6)]
    assert columns(rows) == [
        ((0, 0), 0, True, False, False),
        ((0, 1), 10, False, False, False),
        ((0, 2), 20, False, False, False),
        ((0, 3), 30, False, True, True),
        ((1, 0), 0, True, False, False),
        ((1, 1), 10, False, False, False),
    ]
    assert odd.log == ["reset", 1, 2, 0, "reset", 2] and even.log == ["reset", 1, 2, "reset", 1, 2]
    assert [r.is_last[1] for r in rows] == [False, False, True, False, False, True]
    assert not any(r.is_terminal[1] for r in rows)  # truncated only
    assert rows[1].reward.dtype == np.float32 and rows[1].is_first.dtype == bool
    for key, space in WORLD.obs_space.items():
        assert rows[3].obs[key].dtype == space.dtype and rows[3].obs[key].shape == (2, *space.shape)


def test_episodes_of_one_step():
    stepper = loop(Counting(1))
    rows = [stepper.reset()] + [stepper.step(np.zeros(1, int)) for _ in range(4)]
    assert [r.is_first[0] for r in rows] == [True, False, True, False, True]
    assert [r.is_terminal[0] for r in rows] == [False, True, False, True, False]
    assert [r.reward[0] for r in rows] == [0, 10, 0, 10, 0]


def test_reset_starts_all_over_with_the_same_seeds():
    one, two = Counting(), Counting()
    stepper = loop(one, two, seed=3)
    before = stepper.reset()
    for _ in range(6):
        stepper.step(np.zeros(2, int))
    after = stepper.reset()
    np.testing.assert_array_equal(before.obs["position"], after.obs["position"])
    assert one.seeds[0] == one.seeds[-1] is not None and one.seeds[1] is None
    assert one.seeds[0] != two.seeds[0]


def test_seeds_are_plain_and_differ_between_worlds_and_runs():
    drawn = [*hosted.seeds(0, 50), *hosted.seeds(1, 50)]
    assert len(set(drawn)) == 100 and hosted.seeds(0, 50) == drawn[:50]
    assert all(type(x) is int and 0 <= x < 2**31 for x in drawn)


def test_frames_and_close():
    one, two = Counting(), Counting()
    stepper = loop(one, two)
    stepper.reset()
    stepper.step(np.zeros(2, int))
    assert (stepper.frames() == np.ones((2, 4, 6, 3))).all()
    two.frame = lambda: None
    with pytest.raises(WorldError, match=r"the frame is None\.$"):
        stepper.frames()
    stepper.close()
    assert loop(one, two).frames() is None  # of a world that cannot draw from the start
    stepper.close()
    assert one.closed and two.closed


BROKEN = [
    (
        ZeroDivisionError("division by zero\nmore"),
        "step raised ZeroDivisionError: division by zero.",
    ),
    (ValueError(), "step raised ValueError."),
    ({"reward": np.nan}, "the reward holds nan, not a finite number."),
    ({"reward": np.float64(1e300)}, "the reward holds inf, not a finite number."),
    ({"reward": [1.0]}, "the reward has shape (1,), it must be one number."),
    ({"reward": None}, "the reward is None."),
    ({"terminated": 2}, "terminated holds 2, it must be bool."),
    ({"truncated": None}, "truncated is None."),
    (
        {"obs": {"position": np.array([0, np.inf], np.float32)}},
        "observation 'position' holds inf at [0, 1], not a finite number.",
    ),
    (
        {"obs": {"position": np.zeros(3, np.float32)}},
        "observation 'position' is float32 (1, 3), not float32 (1, 2).",
    ),
    (
        {"obs": {"image": np.zeros((2, 3, 1))}},
        "observation 'image' is float64 (1, 2, 3, 1), not uint8 (1, 2, 3, 1).",
    ),
    ({"obs": {"room": np.int32(5)}}, "observation 'room' is 5, its space has 5 values."),
    ({"obs": {"room": np.int32(-1)}}, "observation 'room' is -1, its space has 5 values."),
]


@pytest.mark.parametrize(("broken", "sentence"), BROKEN, ids=range(len(BROKEN)))
def test_what_an_environment_does_wrong_is_one_sentence(broken, sentence):
    stepper = loop(Counting(broken=broken))
    stepper.reset()
    with pytest.raises(WorldError) as caught:
        stepper.step(np.zeros(1, int))
    assert str(caught.value) == f"gym/Foo-v0: {sentence}"


def test_raising_in_reset_and_while_being_made():
    with pytest.raises(WorldError, match=r"^gym/Foo-v0: reset raised KeyError: 'x'\.$"):
        loop(Counting(broken="reset")).reset()
    one = Counting()
    makers = iter([lambda: one, lambda: 1 / 0])
    with pytest.raises(WorldError, match=r"^gym/Foo-v0: making number 2 of 2 .* ZeroDivisionError"):
        hosted.Loop(WORLD, lambda: next(makers)(), 2, 0)
    with pytest.raises(WorldError, match=r"^gym/Foo-v0: making it raised ZeroDivisionError"):
        hosted.Loop(WORLD, lambda: 1 / 0, 2, 0)
    assert one.closed


def test_shapes_that_differ_between_worlds_are_a_world_error():
    stepper = loop(Counting(), Counting(broken={"obs": {"position": np.zeros(3, np.float32)}}))
    stepper.reset()
    with pytest.raises(WorldError, match="observation 'position'"):
        stepper.step(np.zeros(2, int))


def good_row():
    flags = np.zeros(2, bool)
    obs = {key: np.zeros((2, *s.shape), s.dtype) for key, s in WORLD.spaces}
    return TimeStep(obs, np.zeros(2, np.float32), flags, flags, flags)


def test_check_row_passes_what_is_right_and_names_what_is_not():
    row = good_row()
    assert checks.check_timestep(WORLD, row) is row
    for change, field in [
        ({"reward": np.zeros(2)}, "the reward"),
        ({"reward": np.zeros(3, np.float32)}, "the reward"),
        ({"is_last": np.zeros(2, int)}, "is_last"),
        ({"is_terminal": [False, False]}, "is_terminal"),
        ({"obs": {"position": row.obs["position"]}}, "the observation"),
    ]:
        with pytest.raises(WorldError, match=rf"^gym/Foo-v0: {field} [^\n]*$"):
            checks.check_timestep(WORLD, row._replace(**change))


def test_as_array_takes_what_loses_nothing_and_refuses_the_rest():
    def take(raw, shape, dtype):
        return checks.as_array("x", "observation 'y'", raw, shape, dtype)

    fine = [([1, 2], "float32"), (np.zeros(2), "float32"), ([True, False], "int64")]
    for raw, dtype in [*fine, (np.array([0, 255]), "uint8")]:
        assert take(raw, (2,), dtype).dtype == dtype
    for raw in ([0, 256], [-1, 0], [0, 2**62]):
        with pytest.raises(
            WorldError, match=r"^x: observation 'y' holds .*, its space says uint8\."
        ):
            take(raw, (2,), "uint8")
    for raw, dtype in [([1.0, 2], "int64"), (["a", "b"], "float32")]:
        with pytest.raises(WorldError, match=f"^x: observation 'y' has dtype .*says {dtype}.$"):
            take(raw, (2,), dtype)
    with pytest.raises(WorldError, match=r"has shape \(3,\), its space says \(2,\)\.$"):
        take(np.zeros(3), (2,), "float32")
    with pytest.raises(WorldError, match="is no array"):
        take([[1], [1, 2]], (2,), "float32")


def test_descriptions_are_hashable_and_equal_by_value():
    assert dataclasses.replace(WORLD) == WORLD and hash(dataclasses.replace(WORLD)) == hash(WORLD)
    assert WORLD.obs_space["room"].classes == 5


def test_as_rgb_draws_grey_colour_stacks_and_dreams():
    image = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    np.testing.assert_array_equal(hosted.as_rgb(image), image)
    np.testing.assert_array_equal(hosted.as_rgb(image / np.float32(255)), image)
    grey = hosted.as_rgb(image[..., :1])
    assert grey.shape == image.shape and (grey == image[..., :1]).all()
    stack = np.concatenate([image, image[..., :1]], -1)
    np.testing.assert_array_equal(hosted.as_rgb(stack), grey)
    assert hosted.as_rgb(np.full((2, 2, 3), 7.0)).max() == 255
