"""What the heads predict: losses, means and samples against golden values and plain formulas."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import VECTORS

from dreamer_lite.agent.distributions import (
    Bernoulli,
    BoundedNormal,
    Cells,
    OneHot,
    Pixels,
    SymlogVector,
    TwoHot,
    outputs_of,
    scalar,
)
from dreamer_lite.config import Config


def test_quantile_splits_the_unit_interval_by_probability() -> None:
    probs = np.array([0.5, 0.125, 0.25, 0.125], np.float32)
    just_below = np.nextafter(np.float32(1), np.float32(0))
    u = np.array([0, 0.25, 0.49, 0.5, 0.6, 0.625, 0.8, 0.875, just_below], np.float32)
    drawn = OneHot(jnp.log(jnp.broadcast_to(jnp.array(probs), (9, 4)))).quantile(jnp.array(u))
    expected = [0, 0, 0, 1, 1, 2, 2, 3, 3]
    np.testing.assert_array_equal(drawn, np.eye(4)[expected])


def test_quantile_never_draws_what_is_impossible() -> None:
    """Also where rounding leaves the cumulative sum short of 1 or beyond it."""
    logits = jnp.array([[-jnp.inf, 0.0, -jnp.inf], [0.0, -jnp.inf, -jnp.inf]])
    for u in (0.0, 0.5, 1 - 2**-24):
        drawn = OneHot(logits).quantile(jnp.full(2, u))
        np.testing.assert_array_equal(drawn, [[0, 1, 0], [1, 0, 0]])
    many = OneHot.mix(jnp.zeros((1, 61))).quantile(jnp.full(1, 1 - 2**-24))
    assert many.sum() == 1 and many[0, 60] == 1


def test_samples_have_the_right_frequencies() -> None:
    raw = jnp.array([2.0, 0.0, -1.0, 1.0, -6.0])
    dist = OneHot.mix(jnp.broadcast_to(raw, (20_000, 5)), 0.05)
    probs = np.asarray(dist.probs[0])
    drawn = np.asarray(dist.sample(jax.random.key(3)))
    np.testing.assert_array_equal(drawn.sum(-1), np.ones(20_000))
    sigma = np.sqrt(probs * (1 - probs) / 20_000)
    assert (np.abs(drawn.mean(0) - probs) < 4 * sigma).all()


def test_one_hot_against_plain_sums() -> None:
    raw = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    dist = OneHot.mix(jnp.array(raw), 0.01)
    p = np.exp(raw.astype(float))
    p = 0.99 * p / p.sum(-1, keepdims=True) + 0.01 / 5
    q = p[::-1]
    value = jnp.eye(5)[np.array([[0, 4, 2], [1, 1, 3]])]
    np.testing.assert_allclose(dist.mean(), p, rtol=1e-5)
    np.testing.assert_allclose(dist.entropy(), -(p * np.log(p)).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(dist.log_prob(value), np.log((p * value).sum(-1)), rtol=1e-5)
    np.testing.assert_array_equal(dist.loss(value), -dist.log_prob(value))
    kl = (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(dist.kl(OneHot(dist.logits[::-1])), kl, rtol=1e-4)
    np.testing.assert_array_equal(dist.mode().argmax(-1), raw.argmax(-1))
    np.testing.assert_array_equal(OneHot.mix(jnp.zeros(3)).mode(), [1, 0, 0])


def test_entropy_and_kl_of_latents_are_bounded() -> None:
    for classes, entropy in VECTORS["uniform_entropy_32xC"].items():
        uniform = OneHot.mix(jnp.zeros((32, int(classes))), 0.01)
        assert uniform.entropy().sum() == pytest.approx(entropy, rel=1e-5)
    for classes, most in VECTORS["max_kl_per_latent_with_unimix"].items():
        sure = 100 * jnp.eye(int(classes))
        kl = OneHot.mix(sure[0], 0.01).kl(OneHot.mix(sure[1], 0.01))
        assert kl == pytest.approx(most, rel=1e-5)


def test_bounded_normal() -> None:
    for name, expected in VECTORS["bounded_normal"].items():
        raw, action = name.removeprefix("raw(").split(") a=")
        center, spread = (jnp.array([float(x)]) for x in raw.split(","))
        dist = BoundedNormal.bound(center, spread, 0.1, 1.0)
        log_prob = dist.log_prob(jnp.array([float(action)]))
        found = dist.mean()[0], dist.std[0], log_prob, dist.entropy()
        np.testing.assert_allclose(
            found, [expected[k] for k in ("mean", "std", "logp", "entropy")], rtol=1e-5, atol=1e-6
        )
    low, high = VECTORS["bounded_normal_minent_maxent"]
    for spread, entropy in ((-50.0, low), (50.0, high)):
        dist = BoundedNormal.bound(jnp.zeros(1), jnp.array([spread]), 0.1, 1.0)
        assert dist.entropy() == pytest.approx(entropy, rel=1e-5)


def test_bounded_normal_sums_over_actions_and_is_sampled_unclipped() -> None:
    dist = BoundedNormal(jnp.array([0.9, -0.2]), jnp.array([1.0, 0.5]))
    x = np.array([2.5, -0.1])
    z = (x - [0.9, -0.2]) / [1.0, 0.5]
    expected = (-0.5 * z**2 - np.log([1.0, 0.5]) - 0.5 * math.log(2 * math.pi)).sum()
    assert dist.log_prob(jnp.array(x)) == pytest.approx(expected, rel=1e-5)
    many = BoundedNormal(*(jnp.broadcast_to(v, (20_000, 2)) for v in dist))
    drawn = np.asarray(many.sample(jax.random.key(0)))
    np.testing.assert_allclose(drawn.mean(0), [0.9, -0.2], atol=0.03)
    np.testing.assert_allclose(drawn.std(0), [1.0, 0.5], atol=0.03)
    assert drawn.max() > 2 and (dist.mode() == dist.center).all()


def test_two_hot_losses() -> None:
    """ln 255 at the start whatever the reward, and one golden case."""
    zeros = TwoHot(jnp.zeros((4, 255)))
    np.testing.assert_allclose(
        zeros.loss(jnp.array([0.0, -3.0, 17.2, 1e9])), VECTORS["twohot_loss_uniform"], rtol=1e-6
    )
    logits = jnp.zeros(255).at[128].set(2)
    found = TwoHot(logits).loss(jnp.array(0.1))
    assert found == pytest.approx(VECTORS["twohot_loss_logit128_eq2_target0.1"], rel=1e-5)
    assert TwoHot(logits).mean() == pytest.approx(VECTORS["twohot_pred_logit128_eq2"], rel=1e-4)
    to_target = jax.grad(lambda y: TwoHot(logits).loss(y))(jnp.float32(0.1))
    assert to_target == 0, "no gradient into the target"


@pytest.mark.parametrize(("kind", "error"), [("symlog", math.log(4) ** 2), ("plain", 9.0)])
def test_numbers_without_two_hot(kind: str, error: float) -> None:
    """A guess of 0 for 3 is wrong by ln(1 + 3) in symlog space, and by 3 as it is."""
    guess = scalar(kind, jnp.zeros((2, 5, outputs_of(kind, 255))))
    assert guess.mean().shape == (2, 5) and (guess.mean() == 0).all()
    np.testing.assert_allclose(guess.loss(jnp.full((2, 5), 3.0)), error, rtol=1e-6)
    best = scalar(kind, jnp.array([1.0]))
    assert best.mean() == pytest.approx(math.e - 1 if kind == "symlog" else 1.0)
    assert best.loss(best.mean()) == pytest.approx(0, abs=1e-10)


def test_the_paper_predicts_numbers_by_two_hot() -> None:
    guess = scalar(Config().scalars, jnp.zeros((3, outputs_of("two-hot", 255))))
    assert isinstance(guess, TwoHot) and guess.mean().shape == (3,)


def test_continue_loss_has_its_floor_at_the_discount() -> None:
    """The target 0.997 is soft, so the best loss is 0.0204 at logit 5.805."""
    loss = lambda logit, target: Bernoulli(jnp.float32(logit)).loss(target)  # noqa: E731
    gamma, best = VECTORS["gamma"], VECTORS["con_logit_optimal_live"]
    assert loss(best, gamma) == pytest.approx(VECTORS["con_loss_floor_live"], rel=1e-4)
    assert abs(jax.grad(loss)(best, gamma)) < 1e-6
    assert loss(0.0, gamma) == pytest.approx(VECTORS["con_loss_logit0"])
    for logit in (-30.0, -3.0, 0.5, 40.0):
        for target in (0.0, 0.3, 1.0):
            p = 1 / (1 + math.exp(-logit))
            naive = -(target * math.log(p) + (1 - target) * -(logit + math.log1p(math.exp(-logit))))
            assert loss(logit, target) == pytest.approx(naive, rel=1e-4, abs=1e-6)
    assert Bernoulli(jnp.float32(best)).mean() == pytest.approx(gamma)


def test_the_gradient_of_a_bernoulli_is_right_at_a_logit_of_zero_too() -> None:
    """Heads whose last layer starts at zero begin there."""
    logits, target = jnp.array([-300.0, -2, 0, 0, 0, 2, 300]), jnp.array([1.0, 0, 0, 0.5, 1, 1, 0])
    slope = jax.grad(lambda x: Bernoulli(x).loss(target).sum())(logits)
    np.testing.assert_allclose(slope, jax.nn.sigmoid(logits) - target, atol=1e-6)


def test_vectors_and_images() -> None:
    rng = np.random.default_rng(0)
    guess, target = rng.normal(size=(2, 3, 4)).astype(np.float32), rng.normal(size=(2, 3, 4)) * 9
    vector = SymlogVector(jnp.array(guess))
    expected = (guess - np.sign(target) * np.log1p(np.abs(target))) ** 2
    np.testing.assert_allclose(vector.loss(jnp.array(target)), expected, rtol=1e-5)
    np.testing.assert_allclose(vector.mean(), np.sign(guess) * np.expm1(np.abs(guess)), rtol=1e-5)

    image = rng.integers(0, 256, (2, 5, 7, 3), np.uint8)
    guess = rng.uniform(0, 1, image.shape).astype(np.float32)
    expected = ((guess - image / 255.0) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(Pixels(jnp.array(guess)).loss(jnp.array(image)), expected, rtol=1e-5)

    cells = (255 * rng.integers(0, 2, (2, 5, 7, 3))).astype(np.uint8)
    p = 1 / (1 + np.exp(-guess.astype(float)))
    expected = -np.where(cells > 0, np.log(p), np.log(1 - p)).sum((1, 2, 3))
    np.testing.assert_allclose(Cells(jnp.array(guess)).loss(jnp.array(cells)), expected, rtol=1e-5)
    np.testing.assert_allclose(Cells(jnp.array(guess)).mean(), p, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3, 8, 18, 64])
def test_sampling_adds_probabilities_without_rounding_them(classes: int) -> None:
    """No matrix product, which accelerators round; sums go from left to right."""
    rng = np.random.default_rng(classes)
    dist = OneHot.mix(jnp.array(rng.normal(0, 3, (500, classes)), jnp.float32), 0.01)
    u = jnp.array(rng.random(500), jnp.float32)
    with jax.default_matmul_precision("bfloat16"):
        traced = jax.make_jaxpr(lambda logits, u: OneHot(logits).quantile(u))(dist.logits, u)
        drawn = np.asarray(dist.quantile(u))
    assert "dot_general" not in str(traced) and "bf16" not in str(traced)
    upto = np.add.accumulate(np.asarray(dist.probs), -1, dtype=np.float32)
    np.testing.assert_array_equal(
        drawn.argmax(-1), (upto[:, :-1] <= np.asarray(u)[:, None]).sum(-1)
    )


def test_the_last_class_is_drawn_as_often_as_its_probability_says() -> None:
    """Also the 1 % / 18 of an action that a sure policy gives up: TF32 sums never draw it."""
    dist = OneHot.mix(12.0 * jnp.eye(18)[3], 0.01)
    u = (jnp.arange(100_000) + 0.5) / 100_000
    many = OneHot(jnp.broadcast_to(dist.logits, (100_000, 18)))
    with jax.default_matmul_precision("bfloat16"):
        drawn = np.asarray(many.quantile(u)).mean(0)
    np.testing.assert_allclose(drawn, dist.probs, atol=1.1e-5)


def test_a_quantile_needs_a_number_for_each_distribution() -> None:
    with pytest.raises(AssertionError):
        OneHot.mix(jnp.zeros((3, 1, 4))).quantile(jnp.zeros((3, 2)))
