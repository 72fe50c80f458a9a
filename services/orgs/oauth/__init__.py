"""OAuth 2.0 (RFC 6749, RFC 7636): who logs in at whom, for whom.

``clients`` and ``codes`` are aggregates; ``subjects`` says for whom a token acts, ``issuing`` makes one. The protocol
itself is Authlib's: ``server`` gives it what is registered and keeps what it decides. ``registering`` manages clients.
"""
