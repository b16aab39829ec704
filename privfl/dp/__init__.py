"""Differential privacy: clipping, noise, events, accountants, and the ledger of what was spent."""
