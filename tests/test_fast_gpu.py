"""What launches fewer kernels on a GPU has the values and derivatives of the plain form."""

import functools
from collections import Counter
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden_cases import golden_batch, golden_config, golden_params, spaces, use_the_mode

from dreamer_lite.agent import behavior, devices, fast_gpu, layers, optimizer, rssm, transforms
from dreamer_lite.agent import learner as learning
from dreamer_lite.agent.distributions import OneHot
from dreamer_lite.agent.learner import make_learner

GPU = SimpleNamespace(platform="gpu", compute_capability="7.5", device_kind="Tesla T4")
PLAIN = rssm.scan_states.__wrapped__
PLAIN_LAYERS = layers.apply_each.__wrapped__
T, B, D = 7, 3, 5


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.array(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def slopes(scan: Any) -> Any:
    """Value of a loss, and its gradient for weights, the first state and float inputs."""
    resets = jnp.arange(T * B).reshape(T, B) % 5 == 0

    def loss(weights, start, drive):
        def step(state, inputs):
            drive, reset = inputs
            h = jnp.tanh(state["h"] @ weights + drive) * jnp.where(reset, 0, 1)[:, None]
            state = {"h": h, "sum": state["sum"] + state["h"].sum(-1)}
            return state, jnp.sin(h @ weights)

        states, outs = scan(step, start, (drive, resets))
        assert states["h"].shape == outs.shape == (T, B, D)
        return (states["h"] ** 2).sum() + (states["sum"] * outs.sum(-1)).sum()

    start = {"h": normal(B, D, seed=1), "sum": jnp.ones(B)}
    inputs = 0.5 * normal(D, D), start, normal(T, B, D, seed=2)
    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*inputs)


def test_values_and_gradients_are_equal() -> None:
    found, expected = slopes(fast_gpu.scan_states), slopes(PLAIN)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_several_agents_side_by_side() -> None:
    """Mapped over weights, as with several seeds, whose residuals then all differ."""

    def gradient(scan):
        def loss(weights, x):
            states, outs = scan(lambda h, x: (jnp.tanh(h @ weights) + x, h * h), x[0], x)
            return (states * outs).sum()

        return jax.vmap(jax.grad(loss))(0.5 * normal(2, D, D), normal(2, T, B, D, seed=1))

    found, expected = gradient(fast_gpu.scan_states), gradient(PLAIN)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_lambda_returns_are_equal() -> None:
    """Their values, and their gradient for rewards and values, for an even and an odd length."""
    plain = behavior.lambda_returns.__wrapped__
    for n in (2, 9, 16):
        reward, value = normal(n, B), normal(n, B, seed=1)
        live, lam = jax.nn.sigmoid(normal(n, B, seed=2)), jax.nn.sigmoid(normal(n, B, seed=3))

        def total(form, reward, value, live=live, lam=lam):
            returns = form(reward, live, lam, value)
            return (returns * jnp.arange(1.0, B + 1)).sum(), returns

        for of in (0, 1):
            found, expected = (
                jax.grad(functools.partial(total, form), of, has_aux=True)(reward, value)
                for form in (fast_gpu.lambda_returns, plain)
            )
            for a, b in zip(found, expected):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


