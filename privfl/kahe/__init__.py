"""One-time additive keys: uploads under fresh RLWE keys, of which only the sum is opened (ACORN, USENIX Sec. 2023)."""
