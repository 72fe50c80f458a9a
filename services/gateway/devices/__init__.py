"""Connected devices: what all protocols share, and a folder for each protocol (decision 16).

::

    server            one epoch's device side; the listeners of protocols are handed to it
    sessions          who is connected, takeover            memory      what is remembered of a device
    effects           what session machines want done       conduct     what a device did wrong
    ports             what is needed of the gateway         timers      one timer for all that wait

    accepting         sockets over TCP, taken in order      stream_listener  what listeners over TCP share
    admissions        who is let in when, made of:          waiting (the line), throttle (the rate), turns
    newcomers         strangers at a product                limits      buckets, refused log-ins, what an address is

    firmware          what a device runs and should run     updates     its attempts
    transfers         whose turn to be sent an image is     images      pieces of images in memory
    identity          what it says it is

    calls             what is asked of a device             questions   who waits for an answer
    subscriptions     who wants which events                latest      latest values of telemetry
    attributes        what a device reported                packing     how that is kept in memory

A session machine (``mqtt/session.py``, ``particle/session.py``) takes messages and moments and returns effects; the
connection around it reads, does what the effects say, writes and wakes it.
"""
