"""The settings: their ranges and errors, the dial of sizes, and how often the agent learns."""

import dataclasses
import json
import math
from fractions import Fraction

import pytest
from golden_cases import VECTORS

from dreamer_lite import worlds
from dreamer_lite.config import Config, from_dict, to_dict
from dreamer_lite.presets import PRESETS, PRESETS_AT_SIZE, SIZES, make_config

FIELDS = {field.name: field for field in dataclasses.fields(Config)}
NUMBERS = [name for name, field in FIELDS.items() if "low" in field.metadata]


def test_defaults_are_those_of_the_paper() -> None:
    """Those of the released code (configs.yaml), which a preset must not change by accident."""
    paper = dict(
        batch=16, length=64, bins=255, units=1024, encoder_layers=3, decoder_layers=3,
        reward_layers=1, cont_layers=1, policy_layers=3, value_layers=3, depth=64,
        multipliers=(2, 3, 4, 4), kernel=5, image_blocks=8, deter=8192, hidden=1024, stoch=32,
        classes=64, blocks=8, prior_layers=2, post_layers=1, unimix=0.01, free_nats=1.0,
        recon_scale=1.0, reward_scale=1.0, cont_scale=1.0, dyn_scale=1.0, rep_scale=0.1,
        horizon=15, starts=0, discount_horizon=333, lam=0.95, entropy=3e-4, policy_unimix=0.01,
        min_std=0.1, max_std=1.0, policy_scale=1.0, value_scale=1.0, replay_value_scale=0.3,
        slow_scale=1.0, slow_rate=0.02, return_rate=0.01, return_limit=1.0, return_low=5.0,
        return_high=95.0, learning_rate=4e-5, warmup=1000, decay=0, clip=0.3, clip_floor=1e-3,
        rms_decay=0.999, rms_eps=1e-20, momentum=0.9, online_queue=True,
    )  # fmt: skip
    assert {name: getattr(Config(), name) for name in paper} == paper
    assert Config().discount == pytest.approx(VECTORS["gamma"])


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_range_that_is_kept(name: str) -> None:
    meta = FIELDS[name].metadata
    assert meta["low"] <= FIELDS[name].default <= meta["high"]
    step = 1 if FIELDS[name].type is int else 1e-3
    for wrong in (meta["low"] - step, meta["high"] + step):
        with pytest.raises(ValueError, match=rf"^{name} is .* must lie between .*\.$"):
            Config(**{name: wrong})
    for wrong in ("3", None, True, math.nan):
        with pytest.raises(ValueError, match=rf"^{name} is "):
            Config(**{name: wrong})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(batch=2.5), "batch is 2.5: it must be a whole number."),
        (dict(image_net="cnn"), "image_net is 'cnn': valid are conv, patch, dense."),
        (dict(deter=100), "deter is 100: it must be a multiple of blocks=8."),
        (dict(starts=65), "starts is 65: it must be 0, for all steps of a sequence, or from 2"),
        (dict(starts=1), "starts is 1: it must be 0"),
        (dict(capacity=2063), "capacity is 2063 steps: a batch of 16 x 64 from 16 worlds needs a "
         "replay of at least 2064."),
        (dict(train_ratio=31.37), "train_ratio 31.37 gives an uneven schedule"),
        (dict(worlds=4096, capacity=10**6, train_ratio=1000), "train_ratio 1000 gives an uneven"),
    ],
)  # fmt: skip
def test_errors_are_one_sentence(changes: dict, message: str) -> None:
    with pytest.raises(ValueError) as error:
        Config(**changes)
    assert str(error.value).startswith(message) and str(error.value).endswith(".")


def test_the_smallest_capacity_holds_the_first_batch() -> None:
    config = Config(capacity=2064)
    assert config.capacity // config.worlds >= config.steps_before_learning


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"Unknown setting 'entrpy'\. Did you mean 'entropy'\?"):
        make_config("catch", entrpy=1)
    with pytest.raises(ValueError, match=r"Unknown size '13m'\. Did you mean '1.*m'.*400m"):
        make_config("catch", size="13m")


@pytest.mark.parametrize("classes,size", [(4, "1m"), (16, "12m"), (24, "25m"), (32, "50m"),
                                          (48, "100m"), (64, "200m"), (96, "400m")])  # fmt: skip
