"""The embedded worlds: each rule by a hand-set state, and Breakout beside a slow second writing."""

import collections
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite import worlds
from dreamer_lite.worlds import Breakout, Catch, breakout, catch

GRIDS = [name for name in worlds.names() if name != "pendulum"]  # see test_pendulum
STAY, LEFT, RIGHT = range(3)
KEY = jax.random.key(0)
WALL = frozenset((row, column) for row in (1, 2, 3) for column in range(10))
NOT_STICKY = Breakout(sticky=0.0)
RESET = jax.jit(NOT_STICKY.reset)
STEP = jax.jit(NOT_STICKY.step)


# Breakout's rules, one by one: a state set by hand, one step, what must come out.


@functools.cache
def brick_map(cells):
    """A brick map (10, 10) bool with bricks in these (row, column) cells."""
    bricks = np.zeros((10, 10), bool)
    for row, column in cells:
        bricks[row, column] = True
    return bricks


def play(row, column, down, right, *, paddle=4, action=STAY, bricks=WALL, strike=False, time=0):
    """One step from a ball at (row, column) that moves (down, right)."""
    state, _ = RESET(KEY)
    state = state._replace(
        row=jnp.int32(row),
        column=jnp.int32(column),
        down=jnp.int32(down),
        right=jnp.int32(right),
        paddle=jnp.int32(paddle),
        bricks=jnp.asarray(brick_map(bricks)),
        strike=jnp.array(strike),
        time=jnp.int32(time),
    )
    return STEP(state, jnp.int32(action), KEY)


def ball(state):
    """Row, column, vertical and horizontal direction as plain numbers."""
    return tuple(int(x) for x in (state.row, state.column, state.down, state.right))


def bricks_of(state):
    return {(int(row), int(column)) for row, column in np.argwhere(state.bricks)}


def ends(row):
    """(is_first, is_last, is_terminal) as plain bools."""
    return bool(row.is_first), bool(row.is_last), bool(row.is_terminal)


def test_start_is_one_of_two_corners_with_equal_chance():
    state, row = jax.jit(jax.vmap(NOT_STICKY.reset))(jax.random.split(KEY, 1000))
    starts = collections.Counter(zip(*(x.tolist() for x in state[:4]), strict=True))
    assert set(starts) == {(3, 0, 1, 1), (3, 9, 1, -1)}
    assert abs(starts[3, 0, 1, 1] - 500) < 80  # 5 standard deviations
    assert (state.paddle == 4).all() and not state.strike.any()
    assert (np.asarray(state.bricks) == brick_map(WALL)).all()
    assert (state.trail_row == state.row).all() and (state.trail_column == state.column).all()
    assert row.is_first.all() and not row.is_last.any() and not row.is_terminal.any()
    assert (row.reward == 0).all()


def test_observation_has_the_four_planes():
    state, row = play(6, 2, 1, 1, paddle=8, action=LEFT, bricks=frozenset({(1, 5), (3, 0)}))
    want = np.zeros((10, 10, 4), np.uint8)
    for cell in ((9, 7, 0), (7, 3, 1), (6, 2, 2), (1, 5, 3), (3, 0, 3)):
        want[cell] = 255
    assert row.obs["image"].dtype == jnp.uint8
    np.testing.assert_array_equal(row.obs["image"], want)


@pytest.mark.parametrize(
    ("paddle", "action", "after"),
    [(4, STAY, 4), (4, LEFT, 3), (4, RIGHT, 5), (0, LEFT, 0), (9, RIGHT, 9)],
)
def test_paddle_moves_one_column_and_stops_at_the_walls(paddle, action, after):
    state, _ = play(5, 5, 1, 1, paddle=paddle, action=action)
    assert state.paddle == after and state.action == action


@pytest.mark.parametrize("down", [1, -1])
@pytest.mark.parametrize("right", [1, -1])
def test_ball_moves_diagonally_and_leaves_a_trail(down, right):
    state, row = play(6, 5, down, right)
    assert ball(state) == (6 + down, 5 + right, down, right)
    assert (state.trail_row, state.trail_column, state.time) == (6, 5, 1)
    assert row.reward == 0 and ends(row) == (False, False, False)
    assert bricks_of(state) == WALL


