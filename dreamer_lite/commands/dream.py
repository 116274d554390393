"""`dream`: an imagined rollout beside the real episode, as a film, and its errors as a plot."""

import argparse
import json

from dreamer_lite.commands.agents import VIDEOS, beside, check_out, check_second, load
from dreamer_lite.commands.output import refusing, say

MARK = "dreamer-lite dream"  # written into the plot's file, to recognise it later
FPS = 5


def dream(args: argparse.Namespace) -> int:
    """Film an imagined rollout beside reality, and plot its errors."""
    out = args.out or beside(args.agent, "dream.mp4")
    check_out(out, *VIDEOS)
    plot = check_second(out, ".png", lambda content: MARK.encode() in content[:2000])
    config, params, world = load(args.agent, args.world)
    from dreamer_lite.evaluation import dream_plots, dreams
    from dreamer_lite.show import video

    with refusing():  # an agent whose episodes are all too short
        comparison = dreams.compare(config, params, world, args.seed)
    video.write(out, dreams.frames(comparison, world), fps=FPS)
    dream_plots.horizon_errors(comparison).savefig(plot, dpi=150, metadata={"Software": MARK})
    if args.json:
        say(json.dumps({**comparison.as_json(), "video": str(out)}))
    else:
        say(dream_plots.describe_horizon(comparison))
        say(f"The imagined rollout beside reality: {out}; a plot of these errors: {plot}")
    return 0
