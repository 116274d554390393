"""Layers against plain formulas; shapes of every kind of encoder and decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import VECTORS

from dreamer_lite.agent import images, layers
from dreamer_lite.agent import networks as nets
from dreamer_lite.agent.behavior import Actor
from dreamer_lite.agent.distributions import Cells, OneHot, Pixels, SymlogVector
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.world_model import WorldModel
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space

# pairwise different sizes wherever the architecture allows it: a swapped axis cannot pass
ODD = dict(
    deter=22, hidden=5, stoch=3, classes=7, blocks=2, units=13, depth=2, multipliers=(2, 3),
    image_blocks=2, kernel=3, encoder_layers=1, decoder_layers=1,
)  # fmt: skip
CONV = Config(**ODD)
DENSE = Config(**(ODD | dict(image_net="dense", multipliers=(2,))))
PATCH = Config(**(ODD | dict(image_net="patch", multipliers=(2,))))
TWO_PATCHES = Config(**(ODD | dict(image_net="patch", kernel=2)))
GRIDS = Config(**(ODD | dict(multipliers=(2,))))

SPACES = {
    "vector": {"v": Space((11,), "float32")},
    "vector and discrete": {"b": Space((1,), "float32"), "a": Space((), "int32", 19)},
    "several discrete": {"a": Space((17,), "int32", 3)},
    "grey": {"i": Space((12, 20, 1), "uint8")},
    "colour": {"i": Space((12, 20, 3), "uint8")},
    "two images": {"j": Space((12, 20, 1), "uint8"), "i": Space((12, 20, 3), "uint8")},
    "images and vectors": {
        "j": Space((12, 20, 3), "uint8"),
        "k": Space((11,), "float32"),
        "i": Space((12, 20, 1), "uint8"),
        "d": Space((), "int32", 5),
    },
}
CASES = {name: (CONV, spaces) for name, spaces in SPACES.items()}
CASES |= {
    f"{name} grid of {channels}": (config, {"g": Space((10, 10, channels), "uint8")})
    for name, config in (("dense", DENSE), ("conv", GRIDS))
    for channels in (1, 3, 4)
}
CASES["dense grid and vector"] = DENSE, {"g": Space((10, 10, 4), "uint8")} | SPACES["vector"]
CASES["dense image of any size"] = DENSE, {"g": Space((5, 7, 2), "uint8")}
CASES["patches"] = PATCH, {"i": Space((9, 15, 3), "uint8")}
CASES["patches of two images"] = TWO_PATCHES, SPACES["two images"]
SIZES = {  # cells left by the stages, times the last width; or the width of the MLP; or both
    "grey": 3 * 5 * 6, "colour": 3 * 5 * 6, "two images": 3 * 5 * 6,
    "images and vectors": 13 + 3 * 5 * 6,
    "patches": 3 * 5 * 4, "patches of two images": 3 * 5 * 6,
} | {f"conv grid of {channels}": 5 * 5 * 4 for channels in (1, 3, 4)}  # fmt: skip


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.array(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def kernel_of(layer, value) -> None:
    """Replace the kernel of a layer."""
    assert layer.kernel[...].shape == np.shape(value)
    layer.kernel[...] = np.asarray(value, np.float32)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lead", [(), (23,), (23, 29)])
def test_shapes(name: str, lead: tuple[int, ...]) -> None:
    config, spaces = CASES[name]
    encoder, decoder = nets.Encoder(spaces, config, rng()), nets.Decoder(spaces, config, rng())
    obs = {k: jax.ShapeDtypeStruct((*lead, *s.shape), s.dtype) for k, s in spaces.items()}
    embed = jax.eval_shape(encoder, obs)
    assert embed.shape == (*lead, encoder.size) and embed.dtype == jnp.float32
    assert encoder.size == SIZES.get(name, 13)
    latent = [jax.ShapeDtypeStruct((*lead, *shape), jnp.float32) for shape in ((22,), (3, 7))]
    guesses = jax.eval_shape(decoder, *latent)
    assert guesses.keys() == spaces.keys()
    for key, space in spaces.items():
        guess = guesses[key]
        if space.is_discrete:
            assert isinstance(guess, OneHot)
            assert guess.logits.shape == (*lead, *space.shape, space.classes)
            continue
        kind = SymlogVector if not space.is_image else Cells if config is DENSE else Pixels
        assert isinstance(guess, kind)
        assert jax.eval_shape(lambda g: g.mean(), guess).shape == (*lead, *space.shape)
        target = jnp.zeros((*lead, *space.shape), space.dtype)
        assert jax.eval_shape(lambda g, t: g.loss(t), guess, target).shape[: len(lead)] == lead


def test_kept_order_of_keys() -> None:
    """Alphabetical, whatever the order of the dict; discrete as one-hot, vectors symlog."""
    spaces = SPACES["images and vectors"]
    backwards = dict(reversed(spaces.items()))
    one, two = nets.Encoder(spaces, CONV, rng()), nets.Encoder(backwards, CONV, rng())
    assert one.flat == two.flat == ("d", "k") and one.images == two.images == ("i", "j")
    assert one.mlp.layers[0].linear.kernel.shape == (5 + 11, 13)
    assert one.conv.convs[0].kernel.shape == (3, 3, 1 + 3, 4)
    obs = {"d": jnp.array(2), "k": normal(11)}
    flat = jnp.concatenate([nets.flatten(obs[k], spaces[k]) for k in one.flat])
    expected = np.sign(obs["k"]) * np.log1p(np.abs(obs["k"]))
    np.testing.assert_allclose(flat, np.r_[np.eye(5)[2], expected], rtol=1e-5)
    cells = jnp.array([[[0], [255]], [[51], [0]]], jnp.uint8)
    grid = nets.flatten(cells, Space((2, 2, 1), "uint8"))
    np.testing.assert_allclose(grid, [0, 1, 0.2, 0], rtol=1e-6)


def test_images_are_centred_and_split_by_channels() -> None:
    """Images of equal size share one stack: joined over channels, and cut apart again."""
    spaces = SPACES["two images"]
    encoder, decoder = nets.Encoder(spaces, CONV, rng()), nets.Decoder(spaces, CONV, rng())
    seen = {}
    encoder.conv = lambda x: seen.update(x=x) or x.reshape(x.shape[0], -1)
    grey = np.full((2, 12, 20, 1), 51, np.uint8)
    encoder.embed({"i": jnp.full((2, 12, 20, 3), 255, jnp.uint8), "j": jnp.array(grey)})
    np.testing.assert_allclose(seen["x"][..., :3], np.full((2, 12, 20, 3), 0.5), rtol=1e-6)
    np.testing.assert_allclose(seen["x"][..., 3:], np.full((2, 12, 20, 1), -0.3), rtol=1e-6)
    joint = normal(2, 12, 20, 4)
    decoder.conv = lambda deter, stoch: joint
    guesses = decoder.arranged(normal(2, 22), normal(2, 3, 7))
    np.testing.assert_array_equal(guesses["i"].prediction, joint[..., :3])
    np.testing.assert_array_equal(guesses["j"].prediction, joint[..., 3:])


@pytest.mark.parametrize(
    ("shape", "multipliers", "words"),
    [
        ((64, 64, 3), (2, 3), "64x64: 2 stages"),  # 16 is the most
        ((128, 64, 3), (2, 3), "128x64: 2 stages"),
        ((10, 10, 4), (2, 3), "10x10: 2 stages"),  # uneven
        ((8, 8, 1), (2, 3), "8x8: 2 stages"),  # 3 is the least
        ((12, 22, 3), (2, 3), "12x22: 2 stages"),
    ],
)
def test_images_that_the_stages_do_not_divide(shape, multipliers, words) -> None:
    config = Config(**(ODD | dict(multipliers=multipliers)))
    spaces = {"image": Space(shape, "uint8")}
    ok = shape == (64, 64, 3)
    for make in (nets.Encoder, nets.Decoder):
        if ok:
            make(spaces, config, rng())
            continue
        with pytest.raises(ValueError) as error:
            make(spaces, config, rng())
        assert words in str(error.value) and str(error.value).count(". ") == 0


def test_images_of_unequal_size() -> None:
    spaces = {"a": Space((12, 12, 1), "uint8"), "b": Space((12, 20, 1), "uint8")}
    with pytest.raises(ValueError, match=r"^Images 'a' and 'b' differ in size: make them equal\.$"):
        nets.Encoder(spaces, CONV, rng())


def test_initial_kernels() -> None:
    """Standard deviation 1/sqrt(fan in), cut at two sigma; block layers count their full input."""
    for fan_in, std in VECTORS["init_std_trunc_normal_in"].items():
        x = layers.truncated_normal(rng(), (int(fan_in), 200), int(fan_in))
        assert x.std() == pytest.approx(std, rel=0.02)
        assert np.abs(x).max() <= 2 * 1.1368 * std * 1.0001
    assert (layers.truncated_normal(rng(), (4, 5), 4, 0.0) == 0).all()
    assert layers.BlockLinear(64, 512, 8, rng()).kernel[...].std() == pytest.approx(1 / 8, rel=0.05)
    assert images.Conv(4, 64, 5, rng()).kernel[...].std() == pytest.approx(1 / 10, rel=0.05)
    made = (
        layers.Linear(3, 5, rng()),
        layers.BlockLinear(4, 6, 2, rng()),
        images.Conv(2, 3, 3, rng()),
    )
    for layer in made:
        assert (layer.bias[...] == 0).all()


def test_norm_and_silu() -> None:
    case = VECTORS["rmsnorm"]
    x = jnp.array(case["x"])
    np.testing.assert_allclose(layers.Norm(4)(x), case["y"], rtol=1e-5)
    np.testing.assert_allclose(layers.Norm(4)(0.001 * x), case["0.001*x"], rtol=1e-5)
    scaled = layers.Norm(4)
    scaled.scale[...] = np.array([1, 2, 3, 4], np.float32)
    np.testing.assert_allclose(scaled(x), np.array(case["y"]) * [1, 2, 3, 4], rtol=1e-5)
    for value, expected in VECTORS["silu"].items():
        assert jax.nn.silu(float(value)) == pytest.approx(expected, rel=1e-5)


def test_a_layer_is_linear_then_norm_then_silu() -> None:
    layer, x = layers.Layer(3, 5, rng()), np.asarray(normal(4, 3))
    layer.linear.bias[...] = np.arange(5, dtype=np.float32)
    y = x @ np.asarray(layer.linear.kernel[...]) + np.arange(5)
    y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-4)
    np.testing.assert_allclose(layer(jnp.array(x)), y / (1 + np.exp(-y)), rtol=1e-4, atol=1e-6)
    sizes = [(one.linear.kernel.shape) for one in layers.Mlp(3, 7, 3, rng()).layers]
    assert sizes == [(3, 7), (7, 7), (7, 7)]


def test_block_linear_is_a_block_diagonal_matrix() -> None:
    layer = layers.BlockLinear(6, 9, 3, rng())
    layer.bias[...] = np.arange(9, dtype=np.float32)
    kernel, dense = np.asarray(layer.kernel[...]), np.zeros((6, 9), np.float32)
    for k in range(3):
        dense[2 * k : 2 * k + 2, 3 * k : 3 * k + 3] = kernel[k]
    x = normal(4, 6)
    np.testing.assert_allclose(layer(x), np.asarray(x) @ dense + np.arange(9), rtol=1e-5, atol=1e-5)
    slope = np.asarray(jax.jacobian(layer)(x[0]))  # zero exactly where blocks do not see each other
    np.testing.assert_array_equal(slope != 0, dense.T != 0)


def test_convolution_pool_and_upsample() -> None:
    conv, x = images.Conv(2, 3, 3, rng()), np.asarray(normal(2, 4, 5, 2))
    kernel, padded = np.asarray(conv.kernel[...]), np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, 4, 5, 3))
    for i in range(3):
        for j in range(3):
            expected += padded[:, i : i + 4, j : j + 5] @ kernel[i, j]
    np.testing.assert_allclose(conv(jnp.array(x)), expected, rtol=1e-4, atol=1e-5)
    y = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3).astype(np.float32) % 17
    pooled = np.array([y[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]).max(0)
    np.testing.assert_array_equal(images.max_pool(jnp.array(y)), pooled)
    np.testing.assert_array_equal(
        images.upsample(jnp.array(y)), np.kron(y, np.ones((1, 2, 2, 1), np.float32))
    )


def test_patches_do_not_overlap_and_go_back_where_they_were() -> None:
    x = normal(2, 6, 9, 4)
    patches = images.to_patches(x, 3, 1)
    assert patches.shape == (2, 6, 9, 4)
    np.testing.assert_array_equal(patches[1, 5], x[1, 3:6, 6:9].reshape(9, 4))
    np.testing.assert_array_equal(images.from_patches(patches, 3, 2), x)


def test_patches_are_cut_into_smaller_ones() -> None:
    x = normal(2, 8, 12, 1)
    patches = images.to_patches(x, 2, 2)
    assert patches.shape == (2, 6, 16, 1)
    np.testing.assert_array_equal(patches[1, 5, 4:8], x[1, 4:6, 10:12].reshape(4, 1))
    np.testing.assert_array_equal(images.from_patches(patches, 2, 2), x)


def test_any_leading_axes_of_patches() -> None:
    x = normal(3, 2, 8, 12, 2)
    patches = images.to_patches(x, 2, 2)
    assert patches.shape == (3, 2, 6, 16, 2)
    np.testing.assert_array_equal(patches[2], images.to_patches(x[2], 2, 2))
    np.testing.assert_array_equal(images.from_patches(patches, 2, 2), x)


def test_patch_encoder_is_one_layer_for_each_patch() -> None:
    encoder = images.PatchEncoder(3, PATCH, rng())
    x = normal(2, 9, 15, 3)
    embed = encoder(encoder.arrange(x)).reshape(2, 3, 5, 4)
    for i in range(3):
        for j in range(5):
            patch = x[:, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3].reshape(2, 27)
            np.testing.assert_allclose(embed[:, i, j], encoder.layers[0](patch), rtol=1e-4)


def test_second_stage_sees_the_cells_of_its_patch_row_by_row() -> None:
    encoder = images.PatchEncoder(3, TWO_PATCHES, rng())
    x = normal(2, 12, 20, 3)
    first, second = encoder.layers
    embed = encoder(encoder.arrange(x)).reshape(2, 3, 5, 6)
    cells = [first(x[1, i : i + 2, j : j + 2].ravel()) for i in (8, 10) for j in (4, 6)]
    np.testing.assert_allclose(embed[1, 2, 1], second(np.concatenate(cells)), rtol=1e-4, atol=1e-6)


def test_patch_decoder_puts_each_pixel_in_its_place() -> None:
    decoder = images.PatchDecoder((12, 20, 3), TWO_PATCHES, rng())
    h, z = normal(2, TWO_PATCHES.deter), normal(2, TWO_PATCHES.stoch * TWO_PATCHES.classes)
    grid, out = decoder.start_grid(h, z), decoder.restore(decoder(h, z))
    wide = decoder.linears[0](grid[1, 2, 1]).reshape(2, 2, 4)
    cell = jax.nn.silu(decoder.norms[0](wide[0, 1]))
    pixels = jax.nn.sigmoid(decoder.out(cell)).reshape(2, 2, 3)
    np.testing.assert_allclose(out[1, 8:10, 6:8], pixels, rtol=1e-4, atol=1e-6)


def test_patch_decoder_mirrors_the_encoder() -> None:
    decoder = images.PatchDecoder((12, 20, 3), TWO_PATCHES, rng())
    assert decoder.start == (3, 5, 6)
    assert [x.kernel.shape for x in decoder.linears] == [(6, 2 * 2 * 4)]
    assert decoder.out.kernel.shape == (4, 2 * 2 * 3)
    with pytest.raises(ValueError, match="cut it into 2x2 patches"):
        nets.Encoder({"i": Space((14, 20, 3), "uint8")}, TWO_PATCHES, rng())


def test_decoder_starts_from_blocks_side_by_side() -> None:
    """(g, h, w, K/g) -> (h, w, K), as the reference layout says."""
    config = Config(**(ODD | dict(deter=16, depth=2, multipliers=(2,), image_blocks=2)))
    decoder = images.ConvDecoder((4, 4, 1), config, rng())
    assert decoder.start == (2, 2, 4) and not decoder.convs
    kernel_of(decoder.from_deter, np.stack([np.eye(8), np.eye(8)]))
    kernel_of(decoder.from_stoch, np.zeros((26, 16)))
    seen = {}
    decoder.start_norm = lambda x: seen.update(x=x) or x
    decoder(jnp.arange(16.0)[None], jnp.zeros((1, 21)))
    np.testing.assert_array_equal(seen["x"][0], VECTORS["bspace_layout_arange16_g2_h2_w2_C4"])


def test_decoder_of_cells_first_predicts_that_all_are_off() -> None:
    decoder = nets.Decoder(
        {"g": Space((5, 7, 2), "uint8"), "v": Space((3,), "float32")}, DENSE, rng()
    )
    np.testing.assert_array_equal(decoder.heads["g"].bias[...], np.full(70, -4.0))
    np.testing.assert_array_equal(decoder.heads["v"].bias[...], np.zeros(3))


def test_decoder_widths_mirror_the_encoder() -> None:
    config = Config(**(ODD | dict(multipliers=(2, 3, 4), depth=2)))
    decoder = images.ConvDecoder((24, 40, 3), config, rng())
    assert [c.kernel.shape[2:] for c in decoder.convs] == [(8, 6), (6, 4)]
    assert decoder.out.kernel.shape == (3, 3, 4, 3) and decoder.start == (3, 5, 8)
    assert [n.scale.shape for n in decoder.norms] == [(6,), (4,)]
    image = jax.eval_shape(decoder, jnp.zeros((7, 22)), jnp.zeros((7, 21)))
    assert image.shape == (7, 24, 40, 3)


ODD_SIZES = [
    dict(),
    dict(multipliers=(3,), depth=5, image_blocks=1),
    dict(multipliers=(1, 3), depth=3, image_blocks=1, kernel=5),
    dict(deter=30, blocks=3, multipliers=(2, 9), depth=1, image_blocks=3),
    dict(deter=21, blocks=7, multipliers=(7,), depth=1, image_blocks=7, kernel=4),
    dict(image_net="patch", kernel=2, multipliers=(3, 2), depth=3),
    dict(
        image_net="patch", kernel=2, multipliers=(5,), depth=3, deter=25, blocks=5, image_blocks=5
    ),
    dict(image_net="dense", deter=33, blocks=11),
]


@pytest.mark.parametrize("changes", ODD_SIZES)
def test_no_item_of_a_batch_sees_another(changes: dict) -> None:
    """Whatever sizes are accepted: with item 1 changed, item 0 is the same to the last bit."""
    config = Config(**(ODD | changes))
    spaces = {"i": Space((12, 20, 3), "uint8"), "v": Space((3,), "float32")}
    draw = np.random.default_rng(0)
    model = WorldModel(spaces, 5, config, draw)
    deter, stoch = normal(3, config.deter), jax.nn.one_hot(draw.integers(0, 7, (3, 3)), 7)
    obs = {"i": jnp.array(draw.integers(0, 256, (3, 12, 20, 3)), jnp.uint8), "v": normal(3, 3)}
    inputs = obs, State(deter, stoch), normal(3, 5), jnp.array([[0.2, 0.5, 0.7]] * 3)

    @jax.jit
    def everything(obs, state, action, u):
        embed = model.encoder(obs)
        after, logits = model.rssm.observe_step(state, embed, action, jnp.zeros(3, bool), u)
        seen = {k: prediction.mean() for k, prediction in model.decoder(*state).items()}
        return embed, after, logits, model.rssm.imagine_step(state, action, u), seen

    other = jax.tree.map(lambda x: x.at[1].set(x[2]), inputs)
    before, after = everything(*inputs), everything(*other)
    for x, y in zip(*map(jax.tree.leaves, (before, after)), strict=True):
        np.testing.assert_array_equal(x[0], y[0])
        np.testing.assert_array_equal(x[2], y[2])
    for x, y in zip(*map(jax.tree.leaves, ((before[0], before[4]), (after[0], after[4])))):
        assert (x[1] != y[1]).any()


def test_parts_that_do_not_fit_are_refused_at_the_border() -> None:
    """A reshape alone would take the missing numbers from the next item of the batch."""
    with pytest.raises(AssertionError, match="8 blocks do not divide 12"):
        layers.split_blocks(jnp.zeros((4, 12)), 8)
    with pytest.raises(AssertionError):
        layers.BlockLinear(8, 12, 8, rng())
    with pytest.raises(AssertionError):
        layers.join_blocks(jnp.zeros((2, 6, 3)), (2, 2))
    with pytest.raises(AssertionError):
        nets.flatten(jnp.zeros((5, 2)), Space((5,), "float32"))
    with pytest.raises(AssertionError):
        _ = State(jnp.zeros((2, 3, 4)), jnp.zeros((3, 2, 5, 6))).feature
    decoder = nets.Decoder(SPACES["grey"], CONV, rng())
    with pytest.raises(AssertionError):
        decoder(jnp.zeros((2, 3, 22)), jnp.zeros((3, 2, 3, 7)))


@pytest.mark.parametrize("image_net", ["conv", "patch", "dense"])
def test_forward_mode_agrees_with_reverse_mode(image_net: str) -> None:
    """jvp and jacfwd through every network, and the Hessian, which takes both."""
    config = Config(**(ODD | dict(image_net=image_net, multipliers=(2,), kernel=3)))
    spaces = {"i": Space((9, 15, 2) if image_net == "patch" else (8, 10, 2), "uint8")}
    model = WorldModel(spaces, 5, config, np.random.default_rng(0))
    actor = Actor(Space((2,), "float32"), config, np.random.default_rng(1))
    image = normal(2, *spaces["i"].shape) * 255

    def through(deter):
        state = State(deter, jnp.full((2, 3, 7), 1 / 7))
        post = model.rssm.posterior(
            model.rssm.core(state, jnp.ones((2, 5))), model.encoder({"i": image})
        )
        seen = model.decoder(*state)["i"].mean().sum((1, 2, 3))
        heads = model.reward(state.feature).mean() + model.cont(state.feature).mean()
        return jnp.stack(
            [post.logits.sum((1, 2)), seen, heads, actor(state.feature).log_prob(jnp.ones((2, 2)))]
        )

    x, direction = normal(2, 22), normal(2, 22, seed=1)
    forward, back = jax.jit(jax.jacfwd(through))(x), jax.jit(jax.jacrev(through))(x)
    np.testing.assert_allclose(forward, back, rtol=1e-3, atol=1e-5)
    along = jax.jit(lambda: jax.jvp(through, (x,), (direction,))[1])()
    np.testing.assert_allclose(along, jnp.tensordot(back, direction, 2), rtol=1e-3, atol=1e-4)
    slope = jax.jvp(model.encoder, ({"i": image},), ({"i": jnp.ones_like(image)},))[1]
    assert np.isfinite(slope).all() and (slope != 0).any()


def test_hessian_of_a_layer() -> None:
    mlp, x = layers.Mlp(4, 6, 2, rng()), normal(4)
    hessian = jax.hessian(lambda x: mlp(x).sum())(x)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-3, atol=1e-5)
    step = 1e-2 * np.eye(4, dtype=np.float32)
    slope = jax.grad(lambda x: mlp(x).sum())
    plain = np.stack([(slope(x + d) - slope(x - d)) / 2e-2 for d in step])
    np.testing.assert_allclose(hessian, plain, rtol=0.05, atol=2e-2)
