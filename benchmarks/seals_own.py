"""SEAL's own encoder and encryptor, to be measured beside ours."""

import numpy as np
from sessions import PARAMETERS

from privfl.ckks.seal import seal_ring


class SealsOwn:
    """SEAL's encoder and encryptor under the very modulus of the session, N coefficients to a ciphertext."""

    def __init__(self, modulus, scale_bits):
        self.modulus, self.ring, self.scale = modulus, seal_ring(modulus), 2.0**scale_bits
        api = self.ring._api
        keys, self.public = api.KeyGenerator(self.ring.context), api.PublicKey()
        keys.create_public_key(self.public)
        self.encryptor = api.Encryptor(self.ring.context, self.public)
        self.encoder = api.CKKSEncoder(self.ring.context)
        values = np.random.default_rng(0).normal(0, 0.05, (2, modulus.degree // 2))
        self.values = (values[0] + 1j * values[1]).tolist()
        self.polynomials = modulus.polynomials(PARAMETERS)
        self.plaintext = self.encoded()

    def encoded(self):
        plaintext = self.ring._api.Plaintext()
        self.encoder.encode(self.values, self.scale, plaintext)
        return plaintext

    def encode(self):
        for _ in range(self.polynomials):
            self.encoded()

    def encrypt(self):
        for _ in range(self.polynomials):
            self.encryptor.encrypt(self.plaintext, self.ring._api.Ciphertext())
