"""Stands for `dreamer-lite train` in tests of sweeps: it writes what a run writes, in no time.

    python sweep_child.py SECONDS MARKER train --seed S ... --updates U --run DIR

It "trains" for SECONDS, and continues where it was. A file MARKER-SEED says what goes wrong.
"""

import fcntl
import json
import signal
import sys
import time
from pathlib import Path

seconds, marker, words = float(sys.argv[1]), sys.argv[2], sys.argv[4:]
options = dict(zip(words[::2], words[1::2]))
folder, updates = Path(options["--run"]), int(options["--updates"])
trouble = Path(f"{marker}-{options['--seed']}")
folder.mkdir(parents=True, exist_ok=True)
lock = (folder / "lock").open("a+b")
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
if trouble.exists():
    print("dreamer-lite: the loss became nan.")
    sys.exit(int(trouble.read_text(encoding="utf-8")))
file = folder / "metrics.jsonl"
done = len(file.read_text(encoding="utf-8").splitlines()) if file.exists() else 0
while done < updates and not stopped:
    time.sleep(seconds / updates)
    done += 1
    record = {
        "updates": done,
        "agent_steps": 8 * done,
        "episodes": done,
        "return_mean": done + float(options["--seed"]),
        "return_stderr": 0.5,
        "seconds": done * seconds / updates,
        "updates_per_second": updates / seconds,
        "loss/reward": 1.0,
    }
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")
    (folder / "summary.json").write_text(
        json.dumps({**record, "wall_seconds": record["seconds"], "env_frames": 16 * done}),
        encoding="utf-8",
    )
sys.exit(143 if stopped else 0)