@pytest.mark.parametrize(("column", "right"), [(0, -1), (9, 1)])
def test_side_walls_clamp_and_flip(column, right):
    state, _ = play(5, column, 1, right)
    assert ball(state) == (6, column, 1, -right)


@pytest.mark.parametrize("strike", [False, True])
def test_top_flips_in_row_0_and_clears_the_strike_flag(strike):
    state, row = play(0, 5, -1, 1, strike=strike)
    assert ball(state) == (0, 6, 1, 1)
    assert not state.strike and row.reward == 0 and bricks_of(state) == WALL


def test_brick_breaks_and_throws_the_ball_back():
    state, row = play(4, 5, -1, 1)
    assert ball(state) == (4, 6, 1, 1)  # new column, old row
    assert bricks_of(state) == WALL - {(3, 6)}
    assert state.strike and row.reward == 1 and row.reward.dtype == jnp.float32
    assert ends(row) == (False, False, False)


def test_brick_beside_the_wall():
    state, row = play(4, 9, -1, 1)
    assert ball(state) == (4, 9, 1, -1)
    assert bricks_of(state) == WALL - {(3, 9)} and row.reward == 1


def test_brick_with_the_strike_flag_on_only_lets_the_ball_move():
    state, row = play(4, 5, -1, 1, strike=True)
    assert ball(state) == (3, 6, -1, 1)
    assert bricks_of(state) == WALL and state.strike and row.reward == 0


@pytest.mark.parametrize(
    ("row", "column", "down"),
    [(5, 5, 1), (0, 5, -1), (8, 4, 1), (8, 8, 1)],  # open air, top, paddle, floor
)
def test_strike_flag_is_cleared_off_the_bricks(row, column, down):
    state, _ = play(row, column, down, 1, strike=True)
    assert not state.strike


def test_paddle_below_the_old_column_throws_back_up():
    state, row = play(8, 4, 1, 1, paddle=4)
    assert ball(state) == (8, 5, -1, 1)
    assert row.reward == 0 and ends(row) == (False, False, False)


def test_paddle_in_the_new_column_throws_back_both_ways():
    state, row = play(8, 4, 1, 1, paddle=5)
    assert ball(state) == (8, 5, -1, -1) and ends(row) == (False, False, False)


def test_old_column_goes_first_where_the_wall_makes_both_the_same():
    state, _ = play(8, 9, 1, 1, paddle=9)
    assert ball(state) == (8, 9, -1, -1)  # -1 from the wall; both would give +1


@pytest.mark.parametrize(("paddle", "action"), [(3, RIGHT), (5, LEFT)])
def test_paddle_has_moved_before_the_ball_lands(paddle, action):
    state, row = play(8, 4, 1, 1, paddle=paddle, action=action)
    assert ball(state) == (8, 5, -1, 1) and not row.is_last
    assert play(8, 4, 1, 1, paddle=4, action=LEFT)[1].is_terminal


@pytest.mark.parametrize("paddle", [0, 3, 6])
def test_missed_ball_terminates(paddle):
    state, row = play(8, 4, 1, 1, paddle=paddle)
    assert ball(state) == (9, 5, 1, 1)
    assert ends(row) == (False, True, True) and row.reward == 0


@pytest.mark.parametrize("paddle", [0, 4, 5])
def test_wall_is_refilled_when_the_ball_lands_and_no_brick_is_left(paddle):
    assert bricks_of(play(8, 4, 1, 1, paddle=paddle, bricks=())[0]) == WALL
    assert bricks_of(play(8, 4, 1, 1, paddle=paddle, bricks=frozenset({(2, 2)}))[0]) == {(2, 2)}
    assert bricks_of(play(7, 4, 1, 1, paddle=paddle, bricks=())[0]) == set()
    assert bricks_of(play(0, 4, -1, 1, paddle=paddle, bricks=())[0]) == set()


def test_time_limit_is_a_truncation():
    assert ends(play(5, 5, 1, 1, time=998)[1]) == (False, False, False)
    assert ends(play(5, 5, 1, 1, time=999)[1]) == (False, True, False)
    assert ends(play(8, 4, 1, 1, paddle=0, time=999)[1]) == (False, True, True)


