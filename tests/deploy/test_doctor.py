"""What the doctor finds of processes."""

from __future__ import annotations

import io
import os
from pathlib import Path

from rich.console import Console

from deploy.doctor import examine
from deploy.health import report_path
from deploy.health_report import reporting
from deploy.running import DataFolder, Process
from shared.runtime import Runtime
from shared.settings import Settings


def examined(data: Path, **given: str) -> tuple[bool, str]:
    output = io.StringIO()
    healthy = examine(Settings.load({}, data=data, **given), Console(file=output, width=250))
    return healthy, output.getvalue()


def test_a_process_that_is_well_and_one_that_hangs_are_told_apart(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with reporting("orgs", folder, Runtime("orgs", [])) as reporter:
        reporter.ready()
        folder.announce(Process("orgs", os.getpid()))
        folder.announce(Process("supervisor", os.getpid()))  # it has no parts to report
        healthy, text = examined(tmp_path)
        assert healthy
        assert f"pid {os.getpid()} is well" in text
        reporter.stop()
        old = b'{"name":"orgs","pid":%d,"started":true,"written_s":0.0,"looked_s":0.0,"parts":[]}' % os.getpid()
        report_path(folder, "orgs").write_bytes(old)
        healthy, text = examined(tmp_path)
        assert not healthy
        assert "orgs hangs" in text


def test_a_folder_on_which_nothing_runs_is_no_fault(tmp_path: Path) -> None:
    healthy, text = examined(tmp_path)
    assert healthy
    assert "nothing runs on this data" in text


def test_blobs_in_a_place_that_cannot_be_used_are_a_fault(tmp_path: Path) -> None:
    healthy, text = examined(tmp_path, blobs="s3://bucket?acl=public")
    assert not healthy
    assert "bad_setting: blobs in S3 are at s3://bucket/prefix" in text
