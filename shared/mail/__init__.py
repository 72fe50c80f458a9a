"""Mail: ``letters`` are written from templates, ``delivery`` carries them to a folder or to an SMTP server, ``queue``
remembers which event is still to be told of, and ``postman`` does it, each once an event (decision 21).
"""
