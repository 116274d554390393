"""The four tasks of notebook 03: what they pay, how a network learns them, and what is measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dreamer_lite.course import magnitudes
from dreamer_lite.course.magnitudes import SIZES
from dreamer_lite.show import magnitudes as figures


class Small(nnx.Module):
    """A linear trunk and a linear head for each task."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.trunk = nnx.Param(rng.standard_normal((8, 5)).astype(np.float32))
        self.heads = nnx.Param(rng.standard_normal((5, 4)).astype(np.float32))

    def __call__(self, x):
        return (x @ self.trunk[...] @ self.heads[...])[..., None]


def squared(outputs, reward):
    return (outputs[..., 0] - reward) ** 2


def test_a_task_pays_twice_its_expected_reward_half_of_the_time():
    x, reward = magnitudes.draw(jax.random.key(0), 4000)
    ratio = np.asarray(reward / magnitudes.expected_reward(x))
    assert x.shape == (4000, 8) and abs(x).max() <= 1 and reward.shape == (4000, 4)
    assert ((abs(ratio) < 1e-6) | (abs(ratio - 2) < 1e-5)).all()
    assert abs(ratio.mean(0) - 1).max() < 0.06  # of 4,000 fair draws the deviation is 0.016
    assert np.corrcoef(ratio.T)[0, 1] < 0.1  # each task draws for itself


def test_tasks_differ_in_size_and_in_what_they_look_at_only():
    x = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (50, 8)), jnp.float32)
    expected = np.asarray(magnitudes.expected_reward(x)) / SIZES
    turned = np.asarray(magnitudes.expected_reward(jnp.roll(x, -2, 1))) / SIZES
    np.testing.assert_allclose(turned, np.roll(expected, -1, 1), rtol=1e-4, atol=1e-6)


def test_maps_show_each_task_over_its_own_two_numbers():
    maps = magnitudes.maps(magnitudes.expected_reward, cells=5)
    grid = np.linspace(-1, 1, 5)
    expected = 1.5 * grid[:, None] * np.sin(3 * grid)
    np.testing.assert_allclose(maps, np.stack([expected] * 4), rtol=1e-4, atol=1e-5)


def test_explained_variance_is_1_for_the_truth_and_0_for_the_mean():
    np.testing.assert_allclose(
        magnitudes.explained_variance(lambda x: magnitudes.expected_reward(x), lambda y: y), 1
    )
    constant = magnitudes.explained_variance(lambda x: jnp.zeros((len(x), 4)), lambda y: y)
    assert abs(constant).max() < 0.01


def test_training_lowers_the_loss_and_shuffled_rewards_teach_nothing():
    def loss(outputs, reward):
        return (outputs[..., 0] - reward / SIZES) ** 2

    # What a linear network can learn.
    def linear_reward(x):
        return SIZES * x[:, 1::2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(magnitudes, "expected_reward", linear_reward)
        trained = magnitudes.train(Small(), loss, 3000, 0)
        control = magnitudes.train(Small(), loss, 3000, 0, shuffled=True)

        def score(network):
            return magnitudes.explained_variance(network, lambda y: y[..., 0] * SIZES)

        assert score(trained).min() > 0.4
        assert score(control).max() < 0.1


def test_the_trunks_gradient_follows_the_size_of_a_loss():
    network = Small()
    fractions = magnitudes.trunk_gradients(network, lambda y, r: squared(y, 0 * r))
    assert abs(fractions.sum() - 1) < 1e-5 and fractions.min() > 0
    one = np.array([1, 1, 100, 1])
    scaled = magnitudes.trunk_gradients(network, lambda y, r: one * squared(y, 0 * r))
    np.testing.assert_allclose(scaled, one * fractions / (one * fractions).sum(), rtol=1e-4)


def test_figures_say_what_they_show():
    maps = {"expected": np.zeros((4, 3, 3)), "mine": np.ones((4, 3, 3))}
    scores = {"mine": np.array([0.5, -2e9, 1, 0])}
    figure = figures.draw_maps(maps, scores, SIZES)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == ["0.50", "-99.00", "1.00", "0.00"]
    assert [axes.get_title() for axes in figure.axes[:4]] == [
        "s = 0.01", "s = 1", "s = 100", "s = 10,000"
    ]  # fmt: skip
    bars = figures.draw_fractions({"a\nb": np.array([0.1, 0.2, 0.3, 0.4])}, SIZES).axes[0].patches
    np.testing.assert_allclose([bar.get_width() for bar in bars], [0.1, 0.2, 0.3, 0.4])
    assert figures.in_words({"a\nb": np.array([0.1, 2])}) == "a b: 0.10, 2.00"
    code = np.zeros(63)
    code[[31, 32]] = 0.25, 0.75
    drawn, words = figures.draw_code(1.5, code, np.arange(63.0) - 31)
    assert "0.250 on the bin 0 and 0.750 on the bin 1" in words
    assert sorted(bar.get_height() for bar in drawn.axes[0].patches)[-2:] == [0.25, 0.75]
