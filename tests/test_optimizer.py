"""The optimiser: clipping over whole tensors, then RMS scaling, then momentum, then warm-up."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden_cases import VECTORS

from dreamer_lite.agent.optimizer import clip_by_parameter_norm, learning_rate, make_optimizer
from dreamer_lite.config import Config


def of_norm(norm: float, shape: tuple[int, ...]) -> jnp.ndarray:
    """An uneven tensor of this norm."""
    x = np.random.default_rng(1).normal(size=shape)
    return jnp.array(norm * x / np.linalg.norm(x), jnp.float32)


@pytest.mark.parametrize("case", VECTORS["agc"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
def test_clipping_takes_the_norm_of_the_whole_tensor(case: dict, shape: tuple[int, ...]) -> None:
    params, grads = of_norm(case["param_norm"], shape), of_norm(case["grad_norm"], shape)
    clip = clip_by_parameter_norm(0.3, 1e-3)
    clipped, _ = clip.update({"w": grads, "b": grads}, clip.init({}), {"w": params, "b": params})
    for out in clipped.values():
        np.testing.assert_allclose(out, case["factor"] * np.asarray(grads), rtol=1e-5)


def test_each_tensor_is_clipped_for_itself() -> None:
    clip = clip_by_parameter_norm(0.3, 1e-3)
    params = {"big": of_norm(10, (4,)), "small": of_norm(1, (4,))}
    grads = {"big": of_norm(2, (4,)), "small": of_norm(2, (4,))}
    clipped, _ = clip.update(grads, clip.init(params), params)
    np.testing.assert_allclose(np.linalg.norm(clipped["big"]), 2, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(clipped["small"]), 0.3, rtol=1e-5)


def test_scalar_sequence() -> None:
    """Step by step against the golden numbers: normalised first, then averaged, first rate 0."""
    optimizer = make_optimizer(Config())
    param = jnp.float32(10)
    state = optimizer.init(param)
    for row in VECTORS["laprop_scalar_param10"]:
        step, state = optimizer.update(jnp.float32(row["grad"]), state, param)
        np.testing.assert_allclose(step, -row["lr"] * row["m_hat"], rtol=1e-4)
        param = optax.apply_updates(param, step)
        np.testing.assert_allclose(param, row["param"], rtol=1e-7)


def test_learning_rate_schedule() -> None:
    """A constant gradient is scaled to 1, so the steps are the rates."""
    optimizer = make_optimizer(Config())
    expected = {int(k): v for k, v in VECTORS["lr_schedule_by_update_index_from0"].items()}
    param = jnp.float32(1)
    state = optimizer.init(param)
    (clip, (rms, ema, rate)) = state
    for count, lr in expected.items():
        later = (clip, (rms, ema, rate._replace(count=jnp.int32(count))))
        step, _ = optimizer.update(jnp.float32(0.01), later, param)
        np.testing.assert_allclose(step, -lr, rtol=1e-4)
    flat = make_optimizer(Config(warmup=0, learning_rate=0.5))
    step, _ = flat.update(jnp.float32(0.01), flat.init(param), param)
    np.testing.assert_allclose(step, -0.5, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (dict(warmup=0, decay=0), {0: 1.0, 50: 1.0, 10**6: 1.0}),
        (dict(warmup=0, decay=100), {0: 1.0, 300: 1 / 2, 9900: 1 / 10}),
        (dict(warmup=600, decay=100), {0: 0.0, 300: 1 / 4, 800: 1 / 3}),
    ],
)
def test_rate_warms_up_and_falls(settings: dict, expected: dict[int, float]) -> None:
    rate = learning_rate(Config(learning_rate=0.5, **settings))
    for t, share in expected.items():
        np.testing.assert_allclose(rate(jnp.int32(t)), 0.5 * share, rtol=1e-6)


def test_every_tensor_moves_as_it_would_alone() -> None:
    """All are scaled as one vector; each must get its own part of it back, in its own shape."""
    rng = np.random.default_rng(0)
    optimizer = make_optimizer(Config(warmup=0, learning_rate=0.1))
    shapes = {"a": (3, 4), "b": (), "c": (5,)}
    params = {name: jnp.array(rng.normal(size=shape)) for name, shape in shapes.items()}
    grads = [{n: jnp.array(rng.normal(size=s)) for n, s in shapes.items()} for _ in range(3)]
    state, alone = optimizer.init(params), {n: optimizer.init(params[n]) for n in shapes}
    for grad in grads:
        steps, state = optimizer.update(grad, state, params)
        for name in shapes:
            step, alone[name] = optimizer.update(grad[name], alone[name], params[name])
            np.testing.assert_allclose(steps[name], step, rtol=1e-6)


def test_against_the_equations_on_a_matrix() -> None:
    """The optimizer in double precision, with gradients that are clipped in some steps only."""
    config = Config(warmup=3, learning_rate=0.1, clip=0.2)
    rng = np.random.default_rng(0)
    p = rng.normal(size=(3, 4)).astype(np.float32).astype(float)
    optimizer = make_optimizer(config)
    param = jnp.array(p, jnp.float32)
    state, v, m = optimizer.init(param), 0.0, 0.0
    for t in range(1, 7):
        g = (rng.normal(size=(3, 4)) * 10 ** (t % 3 - 2)).astype(np.float32)
        step, state = optimizer.update(jnp.array(g), state, param)
        param = optax.apply_updates(param, step)
        limit = 0.2 * max(1e-3, np.linalg.norm(p))
        g = g / max(1.0, np.linalg.norm(g) / limit)
        v = 0.999 * v + 0.001 * g**2
        m = 0.9 * m + 0.1 * g / (np.sqrt(v / (1 - 0.999**t)) + 1e-20)
        p = p - 0.1 * min(1, (t - 1) / 3) * m / (1 - 0.9**t)
        np.testing.assert_allclose(param, p, rtol=1e-4, atol=1e-5)


BOUNDS = [
    (name, bound)
    for name in ("learning_rate", "clip", "clip_floor", "rms_decay", "rms_eps", "momentum")
    for bound in ("low", "high")
]


@pytest.mark.parametrize(("name", "bound"), BOUNDS)
def test_every_accepted_setting_keeps_parameters_finite(name: str, bound: str) -> None:
    """At the ends of their ranges: for gradients of 0, tiny and large ones, and parameters of 0."""
    fields = {field.name: field for field in dataclasses.fields(Config)}
    config = Config(warmup=0, **{name: fields[name].metadata[bound]})
    optimizer = make_optimizer(config)
    params = {k: jnp.zeros(5) for k in "abc"} | {"d": jnp.ones(5)}
    gradients = {
        "a": jnp.zeros(5),
        "b": jnp.full(5, 1e-18),
        "c": jnp.full(5, 1e6),
        "d": jnp.ones(5),
    }
    state = optimizer.init(params)
    for _ in range(3):
        steps, state = optimizer.update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, steps)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((params, state)))


@pytest.mark.parametrize(
    ("name", "value"), [("momentum", 1), ("rms_decay", 1), ("clip_floor", 0), ("rms_eps", 0)]
)
def test_settings_that_divide_by_zero_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is {value}: it must lie between "):
        Config(**{name: value})
