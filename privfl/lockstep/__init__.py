"""Bases of the suites' sessions: `client` and `server` speak the interface of `privfl.session` in lock-step."""
