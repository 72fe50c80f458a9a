"""compose.yaml and the Kubernetes manifests are what their formats ask for, and fit the platform."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy import manifests
from deploy.composition import SERVICES
from deploy.manifests import COMPOSE, KUBERNETES, Ran
from shared.settings import Settings

VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest Kubernetes that the schemas know, and the newest."""


def documents(*names: str) -> Iterator[dict[str, Any]]:
    for name in names or sorted(path.name for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml"):
        yield from yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))


def workloads() -> list[dict[str, Any]]:
    return [document for document in documents() if document["kind"] in ("Deployment", "StatefulSet")]


def test_the_manifests_fit_the_settings_and_each_other() -> None:
    assert manifests.problems() == []


def test_compose_is_what_its_specification_asks_for() -> None:
    path = resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    document = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(document)
    with pytest.raises(jsonschema.ValidationError):  # the schema does refuse
        jsonschema.validators.validator_for(schema)(schema).validate(document | {"servises": {}})


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_manifests_are_what_its_schemas_ask_for(version: str) -> None:
    checked = 0
    for document in [*documents(), *documents("tls/service.yaml")]:
        kubernetes_validate.validate(document, version, strict=True)
        checked += 1
    assert checked > 10
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document | {"spec": {"portz": []}}, version, strict=True)


def test_every_kustomization_names_all_its_files_and_no_other() -> None:
    for folder in (KUBERNETES, KUBERNETES / "tls"):
        customization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
        named = {*customization["resources"], *(patch["path"] for patch in customization.get("patches", ()))}
        assert named == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}


def test_compose_depends_only_on_what_can_become_healthy() -> None:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            ours = services[needed]["image"] == manifests.IMAGE  # whose health check is in the Dockerfile
            assert ours or "healthcheck" in services[needed], f"{name} waits for {needed} for ever"


def test_compose_keeps_what_must_be_kept_in_volumes_that_exist() -> None:
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    used = {volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]}
    assert used == set(compose["volumes"])
    gateways = {name: one for name, one in compose["services"].items() if name.startswith("gateway-")}
    assert len({one["environment"]["FLOTILLA_GATEWAY"] for one in gateways.values()}) == len(gateways)
    assert len({port for one in gateways.values() for port in one["ports"]}) == 4 * len(gateways)
    assert {one["environment"]["FLOTILLA_DEVICE_KEYS"] for one in gateways.values()} == {"/device-keys"}
    for name, one in gateways.items():
        assert f"{name}:/data" in one["volumes"]  # its directory, and what devices published


def test_compose_has_a_limit_a_restart_and_no_password_of_its_own() -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    for name, service in yaml.safe_load(text)["services"].items():
        assert service["mem_limit"], name
        assert service["restart"] == "unless-stopped", name
    wanted = set(re.findall(r"\$\{([A-Z_]+)", text))
    example = (COMPOSE.parent / "compose.env.example").read_text(encoding="utf-8")
    assert {line.partition("=")[0] for line in example.splitlines() if line and not line.startswith("#")} == wanted
    assert all(line.endswith("=") for line in example.splitlines() if line and not line.startswith("#"))


def test_pods_run_with_as_little_as_they_need() -> None:
    for workload in workloads():
        pod = workload["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "--live" in container["livenessProbe"]["exec"]["command"]
        assert container["readinessProbe"] != container["livenessProbe"]


def test_every_workload_has_a_budget_labels_that_agree_and_mounts_that_exist() -> None:
    everything = list(documents())
    budgets = [one["spec"]["selector"] for one in everything if one["kind"] == "PodDisruptionBudget"]
    claims = {one["metadata"]["name"] for one in everything if one["kind"] == "PersistentVolumeClaim"}
    for workload in workloads():
        spec = workload["spec"]
        assert spec["selector"] in budgets
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
        own = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())}
        [container] = spec["template"]["spec"]["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes) | own
        shared = {
            one["persistentVolumeClaim"]["claimName"] for one in volumes.values() if "persistentVolumeClaim" in one
        }
        assert shared <= claims
    [stateful] = [one for one in workloads() if one["kind"] == "StatefulSet"]
    assert stateful["spec"]["serviceName"] in {
        one["metadata"]["name"] for one in everything if one["kind"] == "Service"
    }


def test_services_lead_to_ports_that_gateways_have() -> None:
    [gateway] = [one for one in workloads() if one["metadata"]["name"] == "gateway"]
    [patch] = documents("tls/gateway.yaml")
    ports: dict[str, int] = {}
    for one in (gateway, patch):
        [container] = one["spec"]["template"]["spec"]["containers"]
        ports |= {port["name"]: port["containerPort"] for port in container["ports"]}
    for service in [*documents(), *documents("tls/service.yaml")]:
        if service["kind"] == "Service":
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    [inside] = [one for one in documents("network.yaml") if one["metadata"]["name"] == "gateways"]
    assert {port["port"] for rule in inside["spec"]["ingress"] for port in rule["ports"]} == set(ports.values())
    assert (ports["http"], ports["mqtt"]) == (Settings().http_port, Settings().mqtt_port)
    assert (ports["particle-tcp"], ports["particle-udp"]) == (
        Settings().particle_tcp_port,
        Settings().particle_udp_port,
    )


def test_the_services_of_the_manifests_are_those_of_the_platform() -> None:
    assert set(manifests.SERVICES) == set(SERVICES)


WELL = Ran(
    "compose x",
    ["service", "orgs"],
    {f"FLOTILLA_{name}": "x" for name in manifests.SHARED}
    | {"FLOTILLA_BUS": "amqp://x", "FLOTILLA_BLOBS": "file:///b"},
    1,
    ["/b", "/data", "/tmp"],
)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, None),
        ({"environment": {**WELL.environment, "FLOTILLA_BUS": "local:"}}, "no broker"),
        ({"environment": {**WELL.environment, "FLOTILLA_BLOBS": "file:///elsewhere"}}, "mounts nothing"),
        ({"replicas": 2}, "quorum"),
        ({"replicas": 2, "environment": {**WELL.environment, "FLOTILLA_QUEUES": "quorum"}}, None),
        ({"arguments": ["gateway"]}, "does not name its gateway"),
        ({"environment": {"FLOTILLA_BUS": "amqp://x", "FLOTILLA_BLOBS": "file:///b"}}, "does not set FLOTILLA_STORE"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict[str, Any], complaint: str | None) -> None:
    found = list(manifests._of_process(dataclasses.replace(WELL, **changes)))
    assert any(complaint in problem for problem in found) if complaint else found == []


def test_a_setting_that_does_not_exist_is_found_in_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("Set FLOTILLA_BUSS, FLOTILLA_BUS or FLOTILLA_TLS_*.", encoding="utf-8")
    monkeypatch.setattr(manifests, "ROOT", tmp_path)
    assert list(manifests._unknown_names()) == ["docs/page.md names FLOTILLA_BUSS, which is no setting"]