def test_sticky_action_is_the_last_executed_one():
    always = jax.jit(Breakout(sticky=1.0).step)
    start, _ = RESET(KEY)
    state, _ = always(start, jnp.int32(LEFT), KEY)
    assert state.paddle == 4 and state.action == STAY  # before any action: stay
    for _ in range(2):  # what was executed is remembered, not what was asked for
        state, _ = always(start._replace(action=jnp.int32(RIGHT)), jnp.int32(LEFT), KEY)
        assert state.paddle == 5 and state.action == RIGHT
        start = state._replace(paddle=jnp.int32(4))


def test_sticky_frequency():
    start, _ = RESET(KEY)
    start = start._replace(action=jnp.int32(RIGHT))
    keys = jax.random.split(KEY, 20_000)
    step = jax.jit(jax.vmap(Breakout().step, (None, None, 0)))
    state, _ = step(start, jnp.int32(LEFT), keys)
    assert abs(float((state.paddle == 5).mean()) - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 20_000)
    assert ((state.paddle == 5) | (state.paddle == 3)).all()


# A second writing of MinAtar's rules: slow, plain, and in no way like the first.


class Plain(NamedTuple):
    """The same state with a set of bricks and no arrays."""

    row: int
    column: int
    down: int
    right: int
    trail: tuple[int, int]
    paddle: int = 4
    bricks: frozenset = WALL
    strike: bool = False


STARTS = (Plain(3, 0, 1, 1, (3, 0)), Plain(3, 9, 1, -1, (3, 9)))


def plain_step(s, action):
    """Steps on by the action that is really executed: (state, reward, terminal, what happened)."""
    if action == LEFT and s.paddle > 0:
        s = s._replace(paddle=s.paddle - 1)
    if action == RIGHT and s.paddle < 9:
        s = s._replace(paddle=s.paddle + 1)
    old_row, old_column = s.row, s.column
    new_row, new_column = old_row + s.down, old_column + s.right
    s = s._replace(trail=(old_row, old_column))
    if not 0 <= new_column <= 9:
        new_column = min(max(new_column, 0), 9)
        s = s._replace(right=-s.right)
    reward, on_brick, event = 0, False, "air"
    if new_row < 0:
        event = "top"
        s, new_row = s._replace(down=-s.down), 0
    elif (new_row, new_column) in s.bricks:
        on_brick, event = True, "through"
        if not s.strike:
            reward, event = 1, "brick"
            s = s._replace(down=-s.down, strike=True, bricks=s.bricks - {(new_row, new_column)})
            new_row = old_row
    elif new_row == 9:
        refill = "" if s.bricks else "refill "
        s = s._replace(bricks=s.bricks or WALL)
        if s.paddle == old_column:
            event = refill + "caught"
            s, new_row = s._replace(down=-s.down), old_row
        elif s.paddle == new_column:
            event = refill + "edge"
            s, new_row = s._replace(down=-s.down, right=-s.right), old_row
        else:
            event = "lost"
    if not on_brick:
        s = s._replace(strike=False)
    return s._replace(row=new_row, column=new_column), reward, event == "lost", event


def plain_image(s):
    """What is seen of it, (10, 10, 4) uint8."""
    image = np.zeros((10, 10, 4), np.uint8)
    image[9, s.paddle, 0] = image[s.row, s.column, 1] = image[(*s.trail, 2)] = 255
    image[..., 3] = 255 * brick_map(s.bricks)
    return image


def rollout(world, policy, number, steps, key):
    """Autoresets `number` worlds: (states, rows, actions), their leaves (steps, number, ...)."""

    @jax.jit
    def run(key):
        begin = jax.vmap(world.reset)(jax.random.split(key, number))

        def body(carry, key):
            keys = jax.random.split(key, number + 1)
            action = policy(carry[1].obs["image"], keys[0])
            after = jax.vmap(functools.partial(worlds.next_timestep, world))(
                *carry, action, keys[1:]
            )
            return after, (*carry, action)

        return jax.lax.scan(body, begin, jax.random.split(jax.random.fold_in(key, 1), steps))[1]

    return jax.tree.map(np.asarray, run(key))


def at_random(image, key):
    return jax.random.randint(key, image.shape[:1], 0, 3)


def chase(image):
    """Actions (number,) that go below the ball where it is seen, else stay; both games."""
    paddle, ball = (image[..., plane].max(1).argmax(-1) for plane in (0, 1))
    ahead = jnp.where(image[..., 1].any((1, 2)), ball - paddle, 0)
    return jnp.where(ahead > 0, RIGHT, jnp.where(ahead < 0, LEFT, STAY))


