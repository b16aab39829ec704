"""Cryptographic building blocks: the only package that imports `cryptography`, and the only one that draws secrets."""
