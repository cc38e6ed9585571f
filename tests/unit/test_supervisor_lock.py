"""One node a folder, and a run folder of its own."""

import os
import socket
import stat
from pathlib import Path

import pytest

from hseie.control import prepare_run_dir, run_dir_of
from hseie.errors import ConfigError, ExitCode, InstanceLockedError
from hseie.ports import analytics_path
from hseie.supervisor.lock import InstanceLock


def test_a_second_node_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    lock = InstanceLock.acquire(tmp_path / "data")
    with pytest.raises(InstanceLockedError, match=f"pid {os.getpid()}.*{tmp_path}") as caught:
        InstanceLock.acquire(tmp_path / "data")
    assert caught.value.exit_code == ExitCode.TEMPORARY
    lock.release()
    InstanceLock.acquire(tmp_path / "data").release()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"node\.data"):
        InstanceLock.acquire(tmp_path / "file" / "data")


def test_the_run_folder_stands_in_the_data_folder_where_its_sockets_fit(tmp_path: Path) -> None:
    temp = Path("/tmp")
    assert run_dir_of(Path("/srv/hseie"), temp, 1000) == Path("/srv/hseie/run")
    long = Path("/srv") / ("x" * 90)
    short = run_dir_of(long, temp, 1000)
    assert short.parent == temp
    assert short == run_dir_of(long, temp, 1000)
    assert short != run_dir_of(long / "other", temp, 1000)
    assert short != run_dir_of(long, temp, 1001)
    assert len(os.fsencode(short / "writer-1023.sock")) <= 100
    assert len(analytics_path(short).name) <= len("writer-1023.sock")


def test_paths_too_long_for_any_socket() -> None:
    with pytest.raises(ConfigError, match="too long"):
        run_dir_of(Path("/srv") / ("x" * 90), Path("/tmp") / ("y" * 90), 1000)


def test_the_run_folder_is_private_and_cleared_of_old_sockets(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o755)
    old = run_dir / "writer-7.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(old))
    prepare_run_dir(run_dir)
    assert not old.exists()
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700


def test_a_run_folder_that_somebody_else_may_have_laid_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="not a folder of this user"):
        prepare_run_dir(tmp_path / "run")