def chase_with_slips(image, key):
    slip_key, key = jax.random.split(key)
    slip = jax.random.bernoulli(slip_key, 0.02, image.shape[:1])
    return jnp.where(slip, at_random(image, key), chase(image))


LIMIT = 300


@functools.cache
def breakout_rollout():
    """Six worlds of good play, four sticky ones of random play; leaves (1000, 10, ...)."""
    good = rollout(Breakout(0.0, LIMIT), chase_with_slips, 6, 1000, jax.random.key(1))
    poor = rollout(Breakout(0.1, LIMIT), at_random, 4, 1000, jax.random.key(2))
    return jax.tree.map(lambda a, b: np.concatenate([a, b], 1), good, poor)


def test_breakout_play_agrees_with_its_second_writing():
    states, rows, actions = breakout_rollout()
    rewards, lasts, terminals = (x.tolist() for x in (rows.reward, rows.is_last, rows.is_terminal))
    cuts = 0
    for world in range(10):
        for t in range(1000):
            if t == 0 or lasts[t - 1][world]:
                start = STARTS[int(states.column[t, world] > 0)]
                plain, reward, terminal, last_executed, time = start, 0, False, STAY, 0
            else:
                executed, time = int(states.action[t, world]), time + 1
                assert executed in (actions[t - 1, world], last_executed if world >= 6 else None)
                plain, reward, terminal, _ = plain_step(plain, executed)
                last_executed = executed
                cuts += time == LIMIT and not terminal
            assert rewards[t][world] == reward and terminals[t][world] == terminal
            assert lasts[t][world] == (terminal or time == LIMIT)
            assert (rows.obs["image"][t, world] == plain_image(plain)).all()
    assert cuts and rows.is_terminal.any()


def test_breakout_agrees_with_its_second_writing_from_any_state():
    """One step from 4,000 states, most of which play would hardly ever meet."""
    number = 4000
    draw = np.random.default_rng(0)
    start = RESET(KEY)[0]
    state = jax.tree.map(lambda x: np.repeat(np.asarray(x)[None], number, 0), start)

    def scalar(low, high):
        return draw.integers(low, high, number, dtype=np.int32)

    state = state._replace(
        row=np.where(draw.random(number) < 0.3, 8, scalar(0, 9)).astype(np.int32),
        column=scalar(0, 10),
        down=2 * scalar(0, 2) - 1,
        right=2 * scalar(0, 2) - 1,
        paddle=scalar(0, 10),
        strike=scalar(0, 2) > 0,
        bricks=state.bricks & (draw.random((number, 10, 10)) < scalar(0, 3)[:, None, None] / 2),
    )
    actions = scalar(0, 3)
    after, row = jax.jit(jax.vmap(NOT_STICKY.step, (0, 0, None)))(state, actions, KEY)
    state, after, row = (jax.tree.map(np.asarray, x) for x in (state, after, row))
    events = collections.Counter()
    for i in range(number):
        here = [int(x[i]) for x in state[:4]]
        bricks = frozenset(zip(*(x.tolist() for x in state.bricks[i].nonzero()), strict=True))
        plain = Plain(*here, (0, 0), int(state.paddle[i]), bricks, bool(state.strike[i]))
        plain, reward, terminal, event = plain_step(plain, int(actions[i]))
        events[event] += 1
        assert [int(x[i]) for x in after[:4]] == list(plain[:4]), event
        assert after.strike[i] == plain.strike and row.reward[i] == reward, event
        assert row.is_terminal[i] == terminal == row.is_last[i], event
        assert (row.obs["image"][i] == plain_image(plain)).all(), event
    kinds = "air", "top", "brick", "through", "caught", "edge", "refill caught", "refill edge"
    assert all(events[kind] > 15 for kind in (*kinds, "lost")), events


