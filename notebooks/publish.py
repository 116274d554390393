"""Writes what the branch `colab` holds: this repository, its notebooks stamped with its address.

    python notebooks/publish.py --repository https://github.com/OWNER/NAME --out DIR

Copies what git tracks, as it lies in the clone, into DIR, but no workflows (a push from within a
workflow may not change any). There it sets the repository, builds the notebooks (badges, bootstrap,
absolute links; stored outputs stay), and puts the badges into the README. Nothing is pushed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
PARAGRAPH = r"(?ms)^\*\*In a browser\*\*.*?(?=\n\n)"


class Refused(ValueError):
    """What is asked for cannot be published; the message is one sentence."""


def checked(repository: str, ref: str) -> str:
    """The address without what browsers and git add to it. Raises Refused."""
    address = re.sub(r"(\.git)?/*$", "", repository.strip())
    if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", address):
        raise Refused(
            f"REPOSITORY is {repository!r}: it must be https://github.com/OWNER/NAME, "
            "for Colab opens notebooks from GitHub only."
        )
    if not re.fullmatch(r"\w[\w./-]*", ref):
        raise Refused(f"REF is {ref!r}: it must be the name of a branch or tag.")
    return address


def tracked(root: Path) -> list[Path]:
    """The files that git tracks and that are there, relative to `root`. Raises Refused."""
    if not (root / ".git").exists():
        raise Refused(f"{root} is no clone: publishing copies what git tracks there.")
    command = ["git", "-C", str(root), "ls-files", "-z"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise Refused(f"git cannot list the files of {root}: {result.stderr.strip()}")
    names = [Path(name) for name in result.stdout.split("\0") if name]
    return [name for name in names if name.parts[0] != ".github" and (root / name).is_file()]


def replaced(path: Path, pattern: str, new: str) -> None:
    """Replace the one place of a file that matches. Raises Refused if there is not exactly one."""
    text, count = re.subn(pattern, lambda _: new, path.read_text(encoding="utf-8"))
    if count != 1:
        raise Refused(f"{path.name} has {count} places that match {pattern}: it must have one.")
    path.write_text(text, encoding="utf-8", newline="\n")


def badges(folder: Path, address: str, ref: str) -> str:
    """What the README says about Colab: a badge for the first notebook, a link for each other."""
    place = address.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{place}/blob/{ref}/notebooks"
    first, *others = sorted(path.name for path in folder.glob("notebooks/[0-9]*.ipynb"))
    links = " · ".join(f"[{name[:2]}]({colab}/{name})" for name in others)
    badge = f"[![Open notebook {first[:2]} in Colab]({BADGE})]({colab}/{first})"
    return f"**In a browser**, on Colab: {badge} · {links}"


def publish(root: Path, repository: str, out: Path, ref: str = "colab") -> str:
    """Write what is published of the clone `root` into `out`, a new or an empty folder.

    Returns what `build.py` said: which notebooks have no outputs. Raises Refused.
    """
    address = checked(repository, ref)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"{out} is there already: OUT must be a new or an empty folder.")
    for name in tracked(root):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, out / name)
    replaced(out / "pyproject.toml", r'(?m)^repository = ".*"$', f'repository = "{address}"')
    replaced(out / "pyproject.toml", r'(?m)^ref = ".*"$', f'ref = "{ref}"')
    replaced(out / "README.md", PARAGRAPH, badges(out, address, ref))
    command = [sys.executable, "-B", "notebooks/build.py", "build"]  # leaves no bytecode there
    library = os.environ | {"PYTHONPATH": str(out.resolve())}
    result = subprocess.run(command, cwd=out, env=library, capture_output=True, text=True)
    if result.returncode:
        raise Refused(f"The notebooks cannot be built: {result.stderr.strip()}")
    return result.stdout.strip()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repository", default="", help="https://github.com/OWNER/NAME")
    parser.add_argument("--ref", default="colab", help="branch or tag to be pushed: colab")
    parser.add_argument("--out", default="", help="a new or an empty folder")
    options = parser.parse_args(arguments)
    try:
        checked(options.repository, options.ref)
        if not options.out:
            raise Refused("Say where: OUT=DIR, a new or an empty folder.")
        said = publish(ROOT, options.repository, Path(options.out), options.ref)
    except Refused as error:
        print(error, file=sys.stderr)
        return 2
    print(
        *filter(None, [said]),
        f"{options.out} is what the branch {options.ref} shall hold.",
        sep="\n",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
