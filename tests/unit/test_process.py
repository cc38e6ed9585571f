"""What a child decides about its own end, and the form of its messages."""

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hseie import control
from hseie.errors import ConfigError, FencedError, FrameError, HseieError, JournalError
from hseie.process import _rss_bytes, weightiest

FENCED = FencedError("fenced")
CONFIG = ConfigError("config")
JOURNAL = JournalError("journal")
OTHER = HseieError("other")
BUG = ValueError("a bug")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FENCED, FENCED),
        (OTHER, OTHER),
        (BUG, None),
        (ExceptionGroup("both", [OTHER, FENCED]), FENCED),
        (ExceptionGroup("nested", [OTHER, ExceptionGroup("inner", [JOURNAL, CONFIG])]), CONFIG),
        (ExceptionGroup("several", [OTHER, JOURNAL]), JOURNAL),
        # A bug beside an expected error is worth its traceback, unless the other one forbids a restart.
        (ExceptionGroup("with a bug", [OTHER, BUG]), None),
        (ExceptionGroup("with a bug", [BUG, FENCED]), FENCED),
        (ExceptionGroup("bugs", [BUG]), None),
    ],
)
def test_the_weightiest_error_decides(error: Exception, expected: HseieError | None) -> None:
    assert weightiest(error) is expected


def test_messages_survive_the_wire() -> None:
    beat = control.Heartbeat(name="writer-0", pid=1, state="ready", stats={"a": [1, "x"]}, rss_bytes=5, cpu_s=0.5)
    assert control.decode(control.encode(beat)) == beat
    assert control.decode(control.encode(control.StatusRequest(7))) == control.StatusRequest(7)
    assert control.decode(control.encode({"type": "status"})) == control.StatusRequest(0)


@given(st.binary(max_size=200))
def test_garbage_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        control.decode(body)


def test_a_message_of_another_form_is_refused() -> None:
    for message in ({"type": "other"}, {"type": "heartbeat"}, {"type": "status", "id": "x"}, [1, 2], None):
        with pytest.raises(FrameError):
            control.decode(control.encode(message))
    with pytest.raises(FrameError):
        control.decode_snapshot(control.encode([1]))


def test_a_process_without_files_to_spare_still_has_a_heartbeat() -> None:
    assert _rss_bytes() > 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert _rss_bytes() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