def exact_random_return(sticky):
    """Mean return of random play: all states of the second writing, each with its probability."""
    ahead = {(start, STAY): 0.5 for start in STARTS}
    total = 0.0
    while sum(ahead.values()) > 1e-4:
        here, ahead = ahead, collections.defaultdict(float)
        for (state, last), chance in here.items():
            for action in (STAY, LEFT, RIGHT):
                share = chance * ((1 - sticky) / 3 + sticky * (action == last))
                after, reward, terminal, _ = plain_step(state, action)
                total += share * reward
                if not terminal:
                    # Where the ball was does not change what follows: fewer states to tell apart.
                    ahead[after._replace(trail=(0, 0)), action if sticky else STAY] += share
    return total


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def first_episodes(world, number, steps, key):
    """Returns (number,) of the first episodes under random play, and which of them have ended."""
    reset_key, key = jax.random.split(key)
    state, _ = jax.vmap(world.reset)(jax.random.split(reset_key, number))

    def body(carry, key):
        state, going, total = carry
        action_key, world_key = jax.random.split(key)
        action = jax.random.randint(action_key, (number,), 0, 3)
        state, row = jax.vmap(world.step)(state, action, jax.random.split(world_key, number))
        return (state, going & ~row.is_last, total + going * row.reward), None

    begin = state, jnp.ones(number, bool), jnp.zeros(number)
    (_, going, total), _ = jax.lax.scan(body, begin, jax.random.split(key, steps))
    return total, ~going


@pytest.mark.parametrize(("sticky", "known"), [(0.1, 0.387), (0.0, 0.414)])
def test_random_play_scores_what_the_rules_say(sticky, known):
    exact = exact_random_return(sticky)
    assert abs(exact - known) < 1e-3
    returns, ended = first_episodes(Breakout(sticky=sticky), 20_000, 150, jax.random.key(3))
    assert ended.all()
    error = float(returns.std()) / np.sqrt(len(returns))
    assert error < 0.01 and abs(float(returns.mean()) - exact) < 4 * error


# The layout of time steps.


@pytest.mark.parametrize("name", GRIDS)
def test_rows_are_laid_out_as_the_spec_says(name):
    world = worlds.make(name)
    if name == "minatar/breakout":
        _, rows, _ = breakout_rollout()
    else:
        _, rows, _ = catch_rollout(world.hidden, world.kink)
    assert rows.is_first[0].all()
    np.testing.assert_array_equal(rows.is_first[1:], rows.is_last[:-1])
    assert rows.is_last.any() and (rows.is_terminal <= rows.is_last).all()
    assert (rows.reward[rows.is_first] == 0).all()
    assert not (rows.is_first & rows.is_last).any()
    assert rows.reward.dtype == np.float32
    assert all(flag.dtype == bool for flag in rows[2:])
    for key, space in world.obs_space.items():
        assert rows.obs[key].shape[2:] == space.shape and rows.obs[key].dtype == space.dtype
        assert space.is_image and set(np.unique(rows.obs[key])) == {0, 255}
    assert world.action_space.is_discrete and not world.action_space.is_image
    assert world.action_space.classes == len(world.action_names) == 3


@pytest.mark.parametrize("name", worlds.names())
def test_shapes_and_types_never_change(name):
    world = worlds.make(name)
    begun = jax.eval_shape(world.reset, KEY)
    space = world.action_space
    action = jnp.zeros(space.shape, space.dtype)
    stepped = jax.eval_shape(world.step, begun[0], action, KEY)
    assert begun == stepped  # shape and dtype of every leaf
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((begun, stepped)))


def test_an_episode_of_l_actions_gives_l_plus_1_rows():
    _, rows, _ = rollout(Breakout(time_limit=5), at_random, 3, 25, KEY)
    assert (rows.is_last.nonzero()[0] % 6 == 5).all() and rows.is_last.sum() == 3 * 4
    assert not rows.is_terminal.any()  # no ball reaches the floor in 5 steps


def test_reset_row_ignores_the_action_and_equals_a_reset():
    state, row = play(8, 4, 1, 1, paddle=0)
    want = jax.tree.leaves(RESET(KEY))
    for action in (STAY, LEFT, RIGHT):
        got = worlds.next_timestep(NOT_STICKY, state, row, jnp.int32(action), KEY)
        assert all((a == b).all() for a, b in zip(jax.tree.leaves(got), want, strict=True))


