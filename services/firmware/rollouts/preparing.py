"""What is asked of the ``devices`` service for a stage: how many devices it comes to, and, before the first one, what
should become of each, which is kept as a blob to be compared with what became of them (decision 27).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.firmware.rollouts.course import Course
from services.firmware.rollouts.rounds import in_all
from shared.blobs import Blobs
from shared.predictions import lines_of
from shared.rollouts import PLACES

PAGE = 5_000
"""Devices of a prediction that are asked for at once."""
SIZES_S = 120.0
"""So long may it take to look at all devices of a product; a million take some seconds."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a stage: the place behind its last device, and how many may have a turn in all; None: everybody."""

    share: int
    allowed: int | None


def size_of(devices: Any, course: Course, number: int, succeeded: int) -> Size:
    """Size a stage. ``succeeded``: devices that run the version by their turn; ``devices`` does not count them any
    more. Raises what the ``devices`` service refuses, and ``Unavailable``."""
    stage = course.plan.stages[number]
    if stage.percent == 100:
        return Size(PLACES, None)
    size = {"percent": stage.percent, "devices": stage.devices}
    answer = _sizes(devices, course, size)
    allowed = in_all(stage, answer["eligible"], succeeded)
    more = 0 if allowed is None else max(0, allowed - succeeded)
    if not more:
        return Size(course.share, allowed)
    first = answer if not succeeded else _sizes(devices, course, {"percent": None, "devices": more})
    return Size(first["stages"][0]["share"], allowed)


def _sizes(devices: Any, course: Course, *stages: Mapping[str, int | None]) -> Any:
    plan = course.plan
    return devices.rollout_sizes(
        product_id=plan.product_id,
        rollout_id=plan.rollout_id,
        version=plan.version,
        groups=list(plan.groups),
        stages=list(stages),
    )


class Prediction:
    """The blob as it is written, page by page: gzip of a JSON object a line. A process that ends in between begins
    anew; nothing has happened yet."""

    def __init__(self, devices: Any, course: Course, blobs: Blobs) -> None:
        self._plan = course.plan
        sizes = [{"percent": stage.percent, "devices": stage.devices} for stage in course.plan.stages]
        self._shares = [stage["share"] for stage in _sizes(devices, course, *sizes)["stages"]]
        self._writer = blobs.writer()
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=_Sink(self._writer.write), mtime=0)
        self._after: str | None = None
        self.digest: str | None = None

    def go_on(self, devices: Any) -> None:
        """Write the next page; ``digest`` is that of the blob when it was the last one."""
        plan = self._plan
        page = devices.predict_rollout(
            product_id=plan.product_id,
            rollout_id=plan.rollout_id,
            version=plan.version,
            groups=list(plan.groups),
            shares=self._shares,
            after=self._after,
            limit=PAGE,
            intelligent=plan.intelligent,
        )
        self._gzip.write(lines_of(page))
        self._after = page["next"]
        if self._after is None:
            self._gzip.close()
            self.digest = self._writer.finish().sha256

    def abort(self) -> None:
        """Give it up."""
        self._writer.abort()


class _Sink:
    """What ``gzip`` writes to."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def write(self, data: bytes) -> int:
        self._write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back here."""
