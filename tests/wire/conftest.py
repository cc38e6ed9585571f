"""The stage of the system tests, for nodes that are sent what nobody should send."""

from tests.system.conftest import module_stage, new_database, own_server, seed, stage

__all__ = ["module_stage", "new_database", "own_server", "seed", "stage"]  # fixtures, found by their names
