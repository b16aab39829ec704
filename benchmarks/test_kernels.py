"""Every kernel against its limit: the work that it cannot avoid, done barely, side by side in one run.

Run with `make bench-kernels`. The limits are in `privfl.bench.limits`; times are CPU times of the process, ratios are
medians of pairs that take turns, with their quartiles. What the limit of each kernel is made of, `README.md` says.
"""

import time
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from sessions import PARAMETERS, plan_with_committee, sized

from privfl.bench import limits
from privfl.bench.turns import Spread, take_turns
from privfl.compression.rotation import padded, rotate
from privfl.dp.noise import IntegerNoise, Mechanism
from privfl.encoding import bitpack
from privfl.kahe.cipher import draw_key
from privfl.kahe.noise import Gaussian
from privfl.kahe.ring import BATCH, HALF, N, Products
from privfl.primitives import shamir
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.prg import Mask, Stream, apply_masks
from privfl.primitives.sampling import stream_keys
from privfl.primitives.secret import Secret

ROUNDS = sized(31, 3)
PACKED_BITS = 29
HOLDERS, THRESHOLD = 99, 67
CHANCE = np.random.default_rng(0)


@dataclass(frozen=True)
class Kernel:
    """A kernel's work and its limit, and how many of what they do."""

    work: object
    limit: object
    count: int
    unit: str = "coordinate"


def aes():
    """A mask: expanding the cipher and adding it."""
    words, scratch, masks = np.zeros(PARAMETERS, np.uint32), limits.make_scratch(), [Mask(Secret(limits.KEY))]
    return Kernel(lambda: apply_masks(words, masks), lambda: limits.bare_loop(words, scratch), PARAMETERS)


def product():
    """Products with a key of `kahe`: the transforms of the other polynomial and of the product."""
    products = Products(draw_key(OsEntropy()).astype(np.int64), largest=1 << 28)
    polynomials = CHANCE.integers(-(1 << 28), 1 << 28, (BATCH, N), np.int32)
    out, points = np.zeros((BATCH, N), np.uint32), np.ones((BATCH, HALF), np.complex128)
    return Kernel(
        lambda: products.add(polynomials, out), lambda: limits.transform_pairs(points, BATCH), polynomials.size
    )


def sampler():
    """Errors of `kahe`: 16 bits of the cipher, a look-up and an addition each."""
    total, batch = np.zeros(BATCH * N, np.int32), 1 << 14
    errors = Gaussian(*(Stream(key) for key in stream_keys(OsEntropy())), largest_batch=batch)

    def draw():
        for start in range(0, len(total), batch):
            part = total[start : start + batch]
            np.add(part, errors.draw(batch), out=part)

    table = table_of(6.5, np.int8)
    return Kernel(draw, lambda: limits.draw_and_add(total, table), len(total), "draw")


def skellam():
    """Noise as a client of a million parameters and a cohort of a hundred adds it."""
    noise, total = IntegerNoise(kind=Mechanism.SKELLAM, variance=Fraction(475**2)), np.zeros(PARAMETERS, np.int32)
    table, entropy = table_of(475, np.int16), OsEntropy()
    return Kernel(
        lambda: noise.add_to(total, entropy=entropy), lambda: limits.draw_and_add(total, table), PARAMETERS, "draw"
    )


def packing():
    """Packing a block: one shift and one combination for each row."""
    values, out, bare = block()
    return Kernel(
        lambda: bitpack.pack_block(values, PACKED_BITS, out),
        lambda: limits.cut_words(values, PACKED_BITS, *bare),
        bitpack.BLOCK,
    )


def unpacking():
    """Adding a packed block: as much."""
    values, packed, bare = block()
    return Kernel(
        lambda: bitpack.unpack_add(packed, PACKED_BITS, values),
        lambda: limits.cut_words(values, PACKED_BITS, *bare),
        bitpack.BLOCK,
    )


