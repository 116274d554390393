"""A real Slurm on this machine, for tests: its daemons, with all their files in one folder."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scancel")


def why_not() -> str | None:
    """Why Slurm cannot be started here; None if it can."""
    missing = [name for name in PROGRAMS if find(name) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install slurm-wlm munge"
    return None if os.getuid() == 0 else "slurmd needs root"


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Slurm while the `with` lasts; yields the environment in which its commands find it."""
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o700)
    folder.chmod(0o711)
    host = socket.gethostname().split(".")[0]
    conf = folder / "slurm.conf"
    text = CONF.format(host=host, folder=folder, ports=free_ports(2))
    conf.write_text(text, encoding="utf-8")
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o600)
    environment = os.environ | {"SLURM_CONF": str(conf)}
    munge = ["--foreground", "--force", f"--socket={folder}/munge.socket", "--num-threads=2"]
    munge += [f"--key-file={folder}/munge/key", f"--log-file={folder}/munge/log"]
    munge += [f"--pid-file={folder}/munge/pid", f"--seed-file={folder}/munge/seed"]
    daemons = [["munged", *munge], ["slurmctld", "-D", "-f", str(conf)]]
    daemons += [["slurmd", "-D", "-f", str(conf)]]
    with contextlib.ExitStack() as opened, (folder / "out").open("wb") as out:
        for words in daemons:
            words[0] = find(words[0]) or words[0]
            process = subprocess.Popen(words, env=environment, stdout=out, stderr=out)
            opened.callback(end, process)
            if "munged" in words[0]:
                wait_for(lambda: (folder / "munge.socket").exists(), 20, out.name)
        idle = ["sinfo", "--noheader", "--format=%T"]
        ask = lambda: subprocess.run(idle, env=environment, capture_output=True, text=True)  # noqa: E731
        wait_for(lambda: ask().stdout.strip() == "idle", 60, out.name)
        opened.callback(clear, environment)
        yield environment


def clear(environment: dict[str, str]) -> None:
    """End all jobs, whose processes would live on without Slurm."""
    user = f"--user={getpass.getuser()}"
    subprocess.run(["scancel", user], env=environment, check=False)
    ask = ["squeue", "--noheader", user]
    wait_for(lambda: not subprocess.run(ask, env=environment, capture_output=True).stdout, 60)


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(ready, seconds: float, log: str = "") -> None:
    """Wait until ready() is true; after so many seconds that is a failure."""
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, f"nothing after {seconds} s: see {log}"
        time.sleep(0.2)
