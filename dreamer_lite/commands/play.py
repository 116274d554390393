"""`evaluate` and `record`: an agent, or random play, in whole episodes."""

import argparse
import json

from dreamer_lite.commands.agents import VIDEOS, beside, check_out, load_player, with_error
from dreamer_lite.commands.output import note, refusing, say

FPS = 10


def evaluate(args: argparse.Namespace) -> int:
    """Play whole episodes and print the mean return with its standard error."""
    config, params, world = load_player(args.agent, args.world)
    from dreamer_lite.evaluation import rollouts
    from dreamer_lite.training.progress import mean_and_error

    with refusing():
        scores = rollouts.evaluate(config, params, world, args.episodes, args.seed)
    mean, error = mean_and_error(scores)
    found = {"return_mean": mean, "return_stderr": error, "episodes": len(scores)}
    text = f"Return {with_error(found)} over {len(scores)} episodes."
    say(json.dumps(found) if args.json else text)
    return 0


def record(args: argparse.Namespace) -> int:
    """Film whole episodes."""
    out = args.out or beside(args.agent, "record.mp4")
    check_out(out, *VIDEOS)
    config, params, world = load_player(args.agent, args.world)
    from dreamer_lite.evaluation import rollouts
    from dreamer_lite.show import video
    from dreamer_lite.worlds import is_hosted

    with refusing():  # episodes that do not fit in memory
        found = rollouts.record(config, params, world, args.seed, args.episodes)
        frames = rollouts.annotated_frames(world, found)
    video.write(out, frames, fps=FPS)
    returns = found.score[found.is_last].tolist()
    if found.frame is None and is_hosted(world):
        note(f"{world.name} was not drawn: the film shows its observations.")
    text = f"Return {', '.join(map(rollouts.in_short, returns))}. Watch it: {out}"
    say(json.dumps({"returns": returns, "video": str(out)}) if args.json else text)
    return 0
