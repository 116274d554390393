"""The control suite's adapter beside dm_control itself, its pictures, and the choice of OpenGL."""

import importlib.util
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from dreamer_lite import worlds
from dreamer_lite.worlds import Space, WorldError, hosted, rendering

if importlib.util.find_spec("dm_control") is None:
    pytest.skip("dm_control is not installed", allow_module_level=True)

from dreamer_lite.worlds import dmc

needs_drawing = pytest.mark.skipif(
    rendering.choose().backend is None, reason="neither EGL nor OSMesa is installed"
)


def plain(domain, task, seed):
    return dmc.suite().load(domain, task, task_kwargs={"random": seed})


def flat(observation):
    return {key: np.reshape(x, -1).astype(np.float32) for key, x in observation.items()}


def test_walker_is_described():
    world = worlds.make("dmc/walker-walk")
    assert worlds.is_hosted(world) and world.name == "dmc/walker-walk" and world.repeat == 2
    assert {key: space.shape for key, space in world.obs_space.items()} == {
        "orientations": (14,),
        "height": (1,),
        "velocity": (9,),
    }
    assert world.action_space == Space((6,), "float32")
    assert world.action_names[0] == "right_hip" and len(world.action_names) == 6
    assert world == worlds.make("dmc/walker-walk") and len({world, world}) == 1


@pytest.mark.parametrize("name", ["walker-walk", "ball_in_cup-catch"])
def test_rows_equal_the_suite_stepped_by_hand(name):
    """Two worlds over a whole episode and into the next: repeat, rewards, flags, resets."""
    domain, task = name.split("-")
    world = worlds.make(f"dmc/{name}")
    stepper, seeds = world.start(2, 3), hosted.seeds(3, 2)
    envs = [plain(domain, task, seed) for seed in seeds]
    moments = [env.reset() for env in envs]
    row, rng, lasts = stepper.reset(), np.random.default_rng(0), []
    for t in range(505):
        for i, moment in enumerate(moments):
            for key, value in flat(moment.observation).items():
                np.testing.assert_array_equal(row.obs[key][i], value)
        if row.is_last.any():
            lasts.append(t)
            assert row.is_last.all() and not row.is_terminal.any()  # time is up after 1000 steps
        action = rng.uniform(-1.5, 1.5, (2, *world.action_space.shape)).astype(np.float32)
        if row.is_last[0]:
            moments, rewards, first = [env.reset() for env in envs], [0, 0], True
        else:
            rewards, first = [0, 0], False
            for i, env in enumerate(envs):
                for _ in range(2):
                    moments[i] = env.step(np.clip(action[i], -1, 1))
                    rewards[i] += moments[i].reward
        row = stepper.step(action)
        np.testing.assert_allclose(row.reward, rewards, rtol=1e-6)
        assert (row.is_first == first).all()
    assert lasts == [500]
    stepper.close()


def test_a_discount_of_0_is_terminal_and_stops_the_repeat(monkeypatch):
    """lqr ends so when it is at rest; here the threshold is lifted to end it at once."""
    world = worlds.make("dmc/lqr-lqr_2_1")
    stepper = world.start(1, 0)
    stepper.reset()
    env = stepper.environments[0].env
    ends = iter([None, 0.0])
    monkeypatch.setattr(env.task, "get_termination", lambda physics: next(ends))
    row = stepper.step(np.zeros((1, 1), np.float32))  # both physics steps
    assert row.is_last[0] and row.is_terminal[0]
    assert stepper.step(np.zeros((1, 1), np.float32)).is_first[0]
    ends = iter([0.0])  # a second step would find nothing left
    assert stepper.step(np.zeros((1, 1), np.float32)).is_terminal[0]
    stepper.close()


def test_actions_without_bounds_pass_as_they_are():
    world = worlds.make("dmc/lqr-lqr_2_1")
    stepper = world.start(1, 0)
    stepper.reset()
    stepper.step(np.array([[0.25]], np.float32))
    assert stepper.environments[0].env.physics.control() == 0.25


def test_reset_starts_all_over():
    stepper = worlds.make("dmc/cartpole-swingup").start(2, 1)
    action = np.ones((2, 1), np.float32)
    first = [stepper.reset().obs, stepper.step(action).obs]
    again = [stepper.reset().obs, stepper.step(action).obs]
    for one, two in zip(first, again):
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])
            assert (one[key][0] != one[key][1]).any()


