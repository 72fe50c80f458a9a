"""Particle's device protocol over TCP and UDP: codecs, sessions and updates for firmware 0.4 to 3.x and later.

::

    coap            messages and their bytes; in them:
      messages, hello, goodbye, events, describe, blocks, metrics, values, system_events    what devices say
      server_messages, update_messages, update_v3                                           what is said to them
    session         one device on either transport, made of:
      describing, describing_fact, questions, asking, requests, publishing, inbox, subscribing, told,
      device_limits (what a device can take)
      updating      its update: sending (the plan), sender, sender_classic, sender_v3, transfer
    admission       who gets in, on either transport        acting      does what a session says, on either

    over TCP        handshake, frames, connection, handshakes (whose turn), listener
    over UDP        dtls/ (records to sessions), exchange (what is sent again), udp_connection, udp, udp_sockets
                    continuing, session_store, session_seal, known_sessions    what is kept of a session
    both            keys, server_keys, loading, effects, violations, limits, udp_limits

    device_handshake, device_messages, device_reading, device_updates   the device's side, for simulator and tests
"""