def test_sizes_follow_one_dial(classes: int, size: str) -> None:
    """Everything follows the number of classes per latent."""
    config = make_config("some/world", size)
    wide = (config.hidden, config.units, config.depth, config.deter)
    assert (config.classes, *wide) == (classes, 16 * classes, 16 * classes, classes, 128 * classes)
    assert (config.stoch, config.blocks, config.size) == (32, 8, size)


def test_presets_build_and_changes_win_over_size_and_preset() -> None:
    for world in {*worlds.names(), *PRESETS}:
        for size in SIZES:
            config = make_config(world, size)
            assert (config.world, config.size) == (world, size)
    assert make_config("catch/hidden").image_net == PRESETS["catch"]["image_net"]
    assert make_config("catch").size == PRESETS["catch"]["size"]
    assert make_config("atari/pong").train_ratio == 256
    assert make_config("atari/pong@200m").train_ratio == 32
    assert make_config("catch", "1m", deter=64, image_net="conv").deter == 64
    assert make_config("catch", "1m", image_net="conv").image_net == "conv"


@pytest.mark.parametrize(("world", "size"), PRESETS_AT_SIZE)
def test_a_size_may_bring_settings_of_its_own_for_a_world(world: str, size: str) -> None:
    """By either way to name a size; below changes, and for no other world or size.

    What is for a family is for each of its worlds, by whichever protocol.
    """
    own = PRESETS_AT_SIZE[world, size]
    assert not own.keys() & SIZES[size].keys(), "widths are the size's"
    for config in (make_config(world, size), make_config(world, **{"size": size})):
        found = dataclasses.asdict(config)
        assert found.items() >= (own | SIZES[size]).items()
    name, value = "train_ratio", 2 * own["train_ratio"]
    assert getattr(make_config(world, size, **{name: value}), name) == value
    family = world.split("/")[0]
    usual = PRESETS[family]
    assert getattr(make_config(world), name) == usual[name] != own[name]
    expected = usual | PRESETS_AT_SIZE.get((family, size), {})
    for member in (f"{world}/pixels", f"{world}/pixels@200m"):
        assert getattr(make_config(member, size), name) == expected[name]


def test_games_with_a_ball_weigh_moving_pixels_on_a_cpu() -> None:
    for world in ("atari/pong", "atari/breakout"):
        ball = make_config(world, "pixels-cpu")
        assert (ball.moving_scale, ball.recon_scale) == (10, 3)
        other = make_config("atari/road_runner", "pixels-cpu", moving_scale=10.0, recon_scale=3.0)
        assert dataclasses.replace(other, world=world) == ball
        assert make_config(world).moving_scale == 0  # the paper's loss at other sizes


def test_as_json_and_back() -> None:
    config = make_config("minatar/breakout", "12m", multipliers=(2,), entropy=0.5, seed=7)
    values = json.loads(json.dumps(to_dict(config)))
    assert from_dict(values) == config and hash(from_dict(values)) == hash(config)
    for wrong in (values | {"new": 1}, {k: v for k, v in values.items() if k != "seed"}):
        with pytest.raises(ValueError, match=r"unknown or missing: (new|seed)"):
            from_dict(wrong)
    with pytest.raises(ValueError, match=r"^batch is -1"):
        from_dict(values | {"batch": -1})
    earlier = {name: value for name, value in values.items() if name != "scalars"}
    assert from_dict(earlier) == config, "stored before there was a choice of heads"


def reference_updates(config: Config, rows: int) -> list[int]:
    """Updates after each time step by the released code's scheduler, asked at every agent step.

    It is not asked until there are B * T windows; the first answer is 1.
    """
    per_step = Fraction(str(config.train_ratio)) / (config.batch * config.length)
    before, windows, updates, after = None, 0, 0, []
    for row in range(1, rows + 1):
        for world in range(config.worlds):
            step = (row - 1) * config.worlds + world + 1
            windows += row > config.length
            if windows < config.batch * config.length:
                continue
            if before is None:
                before, updates = Fraction(step), updates + 1
                continue
            due = math.floor((step - before) * per_step)
            before, updates = before + due / per_step, updates + due
        after.append(updates)
    return after


