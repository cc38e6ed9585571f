"""Logs: one event a line on standard error, JSON for machines or text for people.

Every process configures its own (`configure`), because loggers do not travel between processes. A line has `ts` (UTC),
`level`, `event`, `process` and what else the event says.
"""

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import orjson
import structlog

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]

_FIRST = ("ts", "level", "event", "process")


def configure(level: Level, format: Format, process_name: str) -> None:
    """Set up structlog and the standard library's logging of this process; a second call replaces the first.

    "auto" is text on a terminal, else JSON.
    """
    text = format == "text" or (format == "auto" and sys.stderr.isatty())
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if text else "iso", utc=not text, key="ts")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            *(_text_renderers() if text else (structlog.processors.format_exc_info, _json_line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_StandardError,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process=process_name)
    _take_over_standard_logging()


class _StandardError:
    """Writes a line of bytes at once, so that lines of several processes on one pipe do not mix.

    When nobody reads them any more, lines are dropped: a lost log is no reason to stop taking readings.
    """

    def __init__(self, *_: Any) -> None:
        self._stream = sys.stderr.buffer

    def msg(self, line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + b"\n")
            self._stream.flush()

    log = debug = info = warning = error = critical = exception = msg


def _json_line(_: Any, __: str, event: MutableMapping[str, Any]) -> bytes:
    ordered = {key: event.pop(key) for key in _FIRST if key in event} | dict(event)
    return orjson.dumps(ordered, default=str, option=orjson.OPT_NON_STR_KEYS)


def _text_renderers() -> tuple[Any, ...]:
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        timestamp_key="ts",
        exception_formatter=structlog.dev.plain_traceback,  # the default one prints local variables: secrets, pages
    )

    def line(logger: Any, name: str, event: MutableMapping[str, Any]) -> bytes:
        event["event"] = f"{event.pop('process', '-'):<12} {event['event']}"
        return str(console(logger, name, event)).encode(errors="replace")

    return (line,)


class _ToStructlog(logging.Handler):
    """Passes on what libraries say through `logging`, so that every line has one form."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        level = record.levelname.lower() if record.levelno > logging.DEBUG else "debug"
        log.log(
            getattr(logging, level.upper(), logging.WARNING),
            "library_message",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def _take_over_standard_logging() -> None:
    root = logging.getLogger()
    for old in [present for present in root.handlers if isinstance(present, _ToStructlog)]:
        root.removeHandler(old)
    root.addHandler(_ToStructlog())
    # Below warning, libraries tell about themselves, not about the node.
    root.setLevel(logging.WARNING)
