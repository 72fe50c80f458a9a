"""Every domain event: one module a context, in the words of the rules.

The classes are the contracts between services. ``contracts`` derives the marshmallow schemas, keeps versions and
upcasters, and turns events to bytes and back; ``catalogue`` writes ``docs/events.md``.
"""
