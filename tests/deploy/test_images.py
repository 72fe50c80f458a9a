"""What the Dockerfile does, as far as it can be done without Docker."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest

from deploy.manifests import ROOT

DOCKERFILE = ROOT / "deploy/Dockerfile"
IMAGE_LOCK = ROOT / "deploy/requirements-image.lock"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile in order, continuation lines joined."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def given(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def pins(lock: Path) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(found)


def project() -> dict[str, object]:
    document: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return document


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path from the builder; the last pattern that matches decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().removeprefix("!").removeprefix("**/")
        if not pattern or pattern.startswith("#"):
            continue
        parts = [path, *(str(parent) for parent in Path(path).parents), Path(path).name]
        if any(fnmatch.fnmatch(part, pattern) for part in parts if part != "."):
            verdict = not line.startswith("!")
    return verdict


def test_everything_that_is_copied_exists_and_reaches_the_builder() -> None:
    sources = [source for rest in given("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]]
    assert {"deploy/requirements-image.lock", "shared", "services", "deploy", "pyproject.toml"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source), f"{source} is ignored"
    readme = project()["readme"]
    assert readme in sources  # setuptools reads it


@pytest.mark.parametrize("path", [".git", ".venv", "tests", "data", "deploy/compose.env", "deploy/kubernetes"])
def test_what_an_image_must_not_hold_does_not_reach_the_builder(path: str) -> None:
    assert ignored(path)
    assert ignored(f"{path}/file")


def test_the_image_runs_as_nobody_in_particular_and_ends_on_sigterm() -> None:
    user = given("USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)  # a number, so that runAsNonRoot can be checked
    assert given("STOPSIGNAL") == ["SIGTERM"]
    assert given("ENTRYPOINT") == ['["flotilla"]']
    assert f"-o {user.split(':')[0]}" in next(rest for rest in given("RUN") if "/data" in rest)


def test_nothing_is_installed_without_its_hash() -> None:
    installs = [command.strip() for rest in given("RUN") for command in rest.split("&&") if "pip install" in command]
    assert len(installs) == 2
    assert "--require-hashes -r deploy/requirements-image.lock" in installs[0]
    assert "--no-deps --no-build-isolation" in installs[1]
    blocks = re.split(r"\n(?=[a-z0-9.-]+==)", IMAGE_LOCK.read_text(encoding="utf-8"))[1:]
    assert len(blocks) == len(pins(IMAGE_LOCK)) > 40
    assert all("--hash=sha256:" in block for block in blocks)


SANDBOX = frozenset(
    {
        "aiohappyeyeballs",
        "aiohttp",
        "aiosignal",
        "attrs",
        "frozenlist",
        "localstripe",
        "multidict",
        "propcache",
        "python-dateutil",
        "yarl",
    }
)
"""The fake of Stripe that `flotilla run` starts, and what it alone needs."""


def test_the_image_has_the_versions_that_are_tested() -> None:
    tested, own = pins(ROOT / "deploy/requirements-dev.lock"), pins(IMAGE_LOCK)
    different = {name: (own[name], tested[name]) for name in own.keys() & tested.keys() if own[name] != tested[name]}
    assert different == {}
    run = pins(ROOT / "deploy/requirements.lock")
    assert {name: version for name, version in run.items() if name not in SANDBOX}.items() <= own.items()
    assert "localstripe" in run
    assert SANDBOX.isdisjoint(own)  # the GPL: it is never bundled
    assert {"esdbclient", "psycopg", "psycopg-binary"} <= own.keys()


def test_the_base_image_has_a_python_that_will_do() -> None:
    [version] = [rest.split("=")[1] for rest in given("ARG")]
    assert tuple(map(int, re.findall(r"\d+", version)[:2])) >= (3, 11)
    assert given("FROM") == ["python:${PYTHON} AS build", "python:${PYTHON}"]


def test_the_installed_image_works_with_its_own_packages_alone(tmp_path: Path) -> None:
    """The second half of the build: the project as a wheel beside exactly the packages of the image's lock, then the
    commands of the image as another user, where nothing but /data can be written."""
    site = tmp_path / "site"
    site.mkdir()
    missing = [name for name in pins(IMAGE_LOCK) if not _linked(name, site)]
    assert not missing, f"not installed here, so this cannot be tested: {missing}"
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("shared", "services", "deploy"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-compile"]
    subprocess.run([*install, "--target", str(site), str(source)], check=True, timeout=100)
    data = tmp_path / "data"
    data.mkdir()
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(site),
        "FLOTILLA_DATA": str(data),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    python = [sys._base_executable, "-S", "-c"]  # type: ignore[attr-defined]
    program = "import runpy, sys; sys.argv[0] = 'flotilla'; runpy.run_module(sys.argv.pop(1), run_name='__main__')"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*python, program, *words]
        return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60)

    helped = run("deploy.cli", "--help")
    assert helped.returncode == 0, helped.stderr
    assert "One service as this process" in helped.stdout.replace("\n", " ")
    refused = run("deploy.cli", "service", "orgs")
    assert refused.returncode == 1
    assert "needs FLOTILLA_BUS=amqp" in refused.stderr.replace("\n", " ")
    probe = run("deploy.health")
    assert (probe.returncode, "no process reports" in probe.stdout) == (1, True), probe.stderr
    for module in ("shared.store.esdb", "psycopg", "services.gateway.bootstrap", "deploy.doctor"):
        imported = subprocess.run(
            [*python, f"import {module}"], cwd="/", env=environment, capture_output=True, text=True
        )
        assert imported.returncode == 0, imported.stderr


def _linked(name: str, site: Path) -> bool:
    """Make an installed distribution visible in another folder; False if it is not installed."""
    wanted = name.replace("-", "_").replace(".", "_")
    found = next(
        (one for one in distributions() if one.name.lower().replace("-", "_").replace(".", "_") == wanted), None
    )
    if found is None:
        return False
    root = Path(sysconfig.get_path("purelib"))
    tops = {Path(str(file)).parts[0] for file in distribution(found.name).files or ()} - {"..", "__pycache__"}
    for top in tops:
        target = site / top
        if not target.exists() and (root / top).exists():
            target.symlink_to(root / top)
    return True
