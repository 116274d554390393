"""Trained agents: found by name, loaded, exported as two files, and the command that repeats one.

    agents.load("runs/demo")        the agent of a run folder
    agents.load("runs/demo@2")      of a run of several seeds, the one with seed 2
    agents.load("best.safetensors") an exported agent; best.json beside it describes it
    agents.load("catch")            an agent that is shipped with Dreamer Lite

Loading from an untrusted source is safe: it executes no code, imports no module that was not asked
for, and allocates only the memory that the settings of the agent need. Read with notebook 09.
"""

import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dreamer_lite import assets, files, worlds
from dreamer_lite.agent import devices
from dreamer_lite.agent.agent import Params, make_agent
from dreamer_lite.config import Config, from_dict, to_dict
from dreamer_lite.presets import make_config
from dreamer_lite.runs import checkpoints, disk
from dreamer_lite.runs.description import RESULTS, as_text
from dreamer_lite.runs.errors import MALFORMED, CheckpointError, explained, in_short

SUFFIX = ".safetensors"  # of an agent file; never of a run folder
LONGEST_JSON = 2**20  # bytes of the .json that describes an agent


class LoadedAgent(NamedTuple):
    """A trained agent, ready to act and to imagine."""

    config: Config
    params: Params
    info: dict[str, Any]  # return_mean, return_stderr, episodes, updates, ... of its training


def load(agent: str) -> LoadedAgent:
    """The agent of a run folder, of a .safetensors file, or a shipped one by its name.

    A run of several seeds gives its first agent; "DIR@2" names the one with seed 2. An environment
    that would import a module is refused, unless this process has called `worlds.make` for it.

    Raises:
      ValueError: there is none, or it cannot be used; one sentence.
    """
    if Path(agent).suffix == SUFFIX:
        return load_agent(Path(agent))
    if found := find_run(agent):
        return newest_agent(found[0] / "state", found[1])
    if agent in assets.agents():
        return load_agent(assets.path(f"agents/{agent}.safetensors"))
    shipped = ", ".join(assets.agents()) or "none yet"
    raise ValueError(
        f"There is no agent {agent!r}: name a run folder, a .safetensors file or a shipped agent "
        f"({shipped})."
    )


def find_run(agent: str | Path) -> tuple[Path, int | None] | None:
    """(folder, seed) of a run that is named DIR or DIR@SEED; None if it names no folder.

    A name that ends in .safetensors is an agent file, even if a folder has that name.

    Raises:
      ValueError: the text after the @ is no number.
    """
    path = Path(agent)
    folder, _, seed = str(agent).rpartition("@")
    if SUFFIX in (path.suffix, Path(folder).suffix):
        return None
    if path.is_dir():
        return path, None
    if not folder or not Path(folder).is_dir():
        return None
    if not seed.isdecimal():
        example = shlex.quote(f"{folder}@0")
        raise ValueError(f"{agent} names no seed: write a number after the @, as in {example}.")
    return Path(folder), int(seed)


def newest_agent(folder: Path, seed: int | None = None) -> LoadedAgent:
    """Only the agent of the newest checkpoint in `folder`; of several agents that of `seed`.

    Its config and info are as if it had been trained alone. The folder may be untrusted, and its
    run may still be training.

    Raises:
      CheckpointError: as `checkpoints.restore` and `load_agent`; or no agent has this seed.
    """
    return checkpoints.while_it_changes(folder, lambda: _newest_agent(folder, seed))


def _newest_agent(folder: Path, seed: int | None) -> LoadedAgent:
    place, meta = checkpoints.verified(folder)
    what = f"Checkpoint {place}"
    damaged = f"{what} is damaged: its meta.json does not describe a run."
    with explained(MALFORMED, CheckpointError, damaged):
        config, info = _config(dict(meta["config"]), what), dict(meta["summary"])
        first, count = config.seed, config.seeds
        number = 0 if seed is None else seed - first
        if not 0 <= number < count:
            valid = ", ".join(map(str, range(first, first + count)))
            raise CheckpointError(
                f"The run in {folder.parent} has no seed {seed}: valid after the @ are {valid}."
            )
        if count > 1:
            config = dataclasses.replace(config, seed=first + number, seeds=1)
            info |= {name: values[number] for name, values in meta["agents"].items()}
    shapes = _shapes(config, what)  # before the arrays are read, because they may be untrusted
    arrays = checkpoints.read(place, "agent")
    arrays = {n.removeprefix(checkpoints.PARAMS): x for n, x in arrays.items()}
    if count > 1:
        arrays = {name: x[number] for name, x in arrays.items()}
    return LoadedAgent(config, checkpoints.rebuild(arrays, shapes, what), info)


def export(agent: str | Path, out: Path) -> dict[str, Any]:
    """Write the agent of a run, DIR or DIR@SEED, as `out` (.safetensors) and a .json.

    Returns the description of its training that the .json holds.

    Raises:
      ValueError: as `load`. OSError: `out` cannot be written.
    """
    found = find_run(agent)
    if found is None:
        raise ValueError(f"There is no run folder {agent}.")
    folder, seed = found
    config, params, summary = newest_agent(folder / "state", seed)
    whole = from_dict(checkpoints.read_meta(folder / "state")["config"])
    unknown = f"The run in {folder} does not describe how its agent was trained."
    with explained(MALFORMED, ValueError, unknown):
        results = {name: float(summary[name]) for name in RESULTS}
        results["episodes"] = int(results["episodes"])
        rest = {name: value for name, value in summary.items() if name not in RESULTS}
        info = {
            **results,
            "trained": {
                "command": command(whole, summary["updates"], summary.get("from", "")),
                **rest,
            },
        }
    save_agent(out, params, config, info)
    return info


