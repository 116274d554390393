"""Every hyperparameter of a run, in one frozen dataclass.

The defaults are those of the released code (dreamerv3/configs.yaml), except `capacity`, as noted
there. `presets` has the widths of all networks by size, and the settings of each environment. The
fields stand in the order in which the notebooks introduce them.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any


def number(default: Any, low: float, high: float, unit: str = "") -> Any:
    """A field that must lie in [low, high]; the range also serves sliders."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, "unit": unit})


def choice(default: str, *options: str) -> Any:
    """A field that must be one of `options`."""
    return dataclasses.field(default=default, metadata={"options": options})


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of a run. `presets.make_config` builds one, `dataclasses.replace` changes one.

    Raises:
      ValueError: one sentence with the valid values, if a field is out of range.
    """

    # The run
    world: str = "minatar/breakout"
    size: str = choice(  # of the networks; the defaults below are the widths of 200m
        "200m", *"tiny small 1m pixels-cpu 12m 25m 50m 100m 200m 400m".split()
    )
    seed: int = number(0, 0, 2**31 - 1)
    seeds: int = number(1, 1, 64, "agents trained side by side, from seed on")

    # Environments and replay (notebook 02)
    worlds: int = number(16, 1, 4096, "parallel environments (W)")
    batch: int = number(16, 1, 4096, "sequences (B)")
    length: int = number(64, 2, 1024, "steps of a training sequence (T)")
    # The code has 5,000,000: here a replay stays in the memory of a laptop or of Colab.
    capacity: int = number(1_000_000, 64, 10**9, "agent steps")
    train_ratio: float = number(32, 1e-3, 1e6, "replayed steps per agent step")
    online_queue: bool = True  # train on every new window once, soon after it was collected

    # Predictions and networks (notebooks 03 and 04)
    bins: int = number(255, 3, 1023, "two-hot bins (K)")
    scalars: str = choice("two-hot", "two-hot", "symlog", "plain")  # rewards, values: ablations
    units: int = number(1024, 1, 8192, "width of the MLPs")
    encoder_layers: int = number(3, 1, 8)
    decoder_layers: int = number(3, 1, 8)
    reward_layers: int = number(1, 1, 8)
    cont_layers: int = number(1, 1, 8)
    policy_layers: int = number(3, 1, 8)
    value_layers: int = number(3, 1, 8)
    image_net: str = choice("conv", "conv", "patch", "dense")
    depth: int = number(64, 1, 512, "channels, times the multipliers")
    multipliers: tuple[int, ...] = (2, 3, 4, 4)  # one stage each, every stage halves the image
    kernel: int = number(5, 1, 9, "cells")
    image_blocks: int = number(8, 1, 64, "blocks of the decoder's map from the state")
    precision: str = choice("auto", "auto", "float32", "bfloat16")  # of activations; see `devices`

    # RSSM (notebook 04)
    deter: int = number(8192, 1, 16384, "deterministic state (D)")
    hidden: int = number(1024, 1, 8192, "hidden units of the RSSM")
    stoch: int = number(32, 1, 256, "groups (S)")
    classes: int = number(64, 2, 256, "classes per group (C)")
    blocks: int = number(8, 1, 64, "blocks of the GRU")
    prior_layers: int = number(2, 1, 8)
    post_layers: int = number(1, 1, 8)
    unimix: float = number(0.01, 0, 1, "fraction of uniform in the latents")

    # World model (notebook 05)
    free_nats: float = number(1.0, 0, 100, "nats")
    recon_scale: float = number(1.0, 0, 100)
    # Ours: pixels that differ from the frame before weigh 1 + this in the image loss. The paper has
    # 0. A model otherwise learns a ball of one or two pixels last.
    moving_scale: float = number(0.0, 0, 1000)
    reward_scale: float = number(1.0, 0, 100)
    cont_scale: float = number(1.0, 0, 100)
    dyn_scale: float = number(1.0, 0, 100)
    rep_scale: float = number(0.1, 0, 100)

    # Imagination, actor and critic (notebooks 06 and 07)
    horizon: int = number(15, 1, 333, "imagined steps (H)")
    starts: int = number(0, 0, 1024, "last steps of each sequence to imagine from; 0 is all")
    discount_horizon: float = number(333, 1, 1e5, "steps; discount = 1 - 1/this")
    lam: float = number(0.95, 0, 1, "lambda of the returns")
    entropy: float = number(3e-4, 0, 1, "reward per nat")
    policy_unimix: float = number(0.01, 0, 1, "fraction of uniform in discrete policies")
    min_std: float = number(0.1, 1e-3, 10)
    max_std: float = number(1.0, 1e-3, 10)
    policy_scale: float = number(1.0, 0, 100)
    value_scale: float = number(1.0, 0, 100)
    replay_value_scale: float = number(0.3, 0, 100)
    slow_scale: float = number(1.0, 0, 100, "pull of the slow critic")
    slow_rate: float = number(0.02, 0, 1, "per update")
    return_rate: float = number(0.01, 0, 1, "per update")
    return_limit: float = number(1.0, 1e-8, 1e8, "smallest scale of the returns")
    return_low: float = number(5.0, 0, 50, "percentile")
    return_high: float = number(95.0, 50, 100, "percentile")

    # Optimiser and loop (notebook 08)
    learning_rate: float = number(4e-5, 0, 1)
    warmup: int = number(1000, 0, 10**6, "updates")
    decay: int = number(0, 0, 10**9, "updates; the rate falls as 1/sqrt(1 + t/this); 0 is constant")
    clip: float = number(0.3, 1e-6, 1e6, "gradient norm / parameter norm (AGC)")
    clip_floor: float = number(1e-3, 1e-8, 1, "smallest parameter norm that AGC assumes")
    # The paper prints 0.99; the released code has 0.999.
    rms_decay: float = number(0.999, 0, 0.999999)
    rms_eps: float = number(1e-20, 1e-20, 1)
    momentum: float = number(0.9, 0, 0.999999)
    updates_per_call: int = number(50, 1, 10**6, "updates (K) between two progress records")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if self.deter % self.blocks:
            raise ValueError(
                f"deter is {self.deter}: it must be a multiple of blocks={self.blocks}."
            )
        self._check_image_blocks()
        if self.min_std > self.max_std:
            raise ValueError(
                f"min_std is {self.min_std:g}: it must be at most max_std={self.max_std:g}."
            )
        if self.capacity < self.worlds * (self.length + 1) + self.batch * self.length:
            least = self.worlds * (self.length + 1) + self.batch * self.length
            raise ValueError(
                f"capacity is {self.capacity} steps: a batch of {self.batch} x {self.length} from "
                f"{self.worlds} worlds needs a replay of at least {least}."
            )
        if self.starts == 1 or self.starts > self.length:
            raise ValueError(
                f"starts is {self.starts}: it must be 0, for all steps of a sequence, or from 2 (a "
                f"replayed return needs a step that follows) to length={self.length}."
            )
        if max(self.schedule) > 1000:
            raise ValueError(
                f"train_ratio {self.train_ratio} gives an uneven schedule: choose one for which "
                f"batch * length / train_ratio = {self.batch * self.length / self.train_ratio:g} "
                f"agent steps per update and worlds={self.worlds} share a simple ratio."
            )

    def _check_image_blocks(self) -> None:
        """The decoder's blocks must divide the state, and the channels of its first grid."""
        channels = self.depth * self.multipliers[-1]
        fitting = math.gcd(self.deter, channels)
        blocks = math.gcd(fitting, self.image_blocks)
        if self.image_net != "dense" and blocks != self.image_blocks:
            raise ValueError(
                f"image_blocks is {self.image_blocks}: it must divide deter={self.deter} and the "
                f"{channels} channels of the last stage (depth * the last of multipliers); with "
                f"these, choose image_blocks={blocks}, or image_net=dense, which has no blocks."
            )

    @property
    def discount(self) -> float:
        """Discount factor per agent step."""
        return 1 - 1 / self.discount_horizon

    @property
    def schedule(self) -> tuple[int, int]:
        """(steps, updates): learn `updates` times after every `steps` of all W environments.

        The smallest whole numbers with `updates * B * T = steps * W * train_ratio`.
        """
        per_step = Fraction(str(self.train_ratio)) * self.worlds / (self.batch * self.length)
        return per_step.denominator, per_step.numerator

    @property
    def steps_before_learning(self) -> int:
        """Steps of all environments until the replay holds B * T windows."""
        return self.length + -(-self.batch * self.length // self.worlds)


def _check(field: dataclasses.Field, value: Any) -> None:
    meta = field.metadata
    if field.type in (str, bool) and not isinstance(value, field.type):
        kind = "true or false" if field.type is bool else "a word"
        raise ValueError(f"{field.name} is {value!r}: it must be {kind}.")
    if field.name == "multipliers" and not (
        isinstance(value, tuple)
        and 1 <= len(value) <= 8
        and all(type(x) is int and 1 <= x <= 64 for x in value)
    ):
        raise ValueError(
            f"multipliers is {value!r}: it must be 1 to 8 whole numbers between 1 and 64."
        )
    if "options" in meta and value not in meta["options"]:
        raise ValueError(f"{field.name} is {value!r}: valid are {', '.join(meta['options'])}.")
    if "low" in meta:
        kind = (int,) if field.type is int else (int, float)
        whole = "a whole number" if kind == (int,) else "a number"
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{field.name} is {value!r}: it must be {whole}.")
        if not meta["low"] <= value <= meta["high"]:
            raise ValueError(
                f"{field.name} is {value}: it must lie between {meta['low']} and {meta['high']}."
            )


def check_name(kind: str, name: str, valid: Mapping[str, Any] | set[str]) -> None:
    """Raise a ValueError that lists the valid names, and the likeliest one, if `name` is none."""
    if name not in valid:
        near = difflib.get_close_matches(name, valid, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"Unknown {kind} {name!r}.{hint} Valid: {', '.join(sorted(valid))}.")


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain JSON values."""
    return dataclasses.asdict(config) | {"multipliers": list(config.multipliers)}


_LATER = ("scalars", "moving_scale")  # settings that agents of earlier versions were stored without


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """Stored settings with those that did not exist yet; their defaults are what was done then."""
    values = {name: getattr(Config, name) for name in _LATER} | dict(values)
    stages = values.get("multipliers")
    last = stages[-1:] if isinstance(stages, list | tuple) else ()
    numbers: list[Any] = [values.get(n) for n in ("image_blocks", "deter", "depth")] + [*last]
    whole = len(numbers) == 4 and all(type(x) is int and x > 0 for x in numbers)
    if whole and values.get("image_net") != "dense":
        blocks, deter, depth, stage = numbers
        # Where there are no images these blocks are not built, and once they had to fit nothing.
        values["image_blocks"] = math.gcd(blocks, deter, depth * stage)
    return values


def from_dict(values: Mapping[str, Any]) -> Config:
    """The inverse of `to_dict`. Raises ValueError on unknown or missing settings."""
    known = {field.name for field in dataclasses.fields(Config)}
    values = complete(values)
    if set(values) != known:
        odd = sorted(set(values) ^ known)
        raise ValueError(f"These settings are unknown or missing: {', '.join(odd)}.")
    stages = values["multipliers"]
    stages = tuple(stages) if isinstance(stages, list) else stages
    return Config(**dict(values, multipliers=stages))
