"""The private RabbitMQ node."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pika
import psutil
import pytest

from deploy.rabbitmq import RabbitNode, ensure_installed, find_server, free_ports, speaks_amqp
from shared.errors import Misuse, Unavailable

needs_server = pytest.mark.skipif(find_server() is None, reason="needs the Debian package rabbitmq-server")

STARTER = """
import sys, threading
from pathlib import Path
from deploy.rabbitmq import RabbitNode
node = RabbitNode(Path(sys.argv[1]))
node.start()
print(node.url, flush=True)
threading.Event().wait(60)
"""


def of_folder(folder: Path) -> list[psutil.Process]:
    """Processes that work in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue  # it ended meanwhile, or is not ours to look at
    return found


@pytest.mark.broker
@needs_server
@pytest.mark.parametrize("taken", ["_port", pytest.param("_distribution_port", marks=pytest.mark.long)])
def test_a_node_whose_port_was_taken_meanwhile_starts_at_another(tmp_path: Path, taken: str) -> None:
    node = RabbitNode(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", getattr(node, taken)))
        other.listen()
        with node:
            assert getattr(node, taken) != other.getsockname()[1]
            assert speaks_amqp("127.0.0.1", int(node.host.split(":")[1]))


@pytest.mark.broker
@needs_server
def test_a_node_starts_makes_virtual_hosts_and_leaves_nothing_behind(tmp_path: Path) -> None:
    node = RabbitNode(tmp_path)
    node.stop()
    with node:
        port = int(node.url.split(":")[3].split("/")[0])
        assert speaks_amqp("127.0.0.1", port)
        assert node.add_vhost("mine") == f"amqp://guest:guest@127.0.0.1:{port}/mine"
        assert "mine" in node.control("list_vhosts").split()
        with pytest.raises(Unavailable, match="no_such_command"):
            node.control("no_such_command")
        with pytest.raises(Misuse):
            node.start()
        running = of_folder(tmp_path)
        assert running
    assert not speaks_amqp("127.0.0.1", port)
    assert psutil.wait_procs(running, timeout=10)[1] == []
    node.stop()


@pytest.mark.broker
@needs_server
def test_what_a_queue_kept_is_there_when_another_start_uses_the_folder(tmp_path: Path) -> None:
    with RabbitNode(tmp_path) as node, pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True)
        channel.basic_publish("", "kept", b"one", pika.BasicProperties(delivery_mode=2), mandatory=True)
    with RabbitNode(tmp_path) as again, pika.BlockingConnection(pika.URLParameters(again.url)) as connection:
        assert again.name == node.name
        assert connection.channel().basic_get("kept", auto_ack=True)[2] == b"one"


@pytest.mark.broker
@needs_server
def test_a_node_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline().startswith("amqp://")
        running = of_folder(tmp_path)
        assert running
        os.kill(starter.pid, signal.SIGKILL)
    assert psutil.wait_procs(running, timeout=20)[1] == []


def test_a_server_that_cannot_start_is_unavailable_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "rabbitmq-server"
    broken.write_text("#!/bin/sh\necho no Erlang here; exit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("RABBITMQ_SERVER_BIN", str(broken))
    if find_server() is None:
        pytest.skip("needs epmd")
    assert ensure_installed() == broken
    with pytest.raises(Unavailable, match="no Erlang here"):
        RabbitNode(tmp_path / "node").start()


def test_a_server_that_is_not_there_is_not_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RABBITMQ_SERVER_BIN", str(tmp_path / "nothing"))
    assert find_server() is None


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(20))) == 20
