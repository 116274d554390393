"""What several commands need: loading the agent that was named, and checking output files."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamer_lite import files
from dreamer_lite.commands.output import Refused, note, refusing

VIDEOS = (".mp4", ".gif")
NO_EPISODE = "no episode has ended yet"


def load(agent: str, own: str | None) -> tuple[Any, Any, Any]:
    """(config, params, world) of the agent that was named; `own`: its environment, if typed."""
    config, params, info = load_agent(agent, own)
    world = make_world(config.world)
    say_which(agent, info)
    return config, params, world


def load_agent(agent: str, own: str | None) -> Any:
    """The agent that was named. A module of its environment is imported only if `own` names it."""
    from dreamer_lite.runs import agents, process

    if own is not None and not own.startswith("gym/"):
        raise Refused(
            "An agent has its own world: --world is for `random` in `evaluate` and `record`, or "
            "names an environment of your own, gym/MODULE:ID."
        )
    if own is not None:
        make_world(own)
    process.enable_compilation_cache()
    with refusing():
        found = agents.load(agent)
    if own not in (None, found.config.world):
        raise Refused(
            f"--world is {own}, but the agent was trained in {found.config.world}: omit --world."
        )
    return found


def load_player(agent: str, world: str | None) -> tuple[Any, Any, Any]:
    """As `load`; for the agent `random`, which plays in `world`, there are no parameters."""
    from dreamer_lite.presets import make_config

    if agent != "random":
        return load(agent, world)
    if world is None:
        raise Refused("--agent random needs --world (see `dreamer-lite worlds`).")
    made = make_world(world)
    return make_config(world), None, made


def make_world(name: str) -> Any:
    """The environment of this name. Raises Refused if it cannot be made."""
    from dreamer_lite import worlds
    from dreamer_lite.runs import process

    process.enable_compilation_cache()
    with refusing():
        return worlds.make(name)


def say_which(agent: str, info: dict[str, Any]) -> None:
    """Note that the first of several agents was used, if no seed was named."""
    if "seeds" in info and Path(agent).is_dir():
        name = typed(f"{agent}@SEED")
        note(f"{agent} holds {info['seeds']} agents: this is the first; {name} names one.")


def typed(name: object) -> str:
    """A name as one types it behind an option: quoted, and not mistaken for an option."""
    return shlex.quote(f"./{name}" if str(name).startswith("-") else str(name))


def with_error(found: dict[str, Any]) -> str:
    """Mean return and its standard error."""
    return f"{found['return_mean']:.2f} ± {found['return_stderr']:.2f}"


def beside(agent: str, name: str) -> Path:
    """`name` in the run folder of this agent, with its seed if one was named; else in this folder.

    Raises Refused if there is no such seed.
    """
    from dreamer_lite.runs import agents

    with refusing():
        folder, seed = agents.find_run(agent) or (Path(), None)
    return folder / (name if seed is None else name.replace(".", f"-s{seed}."))


def check_out(out: Path, *suffixes: str) -> None:
    """Raise Refused unless a file of this name can be written. Called before long work."""
    if out.suffix not in suffixes:
        raise Refused(f"{out} must end in {' or '.join(suffixes)}.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        new = not out.exists()
        out.open("ab").close()
        if new:
            out.unlink()
    except OSError as error:
        raise Refused(f"Cannot write {out} ({error.strerror}): choose another file.") from error


def check_second(out: Path, suffix: str, is_ours: Callable[[bytes], bool]) -> Path:
    """The path of a second file, which a command writes beside `out` without being told its name.

    Raises Refused if a file is there that `is_ours` does not recognise as written by the command.
    """
    second = out.with_suffix(suffix)
    check_out(second, suffix)
    try:
        content = files.read_regular(second)
    except FileNotFoundError:
        return second
    except OSError as error:
        raise Refused(f"Cannot write {second} ({error.strerror}): choose another file.") from error
    if not is_ours(content):
        raise Refused(
            f"{second} would be overwritten, because it is written beside {out}: move it, or "
            "choose another --out."
        )
    return second
