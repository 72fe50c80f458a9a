"""From the settings to the postman of this service."""

from __future__ import annotations

from services.billing.mail.mailing import Mailing, asked
from services.billing.subscriptions import Policy
from shared.bus.calls import CALL_TIMEOUT_S, blocking_client
from shared.bus.transport import Transport
from shared.mail.delivery import open_delivery
from shared.mail.letters import Letters
from shared.mail.pace import Pace
from shared.mail.postman import Postman
from shared.mail.queue import MailQueue
from shared.settings import Settings
from shared.streams import Streams


def open_postman(
    settings: Settings, transport: Transport, mails: MailQueue, streams: Streams, policy: Policy
) -> Postman:
    """The postman, ready to start. The queue's clock is the machine's; how far billing's is ahead changes nothing of
    when mail is tried again."""
    letters = Letters("services.billing.mail", "letters", settings.mail_from)
    team = asked(lambda context: blocking_client(transport, context.headers(), CALL_TIMEOUT_S))
    return Postman(
        mails,
        streams.store,
        letters,
        open_delivery(settings.smtp, settings.mail, letters.domain),
        Mailing(streams, policy, team, settings.url).compose,
        pace=Pace(settings.mail_per_minute),
    )