SIZES = [(), (3,), (fast_gpu.ROW,), (2, fast_gpu.ROW // 2 + 1), (5, 2, fast_gpu.ROW), (0,), (4, 4)]


def test_norms_are_equal() -> None:
    """Of tensors of no, one and several rows, by themselves and for two agents side by side."""
    tree = {i: 10.0**i * normal(2, *shape, seed=i) for i, shape in enumerate(SIZES)}
    tree[len(SIZES)] = jnp.zeros((2, 7))
    found = jax.jit(jax.vmap(fast_gpu.norms))(tree)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for seed in (0, 1):
        one = jax.tree.map(lambda x, seed=seed: x[seed], tree)
        plain, alone = optimizer.norms.__wrapped__(one), fast_gpu.norms(one)
        for i, x in one.items():
            expected = np.linalg.norm(np.asarray(x, np.float64).ravel())
            for norm in (found[i][seed], alone[i], plain[i]):
                assert norm.shape == ()
                np.testing.assert_allclose(norm, expected, rtol=1e-5)


def test_what_is_not_finite_stays_in_its_tensor() -> None:
    """Neither the rows beside those of a tensor nor its padding reach its norm."""
    tree = {"a": jnp.ones(3), "b": jnp.array([jnp.nan, 1]), "c": jnp.full(5, jnp.inf)}
    found = fast_gpu.norms(tree | {"d": jnp.ones(3 * fast_gpu.ROW + 1)})
    assert np.isnan(found["b"]) and np.isinf(found["c"])
    np.testing.assert_allclose([found["a"], found["d"]], [3**0.5, 3073**0.5], rtol=1e-6)


def test_the_optimizer_clips_the_same_with_fewer_sums() -> None:
    """Some of the gradients exceed the limit; the sums do not grow with the number of tensors."""
    clip = optimizer.clip_by_parameter_norm(0.3, 1e-3)
    params = {i: normal(*shape, seed=i) for i, shape in enumerate(SIZES) if shape != (0,)}
    grads = {i: 0.02 * 4.0**i * normal(*x.shape, seed=i + 50) for i, x in params.items()}

    def update(grads, params):
        return clip.update(grads, clip.init(params), params)[0]

    expected = update(grads, params)
    assert {bool((expected[i] == grads[i]).all()) for i in grads} == {True, False}
    with devices.compiling_for(GPU):
        found = jax.jit(update)(grads, params)
        sums = str(jax.make_jaxpr(update)(grads, params)).count("reduce_sum")
    assert sums == 4 < len(params)
    for i in grads:
        np.testing.assert_allclose(found[i], expected[i], rtol=1e-5)


def test_means_are_equal() -> None:
    """Each in its place; arrays of three shapes are three sums."""
    tree = {"a": normal(T, B), "b": [normal(B), 1 + normal(T, B, seed=1)], "c": normal(B, T)}
    found, expected = fast_gpu.means(tree), learning.means.__wrapped__(tree)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == ()
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert operations(fast_gpu.means, tree)["reduce_sum"] == 3


@pytest.mark.parametrize("lead", [(B,), (T, B), ()])
def test_layers_side_by_side(lead: tuple[int, ...]) -> None:
    """Their outputs and all gradients; one product instead of three, one sum of squares."""
    rng = np.random.default_rng(0)
    made = nnx.List([layers.Layer(size, D, rng) for size in (4, 9, 2)])
    for layer in made:  # as after some updates
        layer.linear.bias[...], layer.norm.scale[...] = normal(D, seed=3), normal(D, seed=4)
    graph, params = nnx.split(made)
    inputs = [normal(*lead, size, seed=size) for size in (4, 9, 2)]

    def loss(form, params, inputs):
        outputs = form(nnx.merge(graph, params), inputs)
        assert [y.shape for y in outputs] == 3 * [(*lead, D)]
        return sum(((i + 1) * jnp.sin(y)).sum() for i, y in enumerate(outputs)), outputs

    forms = [functools.partial(loss, f) for f in (fast_gpu.apply_each, PLAIN_LAYERS)]
    found, expected = (jax.grad(form, (0, 1), has_aux=True)(params, inputs) for form in forms)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    counts = [operations(form, params, inputs) for form in forms]
    assert [x["dot_general"] for x in counts] == [1, 3]


def test_large_layers_are_not_padded() -> None:
    large = layers.Layer(fast_gpu.LARGE // D + 1, D, None)
    assert fast_gpu.apply_each([large], [normal(B, fast_gpu.LARGE // D + 1)]) is NotImplemented


@pytest.mark.parametrize("classes", [2, 3, fast_gpu.FEW])
def test_a_categorical_of_few_classes(classes: int) -> None:
    """Its log-probabilities, their gradient, and what is drawn; without any reduction."""
    logits, slope = 9 * normal(50, T, classes), normal(50, T, classes, seed=1)
    plain = transforms.unimix.__wrapped__
    found, expected = (
        jax.vjp(lambda x, form=form: form(x, 0.01), logits) for form in (fast_gpu.unimix, plain)
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1](slope)[0], expected[1](slope)[0], rtol=1e-4, atol=1e-5)

    u = jnp.array(np.random.default_rng(2).uniform(size=(50, T)), jnp.float32)
    u = u.at[0].set(jnp.exp(expected[0][0, :, 0]))  # exactly at a border
    drawn = fast_gpu.quantile(OneHot(expected[0]), u)
    np.testing.assert_array_equal(drawn, OneHot.quantile.__wrapped__(OneHot(expected[0]), u))
    assert drawn.dtype == jnp.float32 and (drawn.mean((0, 1)) > 0).all()

    def sample(logits, u):
        return OneHot.mix(logits, 0.01).quantile(u)

    with devices.compiling_for(GPU):
        found = operations(sample, logits, u)
    assert not any(name.startswith("reduce") for name in found), found


def test_a_categorical_of_many_classes_or_without_a_mixture_keeps_its_plain_form() -> None:
    many = normal(B, fast_gpu.FEW + 1)
    assert fast_gpu.unimix(many, 0.01) is NotImplemented
    assert fast_gpu.quantile(OneHot(many), normal(B)) is NotImplemented
    assert fast_gpu.unimix(normal(B, 2), 0.0) is NotImplemented
    with pytest.raises(AssertionError):
        fast_gpu.quantile(OneHot(normal(B, 2)), normal(B, 1))


def test_straight_through_is_equal() -> None:
    """The value of the sample, and the slope of the probabilities."""

    def loss(form, sample, probs):
        return (form(sample, probs) * slope).sum()

    sample, slope = jnp.eye(D)[:B], normal(B, D, seed=1)
    probs = jax.nn.softmax(normal(B, D))
    for form in (fast_gpu.straight_through, transforms.straight_through.__wrapped__):
        np.testing.assert_allclose(form(sample, probs), sample, atol=1e-7)
        of_sample, of_probs = jax.grad(loss, (1, 2))(form, sample, probs)
        assert not of_sample.any()
        np.testing.assert_array_equal(of_probs, slope)


def test_the_device_chooses() -> None:
    def program() -> str:
        def step(x, y):
            return x * y, x

        return str(jax.make_jaxpr(lambda x, y: rssm.scan_states(step, x, y))(1.0, jnp.ones(3)))

    assert "custom_vjp" not in program()
    with devices.compiling_for(GPU):
        assert "custom_vjp" in program()


X = normal(B, fast_gpu.FEW)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (transforms.unimix, (X, 0.01)),
        (transforms.straight_through, (X, X)),
        (OneHot.quantile, (OneHot(X), X[:, 0])),
        (learning.means, ([X, X],)),
        (optimizer.norms, ([X, X],)),
        (behavior.lambda_returns, (X, X, X, X)),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_gpu_takes_the_form_of_this_module(function: Any, inputs: tuple) -> None:
    fewer = operations(getattr(fast_gpu, function.__name__), *inputs)
    assert operations(function, *inputs) != fewer
    with devices.compiling_for(GPU):
        assert operations(function, *inputs) == fewer


def test_an_imagined_step_takes_these_forms() -> None:
    """The three inputs of the core are one product, and sampling needs no reduction."""
    config = golden_config("vec_discrete")
    model = rssm.Rssm(4, 3, config, np.random.default_rng(0))
    inputs = model.initial(B), normal(B, 3), jnp.full((B, config.stoch), 0.5)
    with devices.compiling_for(SimpleNamespace(platform="of a maker not known here")):
        plain = operations(model.imagine_step, *inputs)
    with devices.compiling_for(GPU):
        found = operations(model.imagine_step, *inputs)
    assert plain["dot_general"] - found["dot_general"] == 2
    assert plain["reduce_sum"] - found["reduce_sum"] == 2 + 1  # squares of layers, powers
    assert plain["reduce_max"] == 1 and found["reduce_max"] == 0


def gradient_of(tag: str, device: Any) -> Any:
    """The gradient of the whole loss of a golden agent, and the single losses."""
    learner = make_learner(golden_config(tag, precision="float32"), *spaces(tag))
    state = learning.init(learner, 0)
    params, slow = golden_params(tag, state.params)
    state = state._replace(params=params, slow_critic=slow)

    def loss(params):
        total, out = learning.loss(params, learner, state, golden_batch(tag), jax.random.key(0))
        return total, out.losses

    with devices.compiling_for(device):
        return jax.jit(jax.grad(loss, has_aux=True))(params)


@pytest.mark.parametrize(
    "tag", ["vec_discrete", pytest.param("image_continuous", marks=pytest.mark.slow)]
)
def test_the_whole_gradient_is_equal(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the agents that reference values are for, in the forms of a GPU and of this CPU."""
    use_the_mode(monkeypatch)
    found, expected = (gradient_of(tag, device) for device in (GPU, jax.devices()[0]))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5 * max(1, np.abs(b).max()))


def test_what_is_equal_in_all_steps_is_not_repeated() -> None:
    weights = jnp.ones((D, D))

    def transposed(x):
        return jax.vjp(lambda x: jnp.tanh(x @ weights), x)[1]

    own, restore = fast_gpu._for_all_steps(transposed, normal(T, B, D))
    assert own and {x.shape[0] for x in own} == {T}
    assert sum(x.size for x in own) <= 2 * T * B * D
    (slope,) = restore([x[4] for x in own])(jnp.ones((B, D)))
    (expected,) = transposed(normal(T, B, D)[4])(jnp.ones((B, D)))
    np.testing.assert_allclose(slope, expected, rtol=1e-6)


def test_less_is_stored_on_the_way_forward() -> None:
    """Of a step with many intermediate results, the two passes hold those of all steps at once."""

    def loops(scan: Any) -> list[int]:
        def loss(weights, x):
            def step(h, x):
                for _ in range(4):
                    h = jnp.tanh(jnp.sin(h @ weights) + x)
                return h, None

            return scan(step, x[0], x)[0].sum()

        program = jax.make_jaxpr(jax.grad(loss))(normal(D, D), normal(T, B, D))
        return [len(eqn.outvars) for eqn in scans(program.jaxpr)]

    assert max(loops(fast_gpu.scan_states)) <= 3 < max(loops(PLAIN))


def operations(function: Any, *args: Any) -> Counter[str]:
    """How often each primitive occurs in the program of a function, calls included."""

    def count(jaxpr: Any) -> None:
        for eqn in jaxpr.eqns:
            found[eqn.primitive.name] += 1
            for inner in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns")):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    count(inner)

    found: Counter[str] = Counter()
    count(jax.make_jaxpr(functools.partial(function, *args))().jaxpr)
    return found


def scans(jaxpr: Any) -> list[Any]:
    found = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    for eqn in jaxpr.eqns:
        for inner in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns") and eqn.primitive.name != "scan":
                found += scans(inner)
    return found
