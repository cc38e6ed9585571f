"""The answers of the ingest routes, field by field as the contract has them."""

import orjson
import pytest

from hseie.acceptor.answers import answer_batch, answer_one, answer_rejected, wire_time
from hseie.acceptor.parse import Parsed
from hseie.acceptor.tickets import Receipt
from hseie.problems import PROBLEMS, ErrorItem, problem_answer
from hseie.readings import METER

RECEIPT = Receipt(3, 81244, {0: [1, 4]})


def test_one_reading_queued() -> None:
    parsed = Parsed(is_batch=False, accepted=1, device="METER_001", time="2026-02-09T12:00:00")
    status, body = answer_one(METER, parsed, RECEIPT, duplicate=False, stored=False)
    assert status == 202
    assert orjson.loads(body) == {
        "success": True,
        "meterId": "METER_001",
        "timestamp": "2026-02-09T12:00:00.000Z",
        "mode": "queued",
        "jobId": "3-81244",
    }


def test_one_reading_committed_and_a_re_send() -> None:
    parsed = Parsed(is_batch=False, accepted=1, device="METER_001", time="2026-02-09T12:00:00.25")
    status, body = answer_one(METER, parsed, RECEIPT, duplicate=True, stored=True)
    answer = orjson.loads(body)
    assert (status, answer["mode"], answer["duplicate"]) == (201, "direct", True)


@pytest.mark.parametrize(
    ("rejected", "stored", "status"), [(0, False, 202), (0, True, 201), (1, False, 207), (1, True, 207)]
)
def test_a_batch(rejected: int, stored: bool, status: int) -> None:
    errors = [ErrorItem("out_of_range", "must be from 0 to 500 V", "/voltage", 7)] if rejected else []
    indexes = [7] * rejected
    parsed = Parsed(is_batch=True, accepted=999, rejected=rejected, errors=errors, rejected_indexes=indexes)
    got, body = answer_batch(parsed, [RECEIPT, Receipt(0, 5, {})], 1, stored)
    assert got == status
    answer = orjson.loads(body)
    assert answer.pop("rejectedIndexes", []) == indexes
    assert answer == {
        "accepted": 998,
        "duplicates": 1,
        "rejected": rejected,
        "mode": "direct" if stored else "queued",
        "jobIds": ["3-81244", "0-5"],
        "errors": [{"code": "out_of_range", "detail": "must be from 0 to 500 V", "pointer": "/voltage", "index": 7}]
        * rejected,
    }


def test_what_was_parked_is_never_called_stored() -> None:
    one = Parsed(is_batch=False, accepted=1, device="METER_001", time="2026-02-09T12:00:00")
    status, body = answer_one(METER, one, RECEIPT, duplicate=False, stored=False, parked=1)
    answer = orjson.loads(body)
    assert (status, answer["mode"], answer["deadLettered"]) == (202, "queued", 1)
    status, body = answer_batch(Parsed(is_batch=True, accepted=9), [RECEIPT], 0, stored=False, parked=2)
    answer = orjson.loads(body)
    assert (status, answer["accepted"], answer["mode"], answer["deadLettered"]) == (202, 9, "queued", 2)


def test_lists_of_errors_are_capped() -> None:
    errors = [ErrorItem("bad_type", "must be a number", "/voltage", index) for index in range(150)]
    parsed = Parsed(is_batch=True, rejected=150, errors=errors)
    answer = answer_rejected(parsed)
    document = orjson.loads(answer.body)
    assert (answer.status, len(document["errors"]), document["rejected"], document["accepted"]) == (400, 100, 150, 0)
    assert len(orjson.loads(answer_batch(parsed, [RECEIPT], 0, False)[1])["errors"]) == 100


def test_times_on_the_wire_have_milliseconds() -> None:
    assert wire_time("2026-02-09T12:00:00") == "2026-02-09T12:00:00.000Z"
    assert wire_time("2026-02-09T12:00:00.123456") == "2026-02-09T12:00:00.123456Z"


def test_re_sends_are_counted_for_the_request_they_came_with() -> None:
    assert [RECEIPT.duplicates_between(0, start, stop) for start, stop in ((0, 5), (0, 1), (1, 2), (2, 4), (4, 9))] == [
        2,
        0,
        1,
        0,
        1,
    ]
    assert RECEIPT.duplicates_between(1, 0, 5) == 0


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_problem_says_whether_to_try_again(code: str) -> None:
    answer = problem_answer(code)
    document = orjson.loads(answer.body)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (document["status"], document["code"]) == (answer.status, code)
    assert ("Retry-After" in answer.headers) == (answer.status in (429, 502, 503, 504))
