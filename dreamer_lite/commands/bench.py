"""`bench`: the speed of updates, the time of their parts, how their time grows, what they send."""

import argparse
import json
from typing import Any

from dreamer_lite.commands.agents import check_out
from dreamer_lite.commands.output import note, refusing, say


def bench(args: argparse.Namespace) -> int:
    """Measure updates of each preset that was named, or of four standard ones."""
    if args.growth:
        check_out(args.growth, ".png", ".svg")
    from dreamer_lite.agent import devices
    from dreamer_lite.tools import bench, growth, profile, traffic

    with refusing():
        devices.first()
        presets = bench.split_presets(args.preset) or list(bench.STANDARD)
        for preset in presets:
            bench.problem(preset)
    if args.devices:
        sent = {preset: traffic.measure(preset) for preset in presets}
        text = "\n".join(f"{preset}\n{traffic.in_words(sizes)}" for preset, sizes in sent.items())
        say(json.dumps(sent) if args.json else text)
        return 0
    if args.growth:
        grown = growth.growth(presets[0], note)
        growth.plot(grown, presets[0]).savefig(args.growth, dpi=150)
        say(json.dumps(grown) if args.json else growth.in_words(grown))
        return 0
    measure: Any = profile.profile if args.profile else bench.measure
    in_words: Any = profile.in_words if args.profile else bench.in_words
    found = {}
    for preset in presets:
        found[preset] = measure(preset, note)
        if not args.json:
            say(f"{preset}\n{in_words(found[preset])}", flush=True)
    if args.json:
        say(json.dumps(found if args.profile else list(found.values())))
    return 0
