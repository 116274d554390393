"""The small maps, against golden values and against plain sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import VECTORS

from dreamer_lite.agent import transforms as tf


@pytest.mark.parametrize("name", ["symlog", "symexp"])
def test_symlog_and_symexp(name: str) -> None:
    x = np.array([float(key) for key in VECTORS[name]])
    np.testing.assert_allclose(
        getattr(tf, name)(jnp.array(x)), list(VECTORS[name].values()), rtol=2e-6
    )


def test_symlog_is_odd_and_symexp_its_inverse() -> None:
    x = jnp.array([1e-4, 0.3, 2.0, 700.0, 1e6])
    np.testing.assert_array_equal(tf.symlog(-x), -tf.symlog(x))
    np.testing.assert_allclose(tf.symexp(tf.symlog(x)), x, rtol=1e-5)
    assert jax.grad(tf.symlog)(0.5) == pytest.approx(1 / 1.5)


def test_bins() -> None:
    bins = tf.symexp_bins(255)
    for index, value in VECTORS["bins255"].items():
        np.testing.assert_allclose(bins[int(index)], value, rtol=2e-6)
    np.testing.assert_allclose(tf.symexp_bins(5), VECTORS["bins5"], rtol=2e-6)
    np.testing.assert_allclose(tf.symexp_bins(41)[18:23], VECTORS["bins41_centre"], rtol=2e-6)


@pytest.mark.parametrize("count", [3, 5, 15, 41, 255, 4, 16, 256])
def test_bins_are_exactly_symmetric(count: int) -> None:
    bins = tf.symexp_bins(count)
    assert bins.shape == (count,) and bins.dtype == np.float32
    steps = np.diff(bins)
    assert (steps[: count // 2 - 1] > 0).all()
    assert steps.min() > 0 if count % 2 else steps[count // 2 - 1] == 0, "an even count has two 0s"
    np.testing.assert_array_equal(bins, -bins[::-1])


@pytest.mark.parametrize("count", [255, 5])
def test_two_hot(count: int) -> None:
    cases = VECTORS[f"twohot{count}"]
    codes = tf.two_hot(jnp.array([float(y) for y in cases]), tf.symexp_bins(count))
    for code, weights in zip(np.asarray(codes), cases.values()):
        expected = np.zeros(count)
        expected[[int(index) for index in weights]] = list(weights.values())
        np.testing.assert_allclose(code, expected, atol=2e-6)


@pytest.mark.parametrize("count", [5, 41, 255])
def test_two_hot_keeps_the_value_and_is_one_hot_on_bins(count: int) -> None:
    bins = tf.symexp_bins(count)
    y = np.random.default_rng(0).uniform(-8, 8, (7, 11))
    y = np.sign(y) * np.expm1(np.abs(y)).astype(np.float32)
    codes = np.asarray(tf.two_hot(jnp.array(y), bins), np.float64)
    np.testing.assert_allclose(codes.sum(-1), 1, atol=1e-6)
    assert ((codes > 0).sum(-1) <= 2).all()
    np.testing.assert_allclose((codes * bins).sum(-1), y, rtol=1e-3, atol=2e-7 * bins[-1] / count)
    np.testing.assert_array_equal(tf.two_hot(jnp.array(bins), bins), np.eye(count))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("count", [3, 4, 15, 16, 41, 255])
def test_uniform_probabilities_predict_exactly_zero(count: int, compiled: bool) -> None:
    """Compiled too: a fused multiply-add would leave a remainder of the huge outer bins."""
    mean = lambda logits: tf.two_hot_mean(jax.nn.softmax(logits), tf.symexp_bins(count))  # noqa: E731
    out = (jax.jit(mean) if compiled else mean)(jnp.zeros((6, count)))
    np.testing.assert_array_equal(out, np.zeros(6))


def test_the_plain_sum_would_not() -> None:
    probs = np.full(255, 1 / 255, np.float32)
    total = np.float32(0)
    for term in probs * tf.symexp_bins(255):
        total += term
    assert abs(total) > 0.1 and VECTORS["twohot_pred_uniform"]["symmetric"] == 0


def test_two_hot_mean() -> None:
    logits = np.zeros(255, np.float32)
    logits[128] = 2
    mean = tf.two_hot_mean(jax.nn.softmax(jnp.array(logits)), tf.symexp_bins(255))
    assert mean == pytest.approx(VECTORS["twohot_pred_logit128_eq2"], rel=1e-4)
    for count in (5, 16):  # against a sum in double precision, lopsided
        probs = np.random.default_rng(count).dirichlet(np.ones(count), 9).astype(np.float32)
        bins = tf.symexp_bins(count)
        expected = (probs.astype(float) * bins).sum(-1)
        np.testing.assert_allclose(tf.two_hot_mean(jnp.array(probs), bins), expected, rtol=1e-5)


def test_unimix() -> None:
    for name, probs in VECTORS["unimix"].items():
        logits = jnp.array([float(x) for x in name.strip("[]").split(",")])
        np.testing.assert_allclose(jnp.exp(tf.unimix(logits, 0.01)), probs, rtol=1e-5)
    logits = jnp.array([3.0, -1.0, 0.5])
    np.testing.assert_allclose(tf.unimix(logits, 0.0), jax.nn.log_softmax(logits), rtol=1e-6)
    np.testing.assert_allclose(jnp.exp(tf.unimix(logits, 1.0)), np.full(3, 1 / 3), rtol=1e-6)


def test_straight_through() -> None:
    sample, probs = jnp.array([0.0, 1.0, 0.0]), jnp.array([0.2, 0.5, 0.3])
    weights = jnp.array([3.0, 5.0, 7.0])
    np.testing.assert_allclose(tf.straight_through(sample, probs), sample, atol=1e-7)
    grads = jax.grad(lambda s, p: jnp.sum(weights * tf.straight_through(s, p)), (0, 1))
    to_sample, to_probs = grads(sample, probs)
    np.testing.assert_array_equal(to_sample, np.zeros(3))
    np.testing.assert_array_equal(to_probs, weights)


def test_percentile_range() -> None:
    old = jnp.float32(0), jnp.float32(0)
    for row in VECTORS["retnorm"]:
        # eleven evenly spaced numbers whose 5th and 95th percentile are those of the row
        step = (row["p95"] - row["p5"]) / 9
        x = row["p5"] - step / 2 + step * jnp.arange(11.0)
        old = tf.percentile_range(x[::-1].reshape(11, 1), 5, 95, old, 0.01)
        np.testing.assert_allclose(old, (row["lo"], row["hi"]), rtol=1e-5)
    x = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    np.testing.assert_allclose(
        tf.percentile_range(jnp.array(x), 20, 70, (jnp.float32(4), jnp.float32(6)), 0.25),
        0.75 * np.array([4, 6]) + 0.25 * np.percentile(x, [20, 70]),
        rtol=1e-5,
    )