def test_what_the_physics_raises_is_a_world_error():
    stepper = worlds.make("dmc/cartpole-swingup").start(1, 0)
    stepper.reset()
    stepper.environments[0].env.physics.data.qpos[:] = np.nan
    with pytest.raises(WorldError, match=r"^dmc/cartpole-swingup: [^\n]*$"):
        for _ in range(3):
            stepper.step(np.zeros((1, 1), np.float32))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dmc/walker-wlak", "did you mean dmc/walker-walk"),
        ("dmc/Walker-Walk", "did you mean dmc/walker-walk"),
        ("dmc/walker_walk", "did you mean dmc/walker-walk"),
        ("dmc/walker-walk/pixel", "dmc/DOMAIN-TASK/pixels"),
        ("dmc/", "dmc/DOMAIN-TASK"),
    ],
)
def test_unknown_tasks_are_one_sentence(name, words):
    with pytest.raises(ValueError) as caught:
        worlds.make(name)
    assert words in str(caught.value) and "\n" not in str(caught.value)


# Pictures.


def test_proprio_training_draws_nothing(monkeypatch):
    monkeypatch.setattr(rendering, "on_thread", lambda function, *args: function(*args))
    for name in ("fast_camera", "film_camera"):
        monkeypatch.setattr(dmc, name, None)
    stepper = worlds.make("dmc/walker-walk").start(1, 0)
    stepper.reset()
    stepper.step(np.zeros((1, 6), np.float32))
    assert stepper.environments[0].env.physics._contexts is None
    stepper.close()


@needs_drawing
def test_pixels_are_the_scene_without_its_shadow():
    """Beside the usual slow camera of the same seed and actions: the walker is where it is."""
    world = worlds.make("dmc/walker-walk/pixels")
    assert world.obs_space == {"image": Space((64, 64, 3), "uint8")}
    assert world != worlds.make("dmc/walker-walk")
    stepper = world.start(2, 0)
    env = plain("walker", "walk", hosted.seeds(0, 2)[0])
    row, moment = stepper.reset(), env.reset()
    assert row.obs["image"].dtype == np.uint8 and row.obs["image"].shape == (2, 64, 64, 3)
    for t in range(20):
        slow = rendering.on_thread(env.physics.render, 64, 64, 0).astype(int)
        fast = row.obs["image"][0].astype(int)
        walker, found = (x[..., 0] > x[..., 2] + 30 for x in (slow, fast))  # orange on blue
        assert walker.sum() > 50 and (walker & found).sum() > 0.8 * (walker | found).sum()
        assert abs(slow - fast).mean() < 12
        action = np.full((2, 6), np.sin(t), np.float32)
        row = stepper.step(action)
        for _ in range(2):
            moment = env.step(action[0])
    assert not moment.last()
    frames = stepper.frames()
    assert frames.shape == (2, 240, 320, 3) and frames.dtype == np.uint8
    small = frames.reshape(2, 240, 320, 3)[:, :, 40:280].reshape(2, 60, 4, 60, 4, 3).mean((2, 4))
    assert abs(small[0] - small[1]).mean() > 1  # two different walkers
    np.testing.assert_array_equal(world.render(row.obs), row.obs["image"])
    stepper.close()
    rendering.on_thread(env.physics.free)


@needs_drawing
@pytest.mark.parametrize("domain_task", [("walker", "walk"), ("cheetah", "run"), ("hopper", "hop")])
def test_poses_are_found_again_from_observations(domain_task):
    env = plain(*domain_task, 0)
    rng, pose = np.random.default_rng(0), dmc.POSES[domain_task[0]]
    for _ in range(20):
        env.physics.data.qpos[:] = rng.uniform(-2, 2, env.physics.model.nq)
        env.physics.named.data.qpos["rootx"] = 0
        env.physics.forward()
        places = env.physics.data.xpos.copy(), env.physics.data.xmat.copy()
        obs = flat(env.task.get_observation(env.physics))
        env.physics.data.qpos[:] = pose(obs)
        env.physics.forward()
        np.testing.assert_allclose(env.physics.data.xpos, places[0], atol=1e-5)
        np.testing.assert_allclose(env.physics.data.xmat, places[1], atol=1e-5)


@needs_drawing
def test_dreams_of_a_walker_are_drawn_as_the_real_one():
    world = worlds.make("dmc/walker-walk")
    stepper = world.start(2, 0)
    obs = stepper.reset().obs
    drawn = world.render(obs)
    assert drawn.shape == (2, 240, 320, 3) and drawn.dtype == np.uint8
    # The floor's pattern tells how far it has walked, which a dream does not know.
    np.testing.assert_allclose(drawn.astype(int), stepper.frames().astype(int), atol=2)
    many = {key: np.stack([[x[0]], [x[1]], [x[0]]]) for key, x in obs.items()}
    pictures = world.render(many)
    assert pictures.shape == (3, 1, 240, 320, 3)
    np.testing.assert_array_equal(pictures[:2, 0], drawn)
    unsure = {key: 0.3 * x for key, x in obs.items()} | {"height": np.full((2, 1), np.nan)}
    assert world.render(unsure).shape == drawn.shape
    stepper.close()
    assert worlds.make("dmc/cartpole-swingup").render({"position": np.zeros(3)}) is None


