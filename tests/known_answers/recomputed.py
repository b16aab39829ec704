"""The tables of values and the messages of honest sessions, computed once more by the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from msgspec import msgpack

from known_answers import reference, reference_kahe
from known_answers.recording import Opened, opened
from known_answers.script import abridged
from known_answers.values import from_json
from privfl import SessionParams
from privfl.params import KaheSetting
from privfl.primitives.labels import Label
from privfl.wire import Message

ELSEWHERE = frozenset(
    {
        *("identity", "sign", "verify", "open_once"),  # published vectors go through the library's own functions
        *("check_inclusion", "reconstruct"),  # undo what is recomputed here
        "plan",  # the design states the figures
    }
)
"""Functions of which a table needs no second computation."""


def recompute(case: dict[str, Any]) -> Any:
    """What a case gives, by the reference."""
    arguments = {key: from_json(key, value) for key, value in case.items() if key not in {"function", "gives"}}
    return _FORMULAS[case["function"]](**arguments)


def responses(script: dict[str, Any], phase: str, kind: type[Message]) -> dict[int, Opened]:
    """The clients' responses of one phase, taken apart."""
    return _told(script, "respond", phase, kind)


def requests(script: dict[str, Any], phase: str, kind: type[Message]) -> dict[int, Opened]:
    """The server's requests of one phase, likewise."""
    return _told(script, "request", phase, kind)


def written(script: dict[str, Any], do: str, phase: str) -> dict[int, Any]:
    """The same as they are written, by client: as hex, or abridged."""
    now, found = "AdvertiseKeys", {}
    for operation in script["operations"]:
        now = operation["phase"] if operation["do"] == "advance" else now
        if operation["do"] == do and now == phase:
            found[operation["client"]] = operation["bytes"]
    return found


def _told(script: dict[str, Any], do: str, phase: str, kind: type[Message]) -> dict[int, Opened]:
    return {number: opened(bytes.fromhex(raw), kind) for number, raw in written(script, do, phase).items()}


def clients(script: dict[str, Any]) -> dict[int, reference.Client]:
    """The clients of a masking session, by the reference."""
    return {
        int(number): reference.Client(
            int(number), bytes.fromhex(script["entropy"][number]), signs="identities" in script
        )
        for number in script["vectors"]
    }


def context(script: dict[str, Any]) -> bytes:
    """The session's context: its parameters', or what the server was bound to."""
    late = [one["given"] for one in script["operations"] if one["do"] == "bind" and "client" not in one]
    return bytes.fromhex(late[0]) if late else _params(script).context


def submitted(script: dict[str, Any], number: int) -> list[int]:
    """The vector of a client, repeated up to the length that is agreed."""
    return _repeated(script["vectors"][str(number)], _params(script).vector.length)


class Encrypted(NamedTuple):
    """What a client of kahe uploads, before its key is masked."""

    key: list[int]
    ciphertext: list[int]


def encrypted(script: dict[str, Any], number: int, session: bytes) -> Encrypted:
    """One-time key and ciphertext of a client, by the reference, from its entropy."""
    setting = _params(script).setting
    assert isinstance(setting, KaheSetting)
    keys = clients(script)[number].stream_keys(setting.masking.threshold, 4)
    vector = submitted(script, number)
    return Encrypted(
        reference_kahe.gaussian(keys[0], keys[1], reference_kahe.N),
        reference_kahe.encrypt(vector, keys, session, setting.modulus_bits, setting.scale_bits),
    )


def unpacked(tail: bytes, bits: int, count: int) -> list[int]:
    """The residues of a short vector as it travelled.

    Packed or not, coordinate j takes the bits from j·b on: so it is as long as there are no more coordinates than bits
    in a word.
    """
    together = int.from_bytes(tail, "little")
    return [together >> (j * bits) & (2**bits - 1) for j in range(count)]


def _params(script: dict[str, Any]) -> SessionParams:
    return SessionParams.from_bytes(bytes.fromhex(script["params"]))


def _fixed_entropy(seed: bytes, lengths: list[int]) -> list[bytes]:
    stream, drawn = reference.aes_ctr(seed, 0, sum(lengths)), []
    for length in lengths:
        drawn.append(stream[:length])
        stream = stream[length:]
    return drawn


def _channel_keys(private: bytes, peer_public: bytes, session: bytes, me: int, peer: int) -> list[bytes]:
    agreed = reference.agree(private, peer_public)
    return [reference.channel_key(agreed, session, *way) for way in ((me, peer), (peer, me))]


def _pair_seed(private: bytes, peer_public: bytes, session: bytes, me: int, peer: int) -> bytes:
    return reference.pair_seed(reference.agree(private, peer_public), session, me, peer)


def _mask_words(*, key: bytes, negative: bool, word_bits: int, words: list[int]) -> list[int]:
    sign, stream = -1 if negative else 1, reference.words(key, word_bits, len(words))
    return [(word + sign * mask) % 2**word_bits for word, mask in zip(words, stream, strict=True)]


def _deal(secret: bytes, points: list[int], threshold: int, entropy: bytes) -> list[bytes]:
    coefficients = reference.aes_ctr(entropy, 0, (threshold - 1) * len(secret))
    return reference.deal(secret, points, threshold, coefficients)


