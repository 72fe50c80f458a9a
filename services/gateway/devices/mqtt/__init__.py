"""MQTT 3.1, 3.1.1 and 5.0 for devices: a codec, a session machine, and a thin listener around them.

Topics and payloads are those of the ThingsBoard device API. Not served yet: TLS client certificates, provisioning,
claiming, function calls, WebSocket; reported client attributes are acknowledged, and only their reserved keys are used.
"""
