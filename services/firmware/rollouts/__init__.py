"""Staged roll-outs (FW-6, decision 27).

=========================  ===========================================================================================
``course``, ``control``    what is decided of a roll-out; a part of the aggregate of stream ``firmware-<product>``. Pure
``moments``                when that was. Pure
``turns``                  which devices have their turn; stream ``rollout-<roll-out id>``. Pure
``windows``                when turns are given, and how many. Pure
``rounds``                 what is to be done now: ends of turns, gates, the next stage. Pure
``rollout_views``          the roll-outs, and what came of their turns. Pure
``watch_view``             what a device in a roll-out does at this moment. Pure
``rollout_object``         a roll-out as the RPC methods answer. Pure
``following``              streams folded once, of which only what is new is read
``watching``               what is asked of the views, round by round
``preparing``              how many devices a stage comes to, and what should become of each
``coordinator``            carries out rounds, about one a second
``commands``, ``queries``  what the RPC methods do
=========================  ===========================================================================================
"""
