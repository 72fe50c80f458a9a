"""Personal data that can be forgotten: a key for each person, outside the event store (EVT-5).

A person is an account. ``sealing`` turns text into sealed text and back, ``personal`` does so for the marked fields
of an event, ``keys`` is what both ask, ``key_table`` where the keys are. What is sealed with a key that was destroyed
reads as ``FORGOTTEN``, everywhere and for ever.
"""