def block():
    """Values, a packed block, and what the limit works in."""
    values = CHANCE.integers(0, 1 << PACKED_BITS, bitpack.BLOCK, np.uint32)
    words = bitpack.packed_words(bitpack.BLOCK, PACKED_BITS, 32)
    bare = np.zeros(words, np.uint32), np.empty(bitpack.BLOCK // 32, np.uint32)
    return values, np.zeros(words, np.uint32), bare


def dealing():
    """Two secrets of 32 bytes: a product for each byte, holder and coefficient."""
    entropy, secret, points = OsEntropy(), bytes(64), list(range(1, HOLDERS + 1))
    table, indices, out = field((HOLDERS, 64))
    return Kernel(
        lambda: shamir.deal(secret, points=points, threshold=THRESHOLD, entropy=entropy),
        lambda: limits.products_in_the_field(table, indices, out, THRESHOLD - 1),
        HOLDERS,
        "holder",
    )


def rebuilding():
    """A secret of 32 bytes, whose holders were met before: a product for each byte and share."""
    points = list(range(1, THRESHOLD + 1))
    shares = shamir.deal(bytes(32), points=points, threshold=THRESHOLD, entropy=OsEntropy())
    table, indices, out = field(shares.shape)
    return Kernel(
        lambda: shamir.reconstruct(points, shares),
        lambda: limits.products_in_the_field(table, indices, out, 1),
        1,
        "secret",
    )


def rotation():
    """A rotation: products with matrices of order 8, as many as the logarithm takes."""
    length = padded(PARAMETERS)
    values, room = CHANCE.normal(size=length), np.empty(min(limits.CHUNK_BYTES // 32, length))
    passes = -(-(length.bit_length() - 1) // 3)
    matrix = np.ones((8, 8)) / 8
    return Kernel(
        lambda: rotate(values, bytes(16)), lambda: limits.small_products(values, matrix, room, passes), length
    )


def ckks_encrypting():
    """Encrypting under a committee's key: a transform of u, and one back for each half, prime and polynomial."""
    pytest.importorskip("tenseal", reason="pip install 'privfl[ckks]'")
    params, committee = plan_with_committee(10)
    joint, scale_bits = committee.key.statement.joint_key, params.setting.scale_bits
    products = sum(len(parts) for key in joint._spectra for parts in key)
    ones = np.ones(PARAMETERS, np.int32)

    def encrypt():
        joint.encrypt(
            lambda start, out: np.copyto(out, ones[start : start + len(out)], casting="unsafe"),
            length=PARAMETERS,
            scale_bits=scale_bits,
            entropy=OsEntropy(),
        )

    return Kernel(encrypt, transforms(joint.modulus, 1 + products), PARAMETERS)


def seal_encoding():
    """SEAL's encoder: a transform of the slots, and one of the plaintext modulo each of two primes."""
    seals = seals_own()
    return Kernel(seals.encode, transforms(seals.modulus, 3), PARAMETERS)


def seal_encrypting():
    """SEAL's encryptor: transforms of u and of two errors modulo each of two primes."""
    seals = seals_own()
    return Kernel(seals.encrypt, transforms(seals.modulus, 6), PARAMETERS)


def seals_own():
    """SEAL under the modulus of a session of ten clients."""
    pytest.importorskip("tenseal", reason="pip install 'privfl[ckks]'")
    from seals_own import SealsOwn

    from privfl.ckks.planner import modulus_of

    params, _ = plan_with_committee(10)
    return SealsOwn(modulus_of(params.setting.epoch), params.setting.scale_bits)


def transforms(modulus, number):
    """So many transforms of every polynomial."""
    from privfl.ckks.cipher import BATCH as BATCH_OF_CKKS

    points = np.ones((BATCH_OF_CKKS, modulus.degree // 2), np.complex128)
    room, polynomials = np.empty_like(points), modulus.polynomials(PARAMETERS)
    return lambda: limits.transform_products(points, room, polynomials, number - 1)


def table_of(std, word):
    """A table of 2^16 draws."""
    return np.clip(CHANCE.normal(0, std, 1 << 16).round(), np.iinfo(word).min, np.iinfo(word).max).astype(word)


def field(shape):
    """The limit's table, pairs of factors, and room for products."""
    return (
        CHANCE.integers(0, 256, 1 << 16, np.uint8),
        CHANCE.integers(0, 1 << 16, shape, np.uint16).astype(np.intp),
        np.empty(shape, np.uint8),
    )


KERNELS = [
    aes,
    product,
    sampler,
    skellam,
    packing,
    unpacking,
    dealing,
    rebuilding,
    rotation,
    ckks_encrypting,
    seal_encoding,
    seal_encrypting,
]


@pytest.mark.parametrize("prepare", KERNELS, ids=lambda prepare: prepare.__name__)
@pytest.mark.benchmark(group="kernels against their limits", timer=time.process_time)
def test_kernel(benchmark, prepare):
    kernel = prepare()
    works = {"kernel": kernel.work, "limit": kernel.limit}
    take_turns(works, 1)  # tables, plans of transforms
    taken = take_turns(works, ROUNDS)
    spent, limit = (1e9 * Spread.of(taken[name]).median / kernel.count for name in works)
    ratio = Spread.of_ratios(taken["kernel"], taken["limit"])
    print(
        f"\n{prepare.__name__.replace('_', ' ')}: {spent:.4g} ns a {kernel.unit}, {ratio.median:.2f} × its limit "
        f"({ratio.low:.2f} to {ratio.high:.2f}; limit {limit:.4g} ns)"
    )
    benchmark.extra_info |= {"ns": spent, "limit_ns": limit, "ratio": ratio.median}
    benchmark.pedantic(kernel.work, rounds=1)
