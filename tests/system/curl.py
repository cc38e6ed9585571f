"""A client that is not ours: curl, as its users call it."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from tests.system.node import Answer

CURL = shutil.which("curl")

# On a machine for tests it has to be there; elsewhere what needs it is skipped, and says so.
needs_curl = pytest.mark.skipif(
    CURL is None and os.environ.get("CI") != "true", reason="curl, which plays the real client, is not installed"
)


def refused(url: str, *options: str) -> str:
    """What curl says where it gets no answer."""
    done = _run(url, *options)
    assert done.returncode != 0, done.stdout
    return done.stderr


def _run(url: str, *options: str, content: str | None = None) -> "subprocess.CompletedProcess[str]":
    assert CURL is not None, "CI has to have curl"
    return subprocess.run(
        [CURL, "--silent", "--show-error", "--max-time", "60", "--noproxy", "*", "--include", *options, url],
        input=content,
        capture_output=True,
        text=True,
        check=False,
    )


def curl(url: str, *options: str, body: Any = None) -> Answer:
    """One request on a connection of its own; a body is JSON, and makes it a POST."""
    sent = [] if body is None else ["--header", "Content-Type: application/json", "--data-binary", "@-"]
    done = _run(url, *options, *sent, content=None if body is None else json.dumps(body))
    assert done.returncode == 0, done.stderr
    head, _, content = done.stdout.partition("\n\n")  # text mode has made the line ends ours
    status, *lines = head.splitlines()
    headers = _headers(lines)
    is_json = "json" in headers.get("Content-Type", "")
    return Answer(int(status.split()[1]), json.loads(content) if is_json and content else content, headers)


def _headers(lines: list[str]) -> Mapping[str, str]:
    pairs = (line.partition(": ") for line in lines)
    return {name: value for name, _, value in pairs}
