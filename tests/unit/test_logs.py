"""One event a line, in the form asked for."""

import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from hseie import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    captured = capfd.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_json_is_one_object_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json", "writer-0")
    log = structlog.get_logger("hseie")
    log.debug("unseen")
    log.info("flushed", rows=5, place=b"\xff", text="two\nlines")
    (text,) = lines(capfd)
    event = json.loads(text)
    assert list(event)[:4] == ["ts", "level", "event", "process"]
    assert event["ts"].endswith("Z")
    assert (event["level"], event["event"], event["process"]) == ("info", "flushed", "writer-0")
    assert (event["rows"], event["text"]) == (5, "two\nlines")


def test_an_exception_is_part_of_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json", "writer-0")
    try:
        raise ValueError("of no use")
    except ValueError:
        structlog.get_logger("hseie").exception("crashed")
    (text,) = lines(capfd)
    assert "ValueError: of no use" in json.loads(text)["exception"]


def test_text_has_process_event_and_values(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "text", "acceptor-1")
    structlog.get_logger("hseie").debug("started", port=3000)
    (text,) = lines(capfd)
    assert "acceptor-1" in text
    assert "started" in text
    assert "port=3000" in text


def test_auto_is_json_where_nobody_watches(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "auto", "x")
    structlog.get_logger("hseie").info("hello")
    assert json.loads(lines(capfd)[0])["event"] == "hello"


def test_libraries_speak_in_the_same_form(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json", "x")
    logs.configure("info", "json", "x")  # a second call must not double the lines
    logging.getLogger("some.library").warning("slow %s", "thing")
    logging.getLogger("some.library").info("unasked")
    (text,) = lines(capfd)
    event = json.loads(text)
    assert (event["level"], event["event"]) == ("warning", "library_message")
    assert (event["logger"], event["message"]) == ("some.library", "slow thing")


def test_a_reader_that_has_gone_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure("info", "json", "x")
        structlog.get_logger("hseie").info("unheard")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # for the flush when it is closed
