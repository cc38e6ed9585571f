"""Takes out one safety line at a time, in a copy of the tree, and looks whether a test fails.

    make mutants                         # all of them; prints a table, exit code 1 when one survives
    make mutants ARGS="P2 fencing"       # those whose promise or name contains one of the words

The lines, and the test that is to fail for each, stand in lines.toml.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = Path(__file__).with_name("lines.toml")
TESTS_FAILED = 1  # pytest's exit code; others say that the test could not even be run
PATIENCE_S = 300


@dataclass(frozen=True)
class Line:
    """A line that keeps a promise: in `file`, `old` becomes `new`, and one of `tests` has to fail."""

    promise: str
    name: str
    file: str
    old: str
    new: str
    tests: list[str]


def lines() -> list[Line]:
    return [Line(**row) for row in tomllib.loads(LINES.read_text(encoding="utf-8"))["line"]]


def copy_tree(folder: Path) -> None:
    """Copy what git would commit; the environment of the tree is used as it is."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def survives(folder: Path, line: Line) -> str:
    """Take out one line; return how it survived, or nothing when a test failed for it."""
    file = folder / line.file
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace(line.old, line.new, 1), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *line.tests]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return ""  # it hangs for ever: nobody would take that for passing
    finally:
        file.write_text(whole, encoding="utf-8")
    if done.returncode == TESTS_FAILED:
        return ""
    last = (done.stdout.strip().splitlines() or ["nothing printed"])[-1]
    return f"exit code {done.returncode}: {last}"


def main(words: list[str]) -> int:
    chosen = [line for line in lines() if not words or any(word in f"{line.promise} {line.name}" for word in words)]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="hseie-mutants-") as place:
        copy_tree(Path(place))
        for line in chosen:
            began = time.monotonic()
            how = survives(Path(place), line)
            survivors += bool(how)
            verdict = f"SURVIVED ({how})" if how else "found"
            print(f"{line.promise:4} {line.name}: {verdict}, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(chosen) - survivors} lines were missed by a test, {survivors} by none")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
