"""`page`: the imagined rollouts of an agent, to be steered in a browser, as one HTML file."""

import argparse
import json

from dreamer_lite.commands.agents import beside, check_out, load_agent, say_which
from dreamer_lite.commands.output import refusing, say


def page(args: argparse.Namespace) -> int:
    """Write the page of an agent."""
    out = args.out or beside(args.agent, "dream.html")
    check_out(out, ".html")
    agent = load_agent(args.agent, args.world)
    say_which(args.agent, agent.info)
    from dreamer_lite.page import collect, html
    from dreamer_lite.runs import disk

    with refusing():  # an agent whose episodes are all too short
        data = collect(agent, args.seed)
    text = html(data).encode()
    disk.replace(out, text)
    trust = {name: data["trust"][name] for name in ("auc", "auc_steps", "good", "frames")}
    if args.json:
        say(json.dumps({"page": str(out), "bytes": len(text), "trust": trust}))
    else:
        say(f"Wrote {out} ({len(text) / 1e6:.1f} MB): open it in a browser, it needs no network.")
        say(describe(**trust))
    return 0


def describe(auc: float | None, auc_steps: float | None, good: float, frames: int) -> str:
    """What its trust meter is worth, in a sentence."""
    if auc is None or auc_steps is None:
        return f"Its trust meter could not be measured: {good:.0%} of the imagined frames are good."
    return (
        f"Its trust meter, on {frames:,} imagined frames of other episodes: AUC {auc:.2f} (the "
        f"number of steps alone: {auc_steps:.2f}); {good:.0%} of the frames are good."
    )
