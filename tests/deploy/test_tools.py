"""The operator's commands on the data of a platform that is not running."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli import app, main
from shared.context import Context
from shared.errors import NotFound
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceDescribed, DeviceImported
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, New

IDS = [f"{number:024x}" for number in range(30)]
WIDE = {"COLUMNS": "250"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = open_store(Settings.load({}, data=tmp_path).store)
    for device_id in IDS:
        context = Context.new("account:ada", "test")
        stream = f"device-{device_id}"
        store.append(
            stream,
            ANY,
            [
                CONTRACTS.encode(DeviceImported(device_id, 1000, False), 0, context, stream=stream),
                CONTRACTS.encode(DeviceDescribed(device_id, 1000, "kettle", ""), 1, context, stream=stream),
            ],
        )
    poison = CONTRACTS.encode(DeviceImported(IDS[0], 1000, False), 0, Context.new("account:ada", "test"))
    broken = poison.data.replace(b"1000", b'"many"')
    store.append("device-poison", ANY, [New(poison.id, poison.type, broken, poison.meta)])
    store.close()
    return tmp_path


def run(*words: str, data: Path) -> str:
    done = CliRunner(env=WIDE).invoke(app, [*words, "--data", str(data)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_tail_shows_the_last_events_that_pass_the_filter(data: Path) -> None:
    shown = run("events", "tail", "-n", "2", "--type", "DeviceDescribed", data=data)
    assert f"device-{IDS[-1]}" in shown
    assert f"device-{IDS[-2]}" in shown
    assert shown.count("DeviceDescribed") == 2
    assert len(shown.splitlines()) == 2  # each in one line, however narrow the terminal of a pipe is said to be


def test_show_gives_each_event_of_a_stream_with_its_actor(data: Path) -> None:
    shown = run("events", "show", f"device-{IDS[3]}", data=data)
    assert shown.count("account:ada") == 2
    assert '"name": "kettle"' in shown


def test_show_of_a_stream_that_is_not_there_says_so(data: Path) -> None:
    with pytest.raises(NotFound, match="there is no stream"):
        run("events", "show", "device-nothing", data=data)


def test_export_writes_every_event_as_a_line(data: Path) -> None:
    run("events", "export", str(data / "out.ndjson"), "--stream", f"device-{IDS[0]}", data=data)
    lines = [json.loads(line) for line in (data / "out.ndjson").read_text().splitlines()]
    assert [line["type"] for line in (lines[0], lines.pop())] == ["$archive", "$end"]
    del lines[0]
    assert [(line["type"], line["version"]) for line in lines] == [("DeviceImported", 0), ("DeviceDescribed", 1)]


def test_a_rebuilt_view_holds_everything_and_names_the_poison_event(data: Path) -> None:
    run("projections", "rebuild", "fleet", data=data)
    status = run("projections", "status", data=data)
    assert "fleet" in status
    parked = run("projections", "parked", "fleet", data=data)
    assert "device-poison" in parked
    assert run("doctor", data=data).count("events parked") == 1


def test_a_view_that_is_not_there_cannot_be_rebuilt(data: Path) -> None:
    with pytest.raises(NotFound, match="there is no view"):
        run("projections", "rebuild", "nothing", data=data)


@pytest.mark.parametrize(
    "words",
    [
        ["projections", "rebuild", "[/red]"],
        ["events", "show", "[/red]"],
        ["why", "[/red]"],
        ["fleet", "show", "[/red]", "--product", "1000"],
        ["replay", "service", "devices", "--handler", "[/red]"],
        ["events", "export", "[/red]/none"],
        ["events", "export", "."],
        ["events", "mirror", "sqlite:////"],
        ["events", "export", "file", "--from", "3", "--to", "2"],
    ],
)
def test_what_is_refused_is_a_sentence_whatever_was_typed(
    data: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(lambda: app([*words, "--data", str(data)], standalone_mode=False))
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "flotilla: " in said
    assert "Traceback" not in said


def test_a_file_of_views_that_is_damaged_is_named_without_a_trace(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "views").mkdir()
    (data / "views" / "devices.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(SystemExit) as ended:
        main(lambda: app(["fleet", "list", "--product", "1000", "--data", str(data)], standalone_mode=False))
    assert ended.value.code == 1
    assert "file is not a database" in capsys.readouterr().err


def test_names_that_look_like_markup_are_shown_as_they_are(data: Path) -> None:
    store = open_store(Settings.load({}, data=data).store)
    context = Context.new("account:[/red]", "test")
    described = DeviceDescribed(IDS[0], 1000, "[/bold]kettle[red]", "")
    store.append("device-[/x]", ANY, [CONTRACTS.encode(described, 0, context, stream="device-[/x]")])
    store.close()
    assert "device-[/x]@0" in run("events", "tail", "-n", "1", data=data)
    assert "account:[/red]" in run("events", "show", "device-[/x]", data=data)


@pytest.mark.parametrize(
    "words",
    [
        ["events", "tail"],
        ["events", "export", "-"],
        ["fleet", "list", "--product", "1"],
        ["projections", "status"],
        ["people", "list"],
        ["replay", "view", "fleet"],
    ],
)
def test_commands_that_look_make_no_store_in_a_folder_without_one(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(lambda: app([*words, "--data", str(tmp_path / "typo")], standalone_mode=False))
    assert "there is no event store" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
