"""An S3-compatible server on the loopback, in threads of the tests' own process: moto's, with buckets of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from moto.server import ThreadedMotoServer

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "of-no-use-elsewhere", "AWS_REGION": "us-east-1"}
"""Without them obstore would look for a role of the machine, beyond the loopback."""


@contextmanager
def bucket_server() -> Iterator[str]:
    """Its URL; as long as it runs, the environment has credentials for it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in CREDENTIALS.items():
                patch.setenv(name, value)
            yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(endpoint: str, name: str) -> str:
    """A bucket; the URL of blobs in it."""
    httpx.put(f"{endpoint}/{name}", trust_env=False).raise_for_status()
    return f"s3://{name}/some/prefix?endpoint={endpoint}&region=us-east-1"
