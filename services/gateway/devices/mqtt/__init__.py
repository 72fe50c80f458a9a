"""MQTT 3.1, 3.1.1 and 5.0 for devices, with TLS and over WebSocket. Topics and payloads are those of the ThingsBoard
device API.

::

    packets, properties, reader, writer   the codec         violations      what a client can do wrong
    topics, payloads                      what is said      messages        what a message means
    admission, certificates               who gets in       refusals        whom a refused log-in is shown to
    provisioning, provisioning_request    devices that have nothing to get in with yet
    session         one device, made of:  inbox, outbox, pace, firmware, desired, asking, values, reports
    connection      one socket, with      outflow (what is written to it) and websocket (what may lie between)
    listener        all of them           limits, effects
"""
