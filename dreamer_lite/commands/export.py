"""`export`: an agent as one file that can be given to others."""

import argparse

from dreamer_lite.commands.agents import (
    NO_EPISODE,
    check_out,
    check_second,
    load_agent,
    say_which,
    with_error,
)
from dreamer_lite.commands.output import refusing, say


def export(args: argparse.Namespace) -> int:
    """Write an agent file and its description."""
    check_out(args.out, ".safetensors")
    from dreamer_lite.runs import agents

    about = check_second(args.out, ".json", agents.describes_agent)
    if args.world is not None:
        load_agent(args.agent, args.world)
    with refusing():
        info = agents.export(args.agent, args.out)
    say_which(args.agent, info["trained"])
    got = f"return {with_error(info)} in training" if info["episodes"] else NO_EPISODE
    say(f"Wrote {args.out} and {about}: {got}.")
    return 0
