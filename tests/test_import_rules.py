import ast
from pathlib import Path

from tests.import_rules import _of_layers, violations


def test_no_module_breaks_the_import_rules() -> None:
    assert list(violations()) == []


def test_a_service_that_imports_another_is_found() -> None:
    assert list(_of_layers("services/orgs/service.py", "services.devices.fleet"))
    assert list(_of_layers("shared/streams.py", "services.orgs"))
    assert not list(_of_layers("services/orgs/service.py", "services.orgs.people.accounts"))


def test_what_protocols_share_imports_none_of_them() -> None:
    assert list(_of_layers("services/gateway/devices/sessions.py", "services.gateway.devices.mqtt.topics"))
    assert list(_of_layers("services/gateway/devices/mqtt/session.py", "services.gateway.devices.particle"))
    assert not list(_of_layers("services/gateway/devices/mqtt/session.py", "services.gateway.devices.mqtt.topics"))
    assert not list(_of_layers("services/gateway/protocols.py", "services.gateway.devices.particle.udp"))


def test_nothing_of_ours_monkey_patches() -> None:
    for path in Path(__file__).parent.parent.glob("s*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Attribute) and node.attr == "monkey_patch"), path
