"""Bases of the suites' sessions, which speak the interface of `privfl.session` in lock-step.

`party` is whoever answers the server, `client` a party with a vector, `server` the one that asks.
"""
