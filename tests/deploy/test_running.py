import os
from pathlib import Path

import pytest

from deploy.running import DataFolder, Process
from shared.errors import Refused


def test_a_folder_belongs_to_one_platform(tmp_path: Path) -> None:
    with (
        DataFolder(tmp_path).claimed(),
        pytest.raises(Refused, match="another Flotilla runs on"),
        DataFolder(tmp_path).claimed(),
    ):
        pytest.fail("both have it")
    with DataFolder(tmp_path).claimed():
        assert (tmp_path / "lock").exists()


def test_processes_are_seen_while_they_live(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    mine = Process("gateway-a", os.getpid(), "http://127.0.0.1:1", ("127.0.0.1", 2))
    folder.announce(mine)
    folder.announce(Process("gone", 2**22 + 1))
    folder.announce(Process("orgs", os.getpid()))
    assert folder.processes() == [mine, Process("orgs", os.getpid())]
    assert folder.gateways() == [mine]
    folder.withdraw("gateway-a")
    assert folder.gateways() == []


def test_what_an_earlier_platform_left_is_cleared(tmp_path: Path) -> None:
    DataFolder(tmp_path).announce(Process("left", os.getpid()))
    folder = DataFolder(tmp_path)
    with folder.claimed():
        assert folder.processes() == []