def _roster_digest(identities: dict[str, bytes]) -> bytes:
    entries = (reference.number(int(number)) + identity for number, identity in identities.items())
    return reference.digest(b"privfl/v1/roster", *entries)


def _neighbours(clients: int, degree: int, root: bytes, client: int) -> dict[str, list[int]]:
    points = reference.neighbours(clients, degree, root, client)
    return {"neighbours": list(points), "share_points": list(points.values())}


def _witnesses(clients: int, keys_digest: bytes, count: int) -> list[int]:
    return sorted(reference.order(b"privfl/v1/masking/witnesses", clients, keys_digest)[:count])


def _keys_digest(params: bytes) -> bytes:
    """Of the parameters with their ninth field, the context, empty."""
    fields = msgpack.decode(params)
    return reference.digest(b"privfl/v1/keys", msgpack.encode([*fields[:8], b"", *fields[9:]]))


def _quorum(clients: int, corrupt: float, dropout: float) -> dict[str, int]:
    witnesses, signatures = reference.quorum(clients, Fraction(str(corrupt)), Fraction(str(dropout)))
    return {"witnesses": witnesses, "signatures": signatures}


def _digest(label: Label, parts: list[bytes]) -> bytes:
    return reference.digest(label.value, *parts)


def _derive(secret: bytes, salt: bytes, label: Label, ends: list[int], length: int) -> bytes:
    return reference.derive(secret, salt, label.value, ends, length)


def _repeated(vector: list[int], length: int) -> list[int]:
    return (vector * -(-length // len(vector)))[:length]


def _ciphertext(
    *, entropy: bytes, session: bytes, vector: list[int], length: int, bits: int, scale_bits: int, workers: int
) -> Any:
    del workers
    drawn = reference.aes_ctr(entropy, 0, 16 * 6)
    keys = [drawn[i : i + 16] for i in range(0, len(drawn), 16)]
    words = reference_kahe.encrypt(_repeated(vector, length), keys, session, bits, scale_bits)
    packed = reference_kahe.pack(words, bits)
    return abridged([int.from_bytes(packed[i : i + 4], "little") for i in range(0, len(packed), 4)])


def _products(session: bytes, bits: int, count: int, factor: list[int]) -> Any:
    """Centred, one polynomial behind the other."""
    half, found = 2 ** (bits - 1), list[int]()
    for i in range(count):
        product = reference_kahe.product(reference_kahe.public_polynomial(session, i, bits), factor)
        found += [(number + half) % (2 * half) - half for number in reference_kahe.paired(product)]
    return abridged(found)


def _public_products(*, session: bytes, bits: int, count: int, coarse: bytes, fine: bytes) -> Any:
    factor = reference_kahe.natural(reference_kahe.gaussian(coarse, fine, reference_kahe.N))
    return _products(session, bits, count, factor)


def _opened_total(*, session: bytes, total: list[int], key_sum: list[int], bits: int, scale_bits: int) -> list[int]:
    keys = key_sum + [0] * (reference_kahe.N - len(key_sum))
    return reference_kahe.decrypt(total, keys, session, bits, scale_bits)


_FORMULAS: Mapping[str, Callable[..., Any]] = {
    "fixed_entropy": _fixed_entropy,
    "digest": _digest,
    "derive": _derive,
    "public_key": reference.public_key,
    "session_id": lambda *, keys_digest, root: reference.digest(b"privfl/v1/session", keys_digest, root),
    "bound_session": reference.bound_session,
    "pairwise_mask": lambda *, seed, context, crowd: reference.pair_mask_key(seed, context, crowd),
    "channel_keys": _channel_keys,
    "pair_seed": _pair_seed,
    "self_mask": reference.self_mask_key,
    "commitment": reference.commitment,
    "confirmation": lambda *, seed, session, me, peer: reference.confirmation(seed, session, me, peer),
    "mask_words": _mask_words,
    "seal_once": reference.seal,
    "sealing_context": reference.sealing_context,
    "key_leaf": lambda *, number, channel_key, mask_key: reference.number(number) + channel_key + mask_key,
    "absent_leaf": lambda *, number: b"privfl/v1/merkle-absent" + reference.number(number),
    "server_leaf": lambda *, nonce: b"privfl/v1/merkle-server" + nonce,
    "merkle_root": reference.merkle_root,
    "inclusion_proofs": lambda *, leaves: [reference.inclusion_proof(leaves, index) for index in range(len(leaves))],
    "deal": _deal,
    "params_digest": lambda *, params: reference.digest(b"privfl/v1/params", params),
    "keys_digest": _keys_digest,
    "roster_digest": _roster_digest,
    "set_bits": reference.set_bits,
    "neighbours": _neighbours,
    "witnesses": _witnesses,
    "quorum": _quorum,
    "gaussian_thresholds": lambda: [step.to_bytes(19, "big") for step in reference_kahe.thresholds()],
    "gaussian": lambda *, coarse, fine, count: reference_kahe.gaussian(coarse, fine, count),
    "public_polynomials": lambda *, session, bits, count: _products(
        session, bits, count, [1] + [0] * (reference_kahe.N - 1)
    ),
    "public_products": _public_products,
    "encrypt": _ciphertext,
    "decrypt": _opened_total,
}