def our_updates(config: Config, rows: int) -> list[int]:
    """Updates after each row as the loop does them: a round at `steps_before_learning`, and on."""
    rows_each, updates_each = config.schedule
    first = max(config.steps_before_learning, rows_each)
    rounds = [(row - first) // rows_each + 1 if row >= first else 0 for row in range(1, rows + 1)]
    return [updates_each * count for count in rounds]


@pytest.mark.parametrize("worlds", [1, 3, 4, 5, 16])
@pytest.mark.parametrize("ratio", [0.5, 1, 4, 12.5, 32, 96])
def test_schedule_is_the_reference_scheduler(worlds: int, ratio: float) -> None:
    config = Config(worlds=worlds, batch=4, length=8, train_ratio=ratio)
    rows, updates = config.schedule
    assert math.gcd(rows, updates) == 1
    assert updates * config.batch * config.length == rows * worlds * Fraction(str(ratio))
    lived = 150
    ours, reference = our_updates(config, lived), reference_updates(config, lived)
    if updates == 1 and 32 % worlds == 0 and rows <= config.steps_before_learning:
        assert ours == reference
    elif rows <= config.steps_before_learning:  # ours learns in whole rounds, never later
        slack = updates if 32 % worlds == 0 else updates + 1
        assert all(-1 < a - b + (32 % worlds > 0) <= slack for a, b in zip(ours, reference))
    assert ours[-1] > 0


def test_known_schedules() -> None:
    """The reference's own scheduler and replay gave these numbers."""
    for name, steps in VECTORS["training_starts_at_agent_step"].items():
        worlds = int(name.removeprefix("envs="))
        assert Config(worlds=worlds).steps_before_learning * worlds == steps
    for name, count in VECTORS["ratio_updates"].items():
        ratio, steps = (int(word) for word in name.replace(",", "").split() if word.isdigit())
        config = Config(worlds=1, train_ratio=ratio)
        assert our_updates(config, config.steps_before_learning + steps)[-1] == count


@pytest.mark.parametrize(
    ("world", "size", "changes", "blocks"),
    [
        ("atari/pong", "1m", dict(depth=3), 4),
        ("atari/pong", "1m", dict(multipliers=(2, 3, 4, 3)), 4),
        ("atari/pong", "1m", dict(image_blocks=7), 1),
        ("atari/pong", "1m", dict(image_blocks=64), 16),
        ("atari/pong", "1m", dict(deter=100, blocks=1), 4),
        ("atari/pong", "pixels-cpu", dict(multipliers=(8, 3)), 4),
        ("atari/pong", "25m", dict(image_blocks=64), 32),
        ("gym/X", None, dict(multipliers=(2, 3)), 4),
        ("minatar/breakout", None, dict(image_net="conv", multipliers=(3,)), 4),
    ],
)  # fmt: skip
def test_blocks_that_would_mix_neighbouring_images_are_refused(world, size, changes, blocks):
    """A valid number is named, and it is accepted."""
    with pytest.raises(ValueError) as error:
        make_config(world, size, **changes)
    assert f"choose image_blocks={blocks}, or image_net=dense" in str(error.value)
    assert make_config(world, size, **(changes | dict(image_blocks=blocks))).image_blocks == blocks
    assert make_config(world, size, **(changes | dict(image_net="dense"))).image_net == "dense"
    with pytest.raises(ValueError, match="image_blocks is"):
        dataclasses.replace(make_config(world, size), **(dict(image_net="conv") | changes))


def test_agents_without_images_that_were_stored_with_any_blocks_load() -> None:
    values = to_dict(make_config("pendulum")) | {"deter": 100, "depth": 3}
    assert from_dict(values).image_blocks == 4 and values["image_blocks"] == 8
    for broken in ({"multipliers": []}, {"multipliers": 5}, {"depth": "3"}, {"image_blocks": 0}):
        with pytest.raises(ValueError):
            from_dict(values | broken)


def test_a_size_is_what_it_says_for_every_world() -> None:
    """No preset of a world overwrites what a size sets."""
    for world in {*worlds.names(), *PRESETS, "gym/CarRacing-v3", "dmc/walker-walk/pixels"}:
        for size, widths in SIZES.items():
            assert dataclasses.asdict(make_config(world, size)).items() >= widths.items()


def test_the_defaults_are_a_size() -> None:
    assert dataclasses.asdict(Config()).items() >= SIZES[Config().size].items()
    assert Config.__dataclass_fields__["size"].metadata["options"] == tuple(SIZES)
    with pytest.raises(ValueError, match=r"^size is '13m': valid are tiny, "):
        Config(size="13m")


def test_the_deviation_of_a_policy_has_room() -> None:
    assert Config(min_std=0.5, max_std=0.5).min_std == 0.5
    with pytest.raises(ValueError, match=r"^min_std is 2: it must be at most max_std=1\.$"):
        Config(min_std=2)
