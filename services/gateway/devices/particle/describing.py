"""How a device's description is got (protocol section 5.3). Pure.

=================================  ================================================================================
the Hello says                     then
=================================  ================================================================================
that the device posts it           wait for its posts; after ``wait_s`` ask for the parts that did not come, one by one
nothing of the kind                ask for everything; after a 4.00 ask for the parts, one by one
=================================  ================================================================================

An answer that does not come, or makes no sense, leaves what was known before: the session goes on.
"""

from __future__ import annotations

from typing import NamedTuple

from services.gateway.devices.particle import coap
from services.gateway.devices.particle.blocks import Assembly, Block, block_of
from services.gateway.devices.particle.describe import APPLICATION, METRICS, SYSTEM, Description, read_description
from services.gateway.devices.particle.messages import Answer, DescribePost
from services.gateway.devices.particle.violations import BAD_DESCRIBE, BadMessage


class Ask(NamedTuple):
    """A request for the description: everything, some parts, or a further block of them."""

    flags: int | None
    block: Block | None = None


class Describing:
    """Of one session. ``over``: nothing more is to be waited for."""

    __slots__ = ("_assembly", "_due_at", "_posts", "_wait_s", "description", "over")

    def __init__(self, posts: bool, wait_s: float) -> None:
        self.description = Description()
        self.over = False
        self._posts = posts
        self._wait_s = wait_s
        self._due_at: float | None = None
        self._assembly: Assembly | None = None

    def begin(self, now: float) -> Ask | None:
        """What to ask for at once."""
        self._due_at = now + self._wait_s
        return None if self._posts else Ask(None)

    def restore(self, description: Description) -> None:
        """What the device said in a session that goes on here."""
        self.description, self.over = description, True

    def posted(self, post: DescribePost) -> None:
        """A post, or one block of it. Raises ``BadMessage``."""
        body = self._blocks().add((post.flags, b""), post.block, post.data)
        if body is not None and post.flags != METRICS:
            self._known(read_description(body))

    def answered(self, flags: int | None, answer: Answer, now: float) -> Ask | None:
        """The answer to an ``Ask``, and what to ask next. Raises ``BadMessage``; then ``next`` is to be asked."""
        self._due_at = now + self._wait_s
        if not answer.good:
            return Ask(SYSTEM) if flags is None and answer.code == coap.BAD_REQUEST else self._after(flags)
        block = block_of(answer.message, coap.BLOCK2)
        if block is not None and flags is None:
            raise BadMessage("blocks of a description that was asked for as a whole", BAD_DESCRIBE)
        etag = coap.option(answer.message, coap.ETAG)
        body = self._blocks().add((flags, etag or b"-"), block, answer.payload or b"")
        if body is None and block is not None:
            return Ask(flags, Block(block.number + 1, False, block.szx))
        self._known(read_description(body))
        return self._after(flags)

    def next(self, flags: int | None) -> Ask | None:
        """What to ask after this made no sense."""
        return self._after(flags)

    def _after(self, flags: int | None) -> Ask | None:
        if flags == SYSTEM and self.description.application is None:
            return Ask(APPLICATION)
        self._finish()
        return None

    def _known(self, description: Description) -> None:
        self.description = self.description.merged(description)
        if self.description.system is not None and self.description.application is not None:
            self._finish()

    def _finish(self) -> None:
        self.over, self._due_at = True, None
        if self._assembly is not None and not self._assembly.held_bytes:
            self._assembly = None

    def _blocks(self) -> Assembly:
        if self._assembly is None:
            self._assembly = Assembly()
        return self._assembly

    def due_at(self) -> float | None:
        """When ``due`` has something to say."""
        return self._due_at

    def due(self, now: float) -> Ask | None:
        """The posts, or an answer, did not come in time."""
        if self._due_at is None or now < self._due_at:
            return None
        if self._posts:
            self._posts = False
            self._due_at = now + self._wait_s
            return Ask(SYSTEM if self.description.system is None else APPLICATION)
        self._finish()
        return None
