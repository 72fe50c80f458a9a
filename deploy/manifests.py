"""What Dockerfile, compose.yaml, Kubernetes manifests and documents say, held against the table of settings.

``problems()`` is part of ``python -m deploy.generated --check``; whether the files are what their formats ask for is
tested in ``tests/deploy/test_manifests.py``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from deploy.composition import SERVICES
from shared.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "deploy/compose.yaml"
KUBERNETES = ROOT / "deploy/kubernetes"
IMAGE = "flotilla"
SHARED = ("BUS", "STORE", "DB", "KEYS", "BLOBS", "QUEUES")
"""What processes on different machines must agree on, so every installation has to set it."""
DOCUMENTS = (
    "README.md",
    "docs/*.md",
    "docs/decisions/*.md",
    "deploy/Dockerfile",
    "deploy/compose*",
    "deploy/kubernetes/**/*",
)

_NAME = re.compile(r"\bFLOTILLA_([A-Z0-9_]*[A-Z0-9])\b(?!\*)")


@dataclass(frozen=True, slots=True)
class Ran:
    """A process as a manifest starts it."""

    where: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    replicas: int
    mounts: Sequence[str]


def problems() -> list[str]:
    """One sentence for each thing that does not fit; none means that all fit."""
    compose, kubernetes = list(of_compose()), list(of_kubernetes())
    found = [*_unknown_names()]
    for processes in (compose, kubernetes):
        found += [problem for process in processes for problem in _of_process(process)]
        found += _of_installation(processes)
    return found


def of_compose(path: Path = COMPOSE) -> Iterator[Ran]:
    """The processes of Flotilla in a compose file."""
    for name, service in yaml.safe_load(path.read_text(encoding="utf-8"))["services"].items():
        if service["image"] == IMAGE:
            environment = {key: str(value) for key, value in service["environment"].items()}
            mounts = [volume.split(":")[1] for volume in service["volumes"]]
            mounts += [mount.split(":")[0] for mount in service["tmpfs"]]
            yield Ran(f"{path.name} {name}", service["command"], environment, 1, mounts)


def of_kubernetes(folder: Path = KUBERNETES) -> Iterator[Ran]:
    """The processes of Flotilla in the Kubernetes manifests, with what the kustomization gives them."""
    customization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    generated = _generated(folder, customization)
    for resource in customization["resources"]:
        for document in yaml.safe_load_all((folder / resource).read_text(encoding="utf-8")):
            if document["kind"] in ("Deployment", "StatefulSet"):
                yield _of_workload(document, generated)


def _generated(folder: Path, customization: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The ConfigMaps and Secrets of a kustomization; the example stands for the file that is not in the repository."""
    made: dict[str, dict[str, str]] = {}
    for one in [*customization["configMapGenerator"], *customization["secretGenerator"]]:
        lines = list(one.get("literals", ()))
        for name in one.get("envs", ()):
            lines += (folder / f"{name}.example").read_text(encoding="utf-8").splitlines()
        made[one["name"]] = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return made


def _of_workload(document: Mapping[str, Any], generated: Mapping[str, Mapping[str, str]]) -> Ran:
    [container] = document["spec"]["template"]["spec"]["containers"]
    environment: dict[str, str] = {}
    for source in container["envFrom"]:
        environment |= generated[(source.get("configMapRef") or source.get("secretRef"))["name"]]
    environment |= {entry["name"]: str(entry.get("value", "(given at start)")) for entry in container.get("env", ())}
    name = f"{document['kind']} {document['metadata']['name']}"
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    return Ran(name, container["args"], environment, document["spec"]["replicas"], mounts)


def _of_process(process: Ran) -> Iterator[str]:
    for name in SHARED:
        if f"FLOTILLA_{name}" not in process.environment:
            yield f"{process.where} does not set FLOTILLA_{name}"
    if not process.environment.get("FLOTILLA_BUS", "").startswith(("amqp://", "amqps://")):
        yield f"{process.where} has no broker in FLOTILLA_BUS"
    blobs = process.environment.get("FLOTILLA_BLOBS", "")
    folders = [] if blobs.startswith("s3:") else [blobs.removeprefix("file://")]
    for needed in (*folders, "/data", "/tmp"):  # noqa: S108 - a path in a container
        if needed not in process.mounts:
            yield f"{process.where} mounts nothing at {needed}, and its root is read-only"
    if process.arguments[0] == "gateway" and "FLOTILLA_GATEWAY" not in process.environment:
        yield f"{process.where} does not name its gateway in FLOTILLA_GATEWAY"
    if process.replicas > 1 and process.environment.get("FLOTILLA_QUEUES") != "quorum":
        yield f"{process.where} has {process.replicas} replicas, which needs FLOTILLA_QUEUES=quorum (EVT-4)"


def _of_installation(processes: Sequence[Ran]) -> Iterator[str]:
    started = [tuple(process.arguments) for process in processes]
    where = processes[0].where
    for service in SERVICES:
        if started.count(("service", service)) != 1:
            yield f"beside {where}: the service {service} is started {started.count(('service', service))} times"
    others = {arguments for arguments in started if arguments[0] != "service" and arguments != ("gateway",)}
    yield from (f"beside {where}: `flotilla {' '.join(arguments)}` is no process" for arguments in sorted(others))
    for name in SHARED:
        if len({process.environment.get(f"FLOTILLA_{name}") for process in processes}) != 1:
            yield f"beside {where}: FLOTILLA_{name} is not the same for all"


def _unknown_names() -> Iterator[str]:
    known = {entry.name.upper() for entry in dataclasses.fields(Settings)}
    for pattern in DOCUMENTS:
        for path in sorted(path for path in ROOT.glob(pattern) if path.is_file()):
            for name in sorted(set(_NAME.findall(path.read_text(encoding="utf-8"))) - known):
                if not name.startswith("TEST_"):
                    yield f"{path.relative_to(ROOT)} names FLOTILLA_{name}, which is no setting"
