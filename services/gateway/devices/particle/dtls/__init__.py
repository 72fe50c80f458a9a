"""DTLS 1.2 as Particle's UDP devices speak it, and nothing else of DTLS.

One suite (ECDHE-ECDSA with AES-128-CCM-8), one curve, raw public keys, and three things that no library offers: the
server sends no Certificate (the device holds its key), connection ids of an early draft, and sessions that continue
from another address by a mark of the device. Device protocol, section 8; RFC 6347 and RFC 5246 for the rest.

::

    records      datagram <-> records; no keys              window      which sequence numbers were received
    protection   one direction's AES-CCM                    key_schedule  secrets, key block, Finished
    messages     handshake messages <-> bytes               inbox       fragments in, messages in order out
    cookies      proof of address without state             flight      when a flight is due again
    p256         signatures, key agreement, raw keys        entropy     where randomness comes from
    server       one handshake, our half                    client      the device's half, for tests and simulator
    limits, pace how much for whom                          events, refusals   what an endpoint says and counts
    session      an established association                 endpoint    all sessions of one UDP socket

Nothing here does I/O or knows a clock: times, random bytes and stored sessions come in as arguments.
"""
