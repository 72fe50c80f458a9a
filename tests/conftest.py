"""The group of every test; a RabbitMQ and a PostgreSQL for all of a run: the one that is given, else a container, else
a private one."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from deploy.rabbitmq import RabbitNode, ensure_installed
from shared.errors import Unavailable
from tests.groups import Guard, group_of

if TYPE_CHECKING:
    from tests.postgres import Postgres

os.environ["FLOTILLA_PAYMENTS"] = "off:"
"""Of the processes that tests start; what is billed is tested with payments of its own."""
os.environ["COLUMNS"] = "400"
"""So wide are the tables of commands: their consoles are made while tests are collected, and ask then."""
MEMORY = Path("/dev/shm")
LEAST_MEMORY = 4 << 30
"""A run writes a tenth of it."""
IMAGE = "rabbitmq:3.13-alpine"
LONGEST_ID = 80
"""Characters of a parameter that a test is named by."""
TOLD = "told"
DOCKER_SOCKET = Path("/var/run/docker.sock")


LONG = (
    "faults/test_faults.py",
    "bus/test_cluster.py",
    "deploy/test_rabbitmq.py",
    "bus/test_outage.py",
    "faults/test_relay_replicas.py",
    "acceptance/test_main_job.py",
    "clients/test_schemathesis.py",
    "faults/test_gateway_killed.py",
    "deploy/test_backup_whole.py",
    "deploy/test_images.py",
    "projections/test_all_views.py",
    "deploy/test_people_views.py",
    "deploy/test_events_carry.py",
)
"""Modules with tests of ten seconds and more, in the order in which they begin."""


def _turn(path: str) -> int:
    return next((turn for turn, name in enumerate(LONG) if path.endswith(name)), len(LONG))


def _in_memory() -> Path | None:
    """A folder in memory for what the tests of this run and their processes write, which saves a quarter of the time.
    Nothing that is tested needs a disk: processes are killed here, never the machine. ``TMPDIR`` chooses another one.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_mount() or shutil.disk_usage(MEMORY).free < LEAST_MEMORY:
        return None
    folder = Path(tempfile.mkdtemp(prefix="flotilla-tests-", dir=MEMORY))
    folder.chmod(0o755)  # a PostgreSQL runs as somebody else
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


IN_MEMORY = _in_memory()

settings.register_profile("flotilla", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flotilla")  # a busy machine is no failure
_guard = Guard()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with its group, and begin with what takes long: nobody shall wait for it in the end."""
    _as_wide_as_the_terminal()
    items.sort(key=lambda item: _turn(item.path.as_posix()))
    for item in items:
        group = group_of(item.path, {marker.name for marker in item.iter_markers()})
        item.add_marker(group)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """The folder in memory is gone with the run, unlike those on a disk."""
    if IN_MEMORY is not None:
        shutil.rmtree(IN_MEMORY, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Called where nothing is collected, because others do it."""
    _as_wide_as_the_terminal()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a test tells of its run (``tell``) is shown, also when it passed in another process."""
    for name, text in report.sections:
        if name == f"Captured {TOLD} call" and report.when == "call" and "PYTEST_XDIST_WORKER" not in os.environ:
            print(f"\n{text}", end="")


def _as_wide_as_the_terminal() -> None:
    """So are pytest's own lines."""
    os.environ.pop("COLUMNS", None)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes and long texts may be made by chance (keys, certificates, masks), and all processes that share a run must
    have the same names of tests: so those are named by their place."""
    return argname if isinstance(val, bytes) or (isinstance(val, str) and len(val) > LONGEST_ID) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A unit test that touches the world fails."""
    _guard.closed = item.get_closest_marker("unit") is not None
    try:
        return (yield)
    finally:
        _guard.closed = False


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Has a text shown with the outcome of the test."""
    return lambda text: request.node.add_report_section("call", TOLD, text)


@dataclass(frozen=True)
class Broker:
    """``url`` is its default virtual host; ``add_vhost`` makes another one and gives its URL."""

    url: str
    how: str
    add_vhost: Callable[[str], str]


def given(_stack: ExitStack, _folder: Path) -> Broker:
    url = os.environ.get("RABBITMQ_URL")
    if not url:
        raise Unavailable("RABBITMQ_URL is not set")
    return Broker(url, "given", lambda _name: url)


def contained(stack: ExitStack, _folder: Path) -> Broker:
    if not os.environ.get("DOCKER_HOST") and not DOCKER_SOCKET.exists():
        raise Unavailable(f"docker: neither DOCKER_HOST nor {DOCKER_SOCKET}")
    import docker  # not at the top: unit tests shall not wait for it
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=3)
        stack.callback(client.close)
        client.ping()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its own decorators; imported where it is of use
            from testcontainers.community.rabbitmq import RabbitMqContainer
        container = stack.enter_context(RabbitMqContainer(IMAGE, port=5672))
    except (DockerException, OSError, TimeoutError) as problem:
        raise Unavailable(f"docker: {problem}") from problem
    found = container.get_connection_params()
    base = f"amqp://{found.credentials.username}:{found.credentials.password}@{found.host}:{found.port}"

    def add_vhost(name: str) -> str:
        for command in (["add_vhost", name], ["set_permissions", "-p", name, "guest", ".*", ".*", ".*"]):
            code, output = container.exec(["rabbitmqctl", *command])
            if code != 0:
                raise Unavailable(f"rabbitmqctl {command[0]}: {output!r}")
        return f"{base}/{name}"

    return Broker(f"{base}/%2F", "docker", add_vhost)


def local(stack: ExitStack, folder: Path) -> Broker:
    ensure_installed()
    node = stack.enter_context(RabbitNode(folder))
    return Broker(node.url, "local", node.add_vhost)


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for the run; its tests are marked ``broker``."""
    reasons: list[str] = []
    with ExitStack() as stack:
        for way in (given, contained, local):
            try:
                broker = way(stack, tmp_path_factory.mktemp("rabbitmq"))
                break
            except Unavailable as problem:
                reasons.append(str(problem))
        else:
            pytest.fail("no RabbitMQ for the tests:\n  " + "\n  ".join(reasons), pytrace=False)
        yield broker


@pytest.fixture(scope="module")
def amqp_url(rabbitmq: Broker) -> str:
    """A virtual host for this test module alone, where the broker lets us make one."""
    return rabbitmq.add_vhost(f"test-{uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for the run; its tests are marked ``postgres``."""
    from tests.postgres import any_postgres  # not at the top: unit tests shall not wait for it

    with any_postgres() as found:
        yield found


DATABASES = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


def _views_url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/views"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture(params=DATABASES)
def views_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where read models are kept: every test that asks runs on SQLite, and on PostgreSQL in a database of its own."""
    yield from _views_url(request, tmp_path)


@pytest.fixture(params=DATABASES, scope="module")
def lasting_views_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same for all tests of a module."""
    yield from _views_url(request, tmp_path_factory.mktemp("views"))