@pytest.mark.parametrize("name", ["catch/hidden-kink", "minatar/breakout"])
def test_vmap_equals_a_loop_and_nothing_compiles_twice(name):
    world = worlds.make(name)
    step = functools.partial(worlds.next_timestep, world)
    one, many, reset = jax.jit(step), jax.jit(jax.vmap(step)), jax.jit(world.reset)
    keys = jax.random.split(KEY, 3)
    singles = [reset(key) for key in keys]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *singles)
    for t in range(15):
        actions = [jnp.int32((t + world) * 7 % 3) for world in range(3)]
        batch = many(*batch, jnp.stack(actions), keys)
        singles = [one(*x, a, key) for x, a, key in zip(singles, actions, keys, strict=True)]
        together = jax.tree.map(lambda *x: jnp.stack(x), *singles)
        jax.tree.map(np.testing.assert_array_equal, batch, together)
    assert batch[1].is_last.shape == (3,)
    assert one._cache_size() == many._cache_size() == 1


# Catch.


@functools.cache
def catch_rollout(hidden, kink):
    """Three episodes of 10 rows in 2,000 worlds; in every other one the player only stays."""

    def policy(image, key):
        return jnp.where(jnp.arange(len(image)) % 2, STAY, chase(image))

    return rollout(Catch(hidden=hidden, kink=kink), policy, 2000, 30, jax.random.key(4))


def test_catch_ball_falls_straight_and_the_episode_ends_on_the_floor():
    states, rows, _ = catch_rollout(False, False)
    images = rows.obs["image"]
    assert (images != 0).sum() == 2 * 30 * 2000  # one paddle, one ball
    where = images[..., 1].reshape(30, 2000, 100).argmax(-1)
    falls = states.column[0] + 10 * np.arange(10)[:, None]
    np.testing.assert_array_equal(where[:10], falls)
    paddles = images[:10, 1::2, 9, :, 0].argmax(-1)
    assert (paddles == 5).all()  # who stays
    starts = np.bincount(states.column[0], minlength=10)
    assert (abs(starts - 200) < 70).all()  # 5 standard deviations
    ends = np.broadcast_to(np.arange(30)[:, None] % 10 == 9, (30, 2000))
    np.testing.assert_array_equal(rows.is_last, ends)
    np.testing.assert_array_equal(rows.is_terminal, ends)
    np.testing.assert_array_equal(rows.reward, ends & (states.column == states.paddle))
    assert 0 < rows.reward[9, 1::2].mean() < 0.2


@pytest.mark.parametrize(
    ("paddle", "action", "after"), [(3, RIGHT, 4), (5, LEFT, 4), (0, LEFT, 0), (9, RIGHT, 9)]
)
def test_catch_paddle_moves_before_the_ball_lands(paddle, action, after):
    state = catch.State(jnp.int32(8), jnp.int32(4), jnp.int32(paddle))
    state, row = Catch().step(state, jnp.int32(action), KEY)
    assert state.paddle == after and row.reward == (after == 4) and row.is_terminal


@pytest.mark.parametrize("kink", [False, True])
def test_hidden_ball_is_blank_in_rows_3_to_6_and_falls_all_the_same(kink):
    seen_states, seen, _ = catch_rollout(False, kink)
    states, hidden, _ = catch_rollout(True, kink)
    np.testing.assert_array_equal(states.column, seen_states.column)
    want = seen.obs["image"][..., 1].copy()
    want[:, :, 3:7] = 0
    np.testing.assert_array_equal(hidden.obs["image"][..., 1], want)
    assert hidden.obs["image"][..., 0].any((2, 3)).all()  # the paddle stays in sight


def test_kink_is_a_fair_coin_from_every_column():
    columns = catch_rollout(True, True)[0].column[:10]
    assert (columns[:5] == columns[0]).all() and (columns[5:] == columns[9]).all()
    assert set(np.unique(abs(columns[9] - columns[0]))) == {2}
    assert set(np.unique(columns[0])) == set(range(2, 8))
    assert columns.min() == 0 and columns.max() == 9
    for start in range(2, 8):
        right = columns[9, columns[0] == start] > start
        assert abs(right.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(right))