def command(config: Config, updates: int, origin: str = "") -> str:
    """The command line that repeats a run of so many updates, begun from the agent `origin`."""
    usual, mine = to_dict(make_config(config.world, config.size)), to_dict(config)
    words = ["dreamer-lite", "train", "--world", config.world, "--size", config.size]
    words += ["--seed", str(config.seed)]
    words += ["--seeds", str(config.seeds)] if config.seeds > 1 else []
    words += ["--updates", str(updates)]
    words += ["--from", origin] if origin else []
    for name in mine:
        if mine[name] != usual[name] and name not in ("seed", "seeds"):
            words += ["--set", f"{name}={as_text(mine[name])}"]
    return shlex.join(words)


# Agent files


def save_agent(path: Path, params: Params, config: Config, info: Mapping[str, Any]) -> None:
    """Write `path` (.safetensors) and beside it the same name with .json, which describes it.

    `info` is plain JSON: returns, and how the agent was trained.

    Raises:
      OSError: the folder cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    data = to_bytes({checkpoints.name_on_disk(p): np.ascontiguousarray(x) for p, x in leaves})
    about = {"format": checkpoints.FORMAT, "world": config.world, **info, "config": to_dict(config)}
    about["checksum"] = _sign(hashlib.sha256(data), about)
    path.parent.mkdir(parents=True, exist_ok=True)
    disk.replace(path, data)
    disk.replace(path.with_suffix(".json"), json.dumps(about, indent=2).encode())


def load_agent(path: Path) -> LoadedAgent:
    """Read what `save_agent` wrote. The files may be untrusted.

    Raises:
      CheckpointError: a file is missing, damaged, foreign or newer, or the environment of the agent
        would import a module, see `worlds.make_read`.
    """
    what = f"Agent {path}"
    with explained(MALFORMED, CheckpointError, _damaged(what)):
        try:
            with files.open_regular(path) as stream:
                about = json.loads(_read_at_most(path.with_suffix(".json"), LONGEST_JSON))
                checkpoints.check_format(about["format"], what)
                digest = hashlib.file_digest(stream, "sha256")
        except OSError as error:
            raise CheckpointError(
                f"Cannot read {error.filename} ({error.strerror}): an agent is a .safetensors file "
                "and a .json file of the same name beside it."
            ) from error
        if about.pop("checksum") != _sign(digest, about):
            raise ValueError("the checksum differs")
        settings = about.pop("config")
    config = _config(settings, what)
    shapes = _shapes(config, what)
    params = checkpoints.rebuild(_read_arrays(path, shapes, what), shapes, what)
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(params)):
        raise CheckpointError(f"{what} holds numbers that are not finite: export it again.")
    return LoadedAgent(config, params, about)


def describes_agent(content: bytes) -> bool:
    """Whether this is the .json of an agent, and not some other one."""
    try:
        return {"format", "world", "config", "checksum"} <= json.loads(content).keys()
    except MALFORMED:
        return False


def _read_at_most(file: Path, most: int) -> bytes:
    """The content of a regular file; ValueError if it is longer than `most` bytes."""
    with files.open_regular(file) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError("too long")
    return data


def _read_arrays(path: Path, shapes: Params, what: str) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors file, which may be little larger than arrays of these shapes."""
    with files.without_current_folder():
        from safetensors.numpy import load as from_bytes

    # Names and offsets take space, too.
    most = sum(x.nbytes + 1000 for x in jax.tree.leaves(shapes)) + LONGEST_JSON
    # The library may raise anything for content that is untrusted.
    with explained(Exception, CheckpointError, _damaged(what)):
        return from_bytes(_read_at_most(path, most))


def _damaged(what: str) -> str:
    return (
        f"{what} or the .json beside it is damaged, or no agent of Dreamer Lite: copy or export "
        "both files again."
    )


def _sign(digest: Any, about: Mapping[str, Any]) -> str:
    """One SHA-256 over both files, so that neither can be changed or exchanged alone.

    `digest` is that of the .safetensors file.
    """
    digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()


def _config(settings: Mapping[str, Any], what: str) -> Config:
    other = f"{what} was written by another version of Dreamer Lite, use that one"
    with explained(MALFORMED, CheckpointError, lambda why: f"{other}: {why}."):
        return from_dict(settings)


def _shapes(config: Config, what: str) -> Params:
    """Shapes of the parameters: numpy arrays that take no memory.

    The config may be untrusted: its environment must not import a module that nobody asked for.
    """
    devices.first()  # if there is none, the error must not blame the file
    missing = f"{what} needs an environment that is not here"
    with explained(ValueError, CheckpointError, lambda why: f"{missing}: {why}."):
        try:
            world = worlds.make_read(config.world)
        except worlds.ImportNeeded as error:
            raise CheckpointError(
                f"{what} is not loaded because {in_short(error)}, which runs code: if you trust "
                f"that module, {_how_to_name(config.world)}."
            ) from error
    unfit = f"{what} does not fit its environment"
    with explained(ValueError, CheckpointError, lambda why: f"{unfit}: {why}."):
        return make_agent(config, world.obs_space, world.action_space).shapes()


def _how_to_name(world: str) -> str:
    """What to type for an environment, without a name that could deceive a reader or a shell."""
    if not re.fullmatch(r"[\w./:-]{1,200}", world, re.ASCII):
        return "name the world"
    return f"name the world, by --world {shlex.quote(world)} or by worlds.make({world!r}) before"
