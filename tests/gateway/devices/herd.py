"""A herd of MQTT devices in a process of their own: ``python herd.py <port> <devices>``.

Each connects, stays, and comes back at once when its connection is closed. A line is printed when all are connected,
with what became of every attempt so far; the process ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

CONNACK_BYTES = 4
AGAIN_S = 0.5


def token(number: int) -> str:
    """The token of a device."""
    return f"token-of-the-device-{number:08}"


def device_id(number: int) -> str:
    """Its ID."""
    return f"{number:024x}"


def connect_packet(number: int) -> bytes:
    """CONNECT of 3.1.1 as the Arduino SDK writes it: the token is client id and user name."""
    secret = token(number).encode()
    text = len(secret).to_bytes(2, "big") + secret
    body = b"\x00\x04MQTT\x04\x82\x00\x78" + text + text
    return bytes((0x10, len(body))) + body


class Herd:
    """All devices, and how many of them are connected."""

    def __init__(self, port: int, devices: int) -> None:
        self.port = port
        self.devices = devices
        self.connected = 0
        self.outcomes: Counter[str] = Counter()

    async def live(self, number: int) -> None:
        """One device, for ever."""
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(AGAIN_S)
                continue
            try:
                writer.write(connect_packet(number))
                answer = await reader.readexactly(CONNACK_BYTES)
                self.outcomes[f"return_code_{answer[3]}"] += 1
                if answer[3] == 0:
                    self._came()
                    await reader.read()
                    self.connected -= 1
            except (OSError, asyncio.IncompleteReadError):
                self.outcomes["closed_without_answer"] += 1
            writer.close()

    def _came(self) -> None:
        self.connected += 1
        if self.connected == self.devices:
            print(json.dumps(self.outcomes), flush=True)


async def main() -> None:
    herd = Herd(int(sys.argv[1]), int(sys.argv[2]))
    everyone = [asyncio.create_task(herd.live(number)) for number in range(herd.devices)]
    await asyncio.to_thread(sys.stdin.read)
    for task in everyone:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
