"""What comes in and goes out about webhooks (contract 14)."""

from __future__ import annotations

import marshmallow as ma

from services.gateway.http.fields import (
    NULL,
    Document,
    Flag,
    Line,
    Request,
    Whole,
    flag,
    list_of,
    of,
    string,
    time,
    whole,
)

_MAPPING = {"description": "an object of names and texts, which may be templates", "type": ["object", "string", "null"]}
_PAYLOAD = {"description": "JSON whose texts are templates, or one template that becomes JSON"}


class WebhookChanges(Request):
    event = Line(64, 1, metadata={"description": "how the names of the events begin"})
    url = Line(2_048, 1)
    requestType = Line(8)  # noqa: N815 - the contract's names
    deviceId = Line(24, allow_none=True)  # noqa: N815
    deviceid = Line(24, allow_none=True)
    deviceID = Line(24, allow_none=True)  # noqa: N815
    auth = ma.fields.Raw(allow_none=True, metadata=_MAPPING)
    headers = ma.fields.Raw(allow_none=True, metadata=_MAPPING)
    query = ma.fields.Raw(allow_none=True, metadata=_MAPPING)
    json = ma.fields.Raw(allow_none=True, metadata=_PAYLOAD)
    form = ma.fields.Raw(allow_none=True, metadata=_MAPPING)
    body = Line(16_384, allow_none=True, metadata={"description": "a template"})
    responseTemplate = Line(16_384, allow_none=True)  # noqa: N815
    responseTopic = Line(4_096, allow_none=True)  # noqa: N815
    errorResponseTopic = Line(4_096, allow_none=True)  # noqa: N815
    rejectUnauthorized = Flag()  # noqa: N815
    noDefaults = Flag()  # noqa: N815
    disabled = Flag()


class NewWebhook(WebhookChanges):
    integration_type = Line(64)


class Redelivery(Request):
    since = Line(64, data_key="from", metadata={"description": "everything since this time, or since now"})
    event = Line(64, metadata={"description": "event_id of one attempt in the log"})


class AttemptsQuery(Request):
    limit = Whole(1, 100, load_default=100)
    before = Whole(1, 2**63 - 1, load_default=None, metadata={"description": "meta.next of the answer before"})


class DeliveryAttempt(Document):
    id = string()
    event_id = string(**NULL)
    event = string(**NULL)
    coreid = string(**NULL)
    recorded_at = string(**NULL)
    at = time()
    outcome = string(metadata={"description": "delivered, failed, refused, given_up, gone, gap or tested"})
    tries = whole()
    status = whole(**NULL)
    duration_ms = whole()
    error = string(**NULL)
    answer = string(**NULL, metadata={"description": "how the receiver's answer begins"})


class Webhook(Document):
    """Secrets are masked: passwords, and headers other than the usual ones."""

    id = string()
    event = string()
    name = string(**NULL)
    integration_type = string()
    created_at = time()
    updated_at = time()
    disabled = flag()
    disabled_reason = string(**NULL, metadata={"description": "asked, gone (410) or failing"})
    disabled_detail = string(**NULL)
    hookUrl = string()  # noqa: N815
    deviceID = string(required=False)  # noqa: N815
    product_id = whole(required=False)
    org_id = string(required=False)
    url = string()
    requestType = string()  # noqa: N815
    auth = ma.fields.Raw()
    headers = ma.fields.Raw()
    query = ma.fields.Raw()
    json = ma.fields.Raw()
    form = ma.fields.Raw()
    body = string(required=False)
    responseTemplate = string(required=False)  # noqa: N815
    responseTopic = string(required=False)  # noqa: N815
    errorResponseTopic = string(required=False)  # noqa: N815
    noDefaults = flag(required=False)  # noqa: N815
    rejectUnauthorized = flag(required=False)  # noqa: N815


class WebhookWithLog(Webhook):
    failures = whole(metadata={"description": "rounds without success, in a row"})
    failing_since = string(**NULL)
    next_attempt_at = string(**NULL)
    logs = list_of(of(DeliveryAttempt))


class WebhookCreated(Webhook):
    ok = flag()
    secret = string(metadata={"description": "what requests are signed with; shown this once"})


class OneWebhook(Document):
    webhook = of(WebhookWithLog)


class OneIntegration(Document):
    integration = of(WebhookWithLog)


class TestAnswer(Document):
    passed = flag(data_key="pass")
    data = string(**NULL)
    error = string(**NULL)


class Redelivered(Document):
    ok = flag()
    since = string(data_key="from", required=False)
    attempt = of(DeliveryAttempt, required=False)


class AttemptsMeta(Document):
    next = string(**NULL)


class Attempts(Document):
    attempts = list_of(of(DeliveryAttempt))
    meta = of(AttemptsMeta)
