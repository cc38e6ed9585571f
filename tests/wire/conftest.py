"""The stage of the system tests, for nodes that are sent what nobody should send."""

import pytest

pytest.register_assert_rewrite("tests.wire.watched")  # before anybody imports it

from tests.system.conftest import module_stage, new_database, own_server, seed, stage  # noqa: E402

__all__ = ["module_stage", "new_database", "own_server", "seed", "stage"]  # fixtures, found by their names
