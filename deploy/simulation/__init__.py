"""Simulated devices on real sockets, for demonstrations, load and tests; a module a protocol, one fleet over all.

::

    fleet           all devices        device      what it asks of one       conditions, chance    how they live
    mqtt            MQTT devices       particle    Particle devices, made of:
      particle_session (one session), particle_tcp, particle_dtls (what carries it), application, generations (firmware)
    enlisting       makes them known to a platform          keys, modules    their keys, their images
    counts, screen  what they did, and how it is shown
"""