@needs_drawing
def test_any_thread_may_step_and_draw():
    stepper = worlds.make("dmc/cartpole-swingup/pixels").start(1, 0)
    stepper.reset()
    rows = []
    thread = threading.Thread(target=lambda: rows.append(stepper.step(np.zeros((1, 1), "f"))))
    thread.start()
    thread.join()
    rows.append(stepper.step(np.zeros((1, 1), np.float32)))
    assert len(rows) == 2 and stepper.frames() is not None
    stepper.close()


# The choice of OpenGL, each in a process of its own: it is made before the import, for good.


def in_a_process(program, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY")}
    environment.pop("PYOPENGL_PLATFORM", None)
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment | variables,
    )
    return result.returncode, result.stdout.strip(), result.stderr


TRY = """
from dreamer_lite import worlds; from dreamer_lite.worlds import rendering
rendering.egl_starts, rendering.osmesa_loads = lambda: {egl}, lambda: {osmesa}
def attempt(name):
    try:
        stepper = worlds.make(name).start(1, 0)
        print(name, sorted(stepper.reset().obs), stepper.frames() is not None)
    except ValueError as error:
        print(error)
print(rendering.describe())
attempt("dmc/cartpole-swingup")
attempt("dmc/cartpole-swingup/pixels")
"""
PHYSICS = "dmc/cartpole-swingup ['position', 'velocity']"


@needs_drawing
def test_it_draws_by_itself_and_ends_quietly_without_close():
    works = rendering.egl_starts(), rendering.osmesa_loads()
    status, out, err = in_a_process(TRY.format(egl=works[0], osmesa=works[1]), MUJOCO_GL="")
    assert status == 0 and "Exception" not in err, err
    assert out.splitlines()[1:] == [
        f"{PHYSICS} True",
        "dmc/cartpole-swingup/pixels ['image'] True",
    ]


def test_without_opengl_physics_works_and_pixels_name_the_package():
    status, out, err = in_a_process(TRY.format(egl=False, osmesa=False))
    assert status == 0, err
    reason, physics, pixels = out.splitlines()
    assert physics == f"{PHYSICS} False" and "sudo apt install libegl1" in pixels
    assert reason == pixels and "not drawn" in err and "sudo apt install" in err


def test_a_screen_that_is_gone_draws_nothing():
    for more in ({}, {"MUJOCO_GL": "glfw"}):
        program = TRY.format(egl=False, osmesa=False)
        status, out, err = in_a_process(program, DISPLAY=":987", **more)
        assert status == 0, err
        assert out.splitlines()[1] == f"{PHYSICS} False" and "not drawn" in err


@pytest.mark.parametrize(
    ("value", "words"), [("eagle", "names no way to draw"), ("osmesa", "does not work here")]
)
def test_a_wrong_mujoco_gl_is_one_sentence(value, words):
    status, out, err = in_a_process(TRY.format(egl=True, osmesa=False), MUJOCO_GL=value)
    assert status == 0, err
    assert len(out.splitlines()) == 3 and len(set(out.splitlines())) == 1
    assert f"MUJOCO_GL={value} " in out and words in out


@pytest.mark.parametrize(
    ("value", "words"), [("OFF", "turns drawing off"), ("glfw", "there is none: unset it")]
)
def test_no_pictures_by_request_but_physics(value, words):
    status, out, _ = in_a_process(TRY.format(egl=True, osmesa=True), MUJOCO_GL=value)
    assert status == 0 and f"MUJOCO_GL={value} " in out and words in out
    assert out.splitlines()[1] == f"{PHYSICS} False"


def test_who_imported_dm_control_first_has_settled_it():
    program = "from dm_control import suite\n" + TRY.format(egl=True, osmesa=True)
    status, out, _ = in_a_process(program)
    assert status == 0 and out.splitlines()[1] == f"{PHYSICS} False"
    assert "imported earlier, without a way to draw" in out.splitlines()[2]


def test_a_missing_package_is_one_sentence(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "dm_control" else real(name)
    )
    with pytest.raises(ValueError, match=r"^dmc/walker-walk needs the package dm_control: run "):
        worlds.make("dmc/walker-walk")
