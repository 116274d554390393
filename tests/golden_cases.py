"""The two whole agents of tests/golden/dreamer_golden.json, rebuilt with our modules.

The numbers were produced by running the reference implementation with all sampling replaced by the
mode. Here: the fill rule of the parameters, the map from the reference's names to ours, the inputs.
"""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dreamer_lite.agent.distributions import BoundedNormal, OneHot
from dreamer_lite.agent.rssm import State
from dreamer_lite.agent.world_model import Batch
from dreamer_lite.config import Config
from dreamer_lite.worlds.base import Space

FOLDER = Path(__file__).parent / "golden"
CASES = {
    case["tag"]: case
    for case in json.loads((FOLDER / "dreamer_golden.json").read_text(encoding="utf-8"))
}
VECTORS = json.loads((FOLDER / "dreamer_vectors.json").read_text(encoding="utf-8"))


def use_the_mode(patch: pytest.MonkeyPatch) -> None:
    """Sampling as in the golden runs."""
    patch.setattr(OneHot, "quantile", lambda self, u: self.mode())
    patch.setattr(OneHot, "sample", lambda self, key: self.mode())
    patch.setattr(BoundedNormal, "sample", lambda self, key: self.mode())


def golden_config(tag: str, **changes) -> Config:
    small = dict(
        deter=16, hidden=8, stoch=4, classes=4, blocks=2, units=8, worlds=2, batch=2, length=5
    )
    if tag == "image_continuous":
        small |= dict(depth=4, multipliers=(2, 2), image_blocks=8)
    return Config(size="1m", policy_unimix=0.0, **(small | changes))


def spaces(tag: str) -> tuple[dict[str, Space], Space]:
    if tag == "vec_discrete":
        return {"vec": Space((3,), "float32")}, Space((), "int32", 3)
    return {"image": Space((16, 16, 1), "uint8")}, Space((2,), "float32")


def our_path(name: str) -> tuple[str, ...]:
    """The reference's parameter name as a path in our parameter tree."""
    module, *rest, leaf = name.split("/")
    rest = "/".join(rest)
    heads = {"rew": ("model", "reward_head"), "con": ("model", "cont_head")}
    heads |= {"pol": ("actor",), "val": ("critic", "head"), "slowval": ("critic", "head")}
    if module in heads:
        if rest.startswith("mlp/linear"):
            return (*heads[module], "mlp", "layers", rest[-1], "linear", leaf)
        if rest.startswith("mlp/norm"):
            return (*heads[module], "mlp", "layers", rest[-1], "norm", leaf)
        outputs = {"mean": "center", "stddev": "spread", "logits": "logits"}
        out = outputs[rest.split("/")[-1]] if module == "pol" else "out"
        return (*heads[module], out, leaf)
    if module == "dyn":
        inputs = {"0": "from_deter", "1": "from_stoch", "2": "from_action"}
        part = "norm" if rest.endswith("norm") else "linear"
        rest = rest.removesuffix("norm")
        if rest.startswith("dynin"):
            path = (inputs[rest[-1]], part)
        elif rest == "dynhid0":
            path = ("mix_norm",) if part == "norm" else ("mix",)
        elif rest == "dyngru":
            path = ("gates",)
        elif rest in ("obslogit", "priorlogit"):
            path = (rest.removesuffix("logit").replace("obs", "post") + "_out",)
        else:
            path = (rest[:-1].replace("obs", "post") + "_mlp", "layers", rest[-1], part)
        return ("model", "rssm", *path, leaf)
    if module == "enc":
        part = "norm" if rest.endswith("norm") else "linear"
        rest = rest.removesuffix("norm")
        if rest.startswith("mlp"):
            return ("model", "encoder", "mlp", "layers", rest[-1], part, leaf)
        return ("model", "encoder", "conv", "norms" if part == "norm" else "convs", rest[-1], leaf)
    if rest.startswith("mlp/"):
        part = "norm" if "norm" in rest else "linear"
        return ("model", "decoder", "mlp", "layers", rest[-1], part, leaf)
    if rest.startswith("vec/"):
        return ("model", "decoder", "heads", rest.split("/")[1], leaf)
    fixed = {
        "sp0": ("from_deter",),
        "sp1": ("stoch_layer", "linear"),
        "sp1norm": ("stoch_layer", "norm"),
        "sp2": ("from_stoch",),
        "spnorm": ("start_norm",),
        "imgout": ("out",),
        "conv0": ("convs", "0"),
        "conv0norm": ("norms", "0"),
    }
    return ("model", "decoder", "conv", *fixed[rest], leaf)


def fill(name: str, shape: list[int], seed: int) -> np.ndarray:
    """The parameter values of a golden agent: sines, and bell-shaped output biases."""
    wave = np.sin(0.37 * np.arange(np.prod(shape)) + seed).reshape(shape)
    module, leaf = name.split("/")[0], name.split("/")[-1]
    if module in ("rew", "val", "slowval") and "/head/" in name:
        centre = {"rew": 130, "val": 135, "slowval": 133}[module]
        bell = -(((np.arange(shape[-1]) - centre) / 10) ** 2)
        return 0.05 * wave if leaf == "kernel" else bell
    if leaf == "kernel":
        return np.sqrt(2 / np.prod(shape[:-1])) * wave
    return 1 + 0.1 * wave if leaf == "scale" else 0.1 * wave


def golden_params(tag: str, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(params, slow critic) filled by the rule; `params` gives the structure, and all of it."""
    flat = flatten(params)
    slow = {path[1:]: leaf for path, leaf in flat.items() if path[0] == "critic"}
    seen, seen_slow = set(), set()
    for name, shape, seed in CASES[tag]["params"]:
        path = our_path(name)
        value = jnp.asarray(fill(name, shape, seed), jnp.float32)
        assert flat[path].shape == tuple(shape), (name, path, flat[path].shape, shape)
        if name.startswith("slowval"):
            slow[path[1:]] = value
            seen_slow.add(path[1:])
        else:
            flat[path] = value
            seen.add(path)
    assert seen == set(flat) and seen_slow == set(slow)
    return unflatten(flat), unflatten(slow)


def flatten(tree: Any, path: tuple = ()) -> dict[tuple, Any]:
    """A nested dict as {path of strings: leaf}."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {k: v for key, sub in tree.items() for k, v in flatten(sub, (*path, str(key))).items()}


def unflatten(flat: dict[tuple, Any]) -> dict[str, Any]:
    tree: dict[Any, Any] = {}
    for path, leaf in flat.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(int(key) if key.isdigit() else key, {})
        node[path[-1]] = leaf
    return tree


def golden_batch(tag: str) -> Batch:
    """The inputs, time first; index 0 of the stored sequences is the context."""
    case = CASES[tag]
    rows = {k: np.swapaxes(np.array(v), 0, 1) for k, v in case["inputs_time0_is_context"].items()}
    obs_space, action_space = spaces(tag)
    obs = {k: jnp.asarray(rows[k][1:], space.dtype) for k, space in obs_space.items()}
    action = jnp.asarray(rows["action"][:-1], action_space.dtype)
    if action_space.is_discrete:
        action = jnp.eye(action_space.classes)[action]
    stoch = jnp.eye(4)[np.array(case["context_stoch_index"])]
    flags = {k: jnp.asarray(rows[k][1:], bool) for k in ("is_first", "is_last", "is_terminal")}
    return Batch(
        obs=obs,
        reward=jnp.asarray(rows["reward"][1:], jnp.float32),
        previous_action=action,
        context=State(jnp.asarray(case["context_deter"], jnp.float32), stoch),
        **flags,
    )