def test_kink_is_not_decided_before_it_happens():
    state = catch.State(jnp.int32(4), jnp.int32(5), jnp.int32(5))
    step = jax.jit(jax.vmap(Catch(kink=True).step, (None, None, 0)))
    after, _ = step(state, jnp.int32(STAY), jax.random.split(KEY, 50))
    assert set(after.column.tolist()) == {3, 7}


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("kink", [False, True])
def test_every_ball_can_be_caught_by_its_picture_alone(hidden, kink):
    """A player who goes below the ball while he sees it gets every start and both sides."""
    states, rows, _ = catch_rollout(hidden, kink)
    assert (rows.reward[9::10, ::2] == 1).all()
    pairs = zip(states.column[0, ::2].tolist(), states.column[9, ::2].tolist(), strict=True)
    if kink:
        assert set(pairs) == {(start, start + side) for start in range(2, 8) for side in (2, -2)}
    else:
        assert set(pairs) == {(start, start) for start in range(10)}


def test_who_guesses_the_side_of_a_hidden_kink_catches_half():
    """The wrong side is four columns off, and two actions are left from row 7 on."""
    step = jax.jit(jax.vmap(Catch(hidden=True, kink=True).step))
    row, column, paddle = (jnp.full(1000, number) for number in (4, 5, 7))  # a guess: right
    state = catch.State(row, column, paddle)
    action = jnp.full(1000, STAY)
    for t in range(5):
        state, row = step(state, action, jax.random.split(jax.random.key(t), 1000))
        action = chase(row.obs["image"])
    np.testing.assert_array_equal(row.reward, state.column == 7)
    assert abs(float(row.reward.mean()) - 0.5) < 4 * 0.5 / np.sqrt(1000)


# Names and pictures.


def test_names_make_equal_hashable_worlds_that_know_their_name():
    assert set(worlds.names()) == {
        "catch",
        "catch/hidden",
        "catch/kink",
        "catch/hidden-kink",
        "minatar/breakout",
        "pendulum",
    }
    for name in worlds.names():
        assert worlds.make(name).name == name
        assert worlds.make(name) == worlds.make(name)
    assert len({worlds.make(name) for name in worlds.names()}) == 6


def test_unknown_name_is_one_sentence_with_the_choices():
    with pytest.raises(ValueError) as caught:
        worlds.make("minatar/Brekout")
    message = str(caught.value)
    assert "did you mean 'minatar/breakout'?" in message and "\n" not in message
    assert all(name in message for name in worlds.names())
    with pytest.raises(ValueError, match="choose one of"):
        worlds.make("")


@pytest.mark.parametrize("name", GRIDS)
def test_render_shapes_and_uint8_equals_float(name):
    world = worlds.make(name)
    image = np.random.default_rng(0).integers(0, 2, (2, 3, *world.obs_space["image"].shape))
    image = (255 * image).astype(np.uint8)
    pictures = world.render({"image": image})
    assert pictures.shape == (2, 3, 320, 320, 3) and pictures.dtype == np.uint8
    for same in (image / 255, (image / 255).astype(np.float32), jnp.asarray(image)):
        np.testing.assert_array_equal(world.render({"image": same}), pictures)
    np.testing.assert_array_equal(world.render({"image": image[1, 2]}), pictures[1, 2])
    assert world.render({"image": image[:0]}).shape == (0, 3, 320, 320, 3)


@pytest.mark.parametrize("name", ["catch", "minatar/breakout"])
def test_render_blends_by_the_value_and_keeps_to_the_cell(name):
    world = worlds.make(name)
    shape = world.obs_space["image"].shape
    empty = world.render({"image": np.zeros(shape)}).astype(int)
    for plane in range(shape[-1]):
        image = np.zeros(shape)
        image[2, 7, plane] = 1
        full = world.render({"image": image}).astype(int) - empty
        half = world.render({"image": image / 2}).astype(int) - empty
        assert abs(full).max() > 50 and abs(half - full / 2).max() <= 1
        full[64:96, 224:256] = 0
        assert not full.any()


def test_render_is_read_without_colours():
    """In grey, the ball is the brightest thing, and no two planes have the same shape."""
    _, row = play(5, 5, 1, 1)
    grey = Breakout().render(row.obs).mean(-1)
    beside = grey.copy()
    beside[6 * 32 : 7 * 32, 6 * 32 : 7 * 32] = 0  # the ball's cell
    assert grey.max() > beside.max() + 50
    masks = [sprite.mask > 0.5 * sprite.mask.max() for sprite in breakout._SPRITES]
    for i in range(4):
        for j in range(i):
            assert (masks[i] != masks[j]).any()
