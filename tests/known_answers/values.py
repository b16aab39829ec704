"""Single values: what the protocol derives from what, in small tables.

A case names a function, what goes in, and what must come out: bytes as hex, labels by the name that `Label` gives
them. A case that must fail has `fails`, the class of the exception; a `*_bad_*` table has one, behind an honest one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from known_answers import values_kahe
from known_answers.recording import agree, flipped, identity_of, seeded
from privfl import Identity, PrivflError, Roster, ServerModel, SessionParams, ThreatModel
from privfl.masking import agreement, planner, secrets
from privfl.masking.graph import Graph, draw_witnesses
from privfl.params import WireForm
from privfl.primitives import aead, shamir
from privfl.primitives.keys import KeyPair, derive
from privfl.primitives.labels import Label
from privfl.primitives.prg import Mask, apply_masks
from privfl.primitives.secret import Secret
from privfl.primitives.signatures import verify
from privfl.primitives.transcript import check_inclusion, digest, inclusion_proofs, merkle_root, session_id
from privfl.testing import UnsafeFixedEntropy

Case = tuple[str, dict[str, Any]]
NOT_HEX = frozenset({"server"})

SESSION = seeded("values", "session")
ROOT = seeded("values", "root")


# -- the functions, from plain values to plain values -----------------------------------------------------------------


def pair(private: bytes) -> KeyPair:
    return KeyPair(Secret(private))


def mask_words(*, key: bytes, negative: bool, word_bits: int, words: list[int]) -> list[int]:
    array = np.array(words, f"u{word_bits // 8}")
    apply_masks(array, [Mask(Secret(key), negative=negative)])
    return array.tolist()


def deal(*, secret: bytes, points: list[int], threshold: int, entropy: bytes) -> list[bytes]:
    shares = shamir.deal(secret, points=points, threshold=threshold, entropy=UnsafeFixedEntropy(entropy))
    return [bytes(share) for share in shares]


def reconstruct(*, points: list[int], shares: list[bytes]) -> bytes:
    return shamir.reconstruct(points, np.array([list(share) for share in shares], np.uint8))


def neighbours(*, clients: int, degree: int, root: bytes, client: int) -> dict[str, list[int]]:
    graph = Graph(cohort=tuple(range(clients)), degree=degree, root=root)
    peers = graph.neighbours(client)
    return {"neighbours": list(peers), "share_points": [graph.share_point(client, peer) for peer in peers]}


def witnesses(*, clients: int, keys_digest: bytes, count: int) -> list[int]:
    return sorted(draw_witnesses(tuple(range(clients)), count, keys_digest))


def pairwise_mask(*, seed: bytes, context: bytes, crowd: bytes) -> Secret:
    return secrets.pairwise_mask(Secret(seed), me=7, peer=300, context=context, crowd=crowd).key


def plan(*, clients: int, corrupt: float, dropout: float, server: str) -> dict[str, int]:
    setting = planner.plan(clients, ThreatModel(corrupt=corrupt, dropout=dropout, server=ServerModel(server)))
    return {"degree": setting.degree, "threshold": setting.threshold}


def quorum(*, clients: int, corrupt: float, dropout: float) -> dict[str, int]:
    needed = planner.quorum(clients, ThreatModel(corrupt=corrupt, dropout=dropout, server=ServerModel.ACTIVE))
    return {"witnesses": needed.witnesses, "signatures": needed.signatures}


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "fixed_entropy": lambda *, seed, lengths: [*map(UnsafeFixedEntropy(seed).token_bytes, lengths)],
    "digest": lambda *, label, parts: digest(label, *parts),
    "derive": lambda *, secret, salt, label, ends, length: derive(
        Secret(secret), salt=salt, label=label, ends=tuple(ends), length=length
    ),
    "public_key": lambda *, private: pair(private).public,
    "session_id": lambda *, keys_digest, root: session_id(keys_digest, root),
    "bound_session": lambda *, session, context: secrets.bound_session(session, context),
    "pairwise_mask": pairwise_mask,
    "channel_keys": lambda *, private, peer_public, session, me, peer: list(
        secrets.channel_keys(pair(private), peer_public, session=session, me=me, peer=peer)
    ),
    "pair_seed": lambda *, private, peer_public, session, me, peer: secrets.pair_seed(
        pair(private), peer_public, session=session, me=me, peer=peer
    ),
    "self_mask": lambda *, seed, session, me: secrets.self_mask(Secret(seed), session=session, me=me).key,
    "commitment": lambda *, seed, session, me: secrets.commitment(Secret(seed), session=session, me=me),
    "confirmation": lambda *, seed, session, me, peer: secrets.confirmation(
        Secret(seed), session=session, me=me, peer=peer
    ),
    "mask_words": mask_words,
    "seal_once": lambda *, key, plaintext, associated: aead.seal_once(Secret(key), plaintext, associated),
    "open_once": lambda *, key, sealed, associated: aead.open_once(Secret(key), sealed, associated),
    "sealing_context": lambda *, session, sender, receiver: secrets.sealing_context(
        session, sender=sender, receiver=receiver
    ),
    "key_leaf": lambda *, number, channel_key, mask_key: secrets.key_leaf(number, channel_key, mask_key),
    "absent_leaf": lambda *, number: secrets.absent_leaf(number),
    "server_leaf": lambda *, nonce: secrets.server_leaf(nonce),
    "merkle_root": lambda *, leaves: merkle_root(leaves),
    "inclusion_proofs": lambda *, leaves: inclusion_proofs(leaves),
    "check_inclusion": lambda *, root, leaf, index, leaves, proof: check_inclusion(
        root, leaf, index=index, leaves=leaves, proof=proof
    ),
    "deal": deal,
    "reconstruct": reconstruct,
    "identity": lambda *, private: Identity(Secret(private)).public,
    "sign": lambda *, private, label, parts: Identity(Secret(private)).sign(label, *parts),
    "verify": lambda *, public, signature, label, parts: verify(public, signature, label, *parts),
    "roster_digest": lambda *, identities: (
        Roster({int(number): identity for number, identity in identities.items()}).digest
    ),
    "params_digest": lambda *, params: SessionParams.from_bytes(params).digest,
    "keys_digest": lambda *, params: SessionParams.from_bytes(params).keys_digest,
    "set_bits": lambda *, cohort, members: agreement.to_bits(tuple(cohort), members),
    "neighbours": neighbours,
    "witnesses": witnesses,
    "plan": plan,
    "quorum": quorum,
    **values_kahe.FUNCTIONS,
}


def evaluate(case: dict[str, Any]) -> tuple[dict[str, Any], PrivflError | None]:
    """What comes out of a case, from what goes in."""
    arguments = {key: from_json(key, value) for key, value in case.items() if key not in {"function", "gives", "fails"}}
    try:
        return {"gives": to_json(FUNCTIONS[case["function"]](**arguments))}, None
    except PrivflError as error:
        return {"fails": type(error).__name__}, error


def to_json(value: Any) -> Any:
    """Bytes as hex, labels by name, the rest as it is."""
    if isinstance(value, Secret):
        return value.reveal().hex()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Label):
        return value.name
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    return value


def from_json(key: str, value: Any) -> Any:
    """The reverse; the name of an argument says what a text stands for."""
    if isinstance(value, str):
        return Label[value] if key == "label" else value if key in NOT_HEX else bytes.fromhex(value)
    if isinstance(value, list):
        return [from_json(key, item) for item in value]
    if isinstance(value, dict):
        return {name: from_json(key, item) for name, item in value.items()}
    return value


# -- the tables -------------------------------------------------------------------------------------------------------


def tables() -> dict[str, dict[str, Any]]:
    """All tables: name to content."""
    good = {name: table(text, make()) for name, (text, make) in TABLES.items()}
    bad = {
        name: table(text, [(function, honest), (function, honest | lie)], fails=fails, match=match)
        for name, (text, function, honest, lie, fails, match) in bad_tables().items()
    }
    return good | bad


def table(text: str, cases: list[Case], *, fails: str = "", match: str = "") -> dict[str, Any]:
    """Evaluate cases; where the last must fail, see that it does for the reason that is meant."""
    rows = []
    for step, (function, arguments) in enumerate(cases, 1):
        row = {"function": function} | to_json(arguments)
        came_out, error = evaluate(row)
        due = fails if step == len(cases) else ""
        if came_out.get("fails", "") != due or (due and not re.search(match, str(error))):
            raise AssertionError(
                f"{text}: {row} gave {came_out} ({error!r}) where {due or 'a value'} {match!r} was meant"
            )
        rows.append(row | came_out)
    expect = {"expect": fails, "step": len(cases)} if fails else {"expect": "values"}
    return {"description": text} | expect | {"cases": rows}


def derivations() -> list[Case]:
    """The keys of one pair of clients, 7 and 300, and what hangs on them."""
    mine, theirs = seeded("values", "private", 7), seeded("values", "private", 300)
    secret, seed = seeded("values", "secret"), seeded("values", "self seed")
    towards = {"private": mine, "peer_public": pair(theirs).public, "session": SESSION, "me": 7, "peer": 300}
    back = {"private": theirs, "peer_public": pair(mine).public, "session": SESSION, "me": 300, "peer": 7}
    pair_seed = {"seed": seeded("values", "pair seed", length=16), "session": SESSION}
    return [
        ("fixed_entropy", {"seed": seeded("values", "entropy", length=16), "lengths": [1, 32, 40]}),
        ("public_key", {"private": mine}),
        ("public_key", {"private": theirs}),
        *(("digest", {"label": label, "parts": [b"", label.value, bytes(3)]}) for label in Label),
        ("digest", {"label": Label.SESSION, "parts": []}),
        ("session_id", {"keys_digest": seeded("values", "params"), "root": ROOT}),
        ("bound_session", {"session": SESSION, "context": seeded("values", "context")}),
        *(
            ("derive", {"secret": secret, "salt": SESSION, "label": label, "ends": ends, "length": length})
            for label, ends, length in (
                (Label.MASKING_CHANNEL, [7, 300], 32),
                (Label.MASKING_CHANNEL, [300, 7], 32),
                (Label.MASKING_PAIR, [0, 2**32 - 1], 16),
                (Label.MASKING_SELF, [7], 16),
                (Label.MASKING_SELF, [], 100),
            )
        ),
        ("channel_keys", towards),
        ("channel_keys", back),
        ("pair_seed", towards),
        ("pair_seed", back),
        ("self_mask", {"seed": seed, "session": SESSION, "me": 7}),
        ("commitment", {"seed": seed, "session": SESSION, "me": 7}),
        ("confirmation", pair_seed | {"me": 7, "peer": 300}),
        ("confirmation", pair_seed | {"me": 300, "peer": 7}),
        *(
            ("pairwise_mask", {"seed": pair_seed["seed"], "context": context, "crowd": crowd})
            for context in (bytes(32), seeded("values", "context"))
            for crowd in (b"", b"\x0f")
        ),
        ("sealing_context", {"session": SESSION, "sender": 7, "receiver": 300}),
        ("set_bits", {"cohort": list(range(5, 16)), "members": [5, 7, 12, 15]}),
    ]


def masks() -> list[Case]:
    """Streams of words, added and taken away, at both ends of the ring."""
    return [
        (
            "mask_words",
            {
                "key": seeded("values", "mask", length=16),
                "negative": negative,
                "word_bits": bits,
                "words": [0, 1, 2 ** (bits - 1), 2**bits - 1, 0],
            },
        )
        for bits in (32, 64)
        for negative in (False, True)
    ]


def sealing() -> list[Case]:
    key, context = seeded("values", "channel"), secrets.sealing_context(SESSION, sender=7, receiver=300)
    cases: list[Case] = []
    for length in (0, 1, 16, 64):
        plaintext = (seeded("values", "plaintext") * 2)[:length]
        sealed = aead.seal_once(Secret(key), plaintext, context)
        cases.append(("seal_once", {"key": key, "plaintext": plaintext, "associated": context}))
        cases.append(("open_once", {"key": key, "sealed": sealed, "associated": context}))
    return cases


def leaves_of(count: int) -> list[bytes]:
    return [seeded("values", "leaf", i)[: 5 + i] for i in range(count)]


def merkle() -> list[Case]:
    leaf = {"number": 7, "channel_key": seeded("values", "channel key"), "mask_key": seeded("values", "mask key")}
    cases: list[Case] = [
        ("key_leaf", leaf),
        ("absent_leaf", {"number": 7}),
        ("server_leaf", {"nonce": seeded("values", "leaf nonce")}),
    ]
    for count in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        cases.append(("merkle_root", {"leaves": leaves_of(count)}))
        cases.append(("inclusion_proofs", {"leaves": leaves_of(count)}))
    return [*cases, *(("check_inclusion", included(7, index)) for index in range(7))]


def included(count: int, index: int) -> dict[str, Any]:
    leaves = leaves_of(count)
    return {
        "root": merkle_root(leaves),
        "leaf": leaves[index],
        "index": index,
        "leaves": count,
        "proof": inclusion_proofs(leaves)[index],
    }


def shares() -> list[Case]:
    cases: list[Case] = []
    for points, threshold in (([1], 1), ([1, 2, 3], 2), ([4, 9, 200, 255], 3), ([250, 251, 252, 253, 254, 255], 6)):
        secret, entropy = seeded("values", "shared"), seeded("values", "entropy", threshold, length=16)
        cases.append(("deal", {"secret": secret, "points": points, "threshold": threshold, "entropy": entropy}))
        rows = deal(secret=secret, points=points, threshold=threshold, entropy=entropy)
        cases.append(("reconstruct", {"points": points[-threshold:], "shares": rows[-threshold:]}))
    return cases


def signatures() -> list[Case]:
    private, parts = seeded("identity", 10), [seeded("values", "part"), b""]
    signature = identity_of(10).sign(Label.MASKING_SURVIVORS, *parts)
    signed = {"label": Label.MASKING_SURVIVORS, "parts": parts}
    return [
        ("identity", {"private": private}),
        ("sign", {"private": private} | signed),
        ("verify", {"public": identity_of(10).public, "signature": signature} | signed),
        ("roster_digest", {"identities": {number: identity_of(number).public for number in (10, 11, 300)}}),
    ]


def parameters() -> list[Case]:
    agreed = [
        agree("values", suite_name="plain"),
        agree("values"),
        agree("values", n=7, server=ServerModel.ACTIVE, bound=2**31 - 1),
        agree("values", suite_name="kahe", wire=WireForm.PACKED),
    ]
    agreed += [agree("values", late=True), agree("values", n=7, server=ServerModel.ACTIVE, late=True)]
    kinds = ("params_digest", "keys_digest")
    return [(kind, {"params": params.to_bytes()}) for params in agreed for kind in kinds]


def graphs() -> list[Case]:
    around: list[Case] = [
        ("neighbours", {"clients": clients, "degree": degree, "root": ROOT, "client": number})
        for clients, degree in ((5, 4), (12, 4), (100, 22), (1000, 52))
        for number in (0, 1, clients - 1)
    ]
    return around + [
        ("witnesses", {"clients": clients, "keys_digest": ROOT, "count": count})
        for clients, count in ((5, 5), (12, 1), (12, 7), (100, 31), (1000, 126))
    ]


FIGURES = (
    (100, 0.1, 0.1, "honest-but-curious", 22, 11),
    (1000, 0.05, 0.05, "honest-but-curious", 34, 18),
    (1000, 0.1, 0.1, "honest-but-curious", 52, 28),
    (10_000, 0.1, 0.1, "honest-but-curious", 60, 32),
    (1000, 0.1, 0.1, "active", 162, 118),
    (10_000, 0.05, 0.05, "active", 108, 80),
    (3, 0.1, 0.0, "honest-but-curious", 2, 2),
    (5, 0.1, 0.2, "active", 4, 3),
    (99, 0.1, 0.1, "honest-but-curious", 98, 11),
)
"""Clients, γ, δ, server, and the degree and threshold that the design promises: the only answers written by hand."""


QUORUMS = (
    (5, 0.1, 0.1, 5, 4),
    (99, 0.1, 0.1, 99, 55),
    (100, 0.1, 0.1, 31, 21),
    (300, 0.1, 0.1, 75, 53),
    (1000, 0.1, 0.1, 126, 92),
    (1000, 0.05, 0.05, 68, 51),
    (10_000, 0.05, 0.05, 78, 59),
    (10_000, 0.1, 0.1, 153, 112),
)
"""Clients, γ, δ, and the witnesses and signatures that the design promises: likewise."""


def plans() -> list[Case]:
    for clients, corrupt, dropout, server, degree, threshold in FIGURES:
        planned = plan(clients=clients, corrupt=corrupt, dropout=dropout, server=server)
        if planned != {"degree": degree, "threshold": threshold}:
            raise AssertionError(f"{clients} clients, {corrupt}, {dropout}, {server}: {planned}, not as promised")
    for clients, corrupt, dropout, witnesses, signatures in QUORUMS:
        needed = quorum(clients=clients, corrupt=corrupt, dropout=dropout)
        if needed != {"witnesses": witnesses, "signatures": signatures}:
            raise AssertionError(f"{clients} clients, {corrupt}, {dropout}: {needed}, not as promised")
    keys = ("clients", "corrupt", "dropout", "server")
    return [("plan", dict(zip(keys, figure, strict=False))) for figure in FIGURES] + [
        ("quorum", dict(zip(keys[:3], figure, strict=False))) for figure in QUORUMS
    ]


TABLES: dict[str, tuple[str, Callable[[], list[Case]]]] = {
    "derivations": ("keys, seeds, commitments and digests of one pair of clients", derivations),
    "masks": ("AES-128-CTR streams added to words and taken away", masks),
    "sealing": ("AES-256-GCM under keys that are used once", sealing),
    "merkle": ("leaves, roots and inclusion proofs of trees of one to nine leaves", merkle),
    "shamir": ("shares over GF(2^8), dealt from fixed entropy, and secrets rebuilt", shares),
    "signatures": ("Ed25519 over digests, and the digest of a roster", signatures),
    "params": ("session parameters and their digests", parameters),
    "graph": ("neighbours and the points of their shares, for a few clients, and the witnesses", graphs),
    "planner": ("degree, threshold and quorum for numbers of clients and threat models", plans),
    **values_kahe.TABLES,
}


def bad_tables() -> dict[str, tuple[str, str, dict[str, Any], dict[str, Any], str, str]]:
    """Description, function, an honest case, what is changed in it, and the failure that is due."""
    place = included(7, 3)
    [_, (_, opening), *_] = sealing()
    [(_, _), _, (_, verified), *_] = signatures()
    params = agree("values").to_bytes()
    rebuilt: dict[str, Any] = shares()[3][1]
    refused = "RemoteProtocolError"
    not_included, not_signed = "not included under the root", "does not hold"
    return {
        "merkle_bad_sibling": (
            "one bit of a proof", "check_inclusion", place, {"proof": flipped(place["proof"])}, refused, not_included,
        ),
        "merkle_bad_length": (
            "a proof with 32 bytes too many",
            "check_inclusion", place, {"proof": place["proof"] + bytes(32)}, refused, not_included,
        ),
        "merkle_bad_place": (
            "a leaf at its neighbour's place", "check_inclusion", place, {"index": 2}, refused, not_included
        ),
        "merkle_bad_node_as_leaf": (
            "an inner node posing as a leaf of a smaller tree",
            "check_inclusion", place, node_as_leaf(place), refused, not_included,
        ),
        "sealing_bad_tag": (
            "one bit of a tag", "open_once", opening, {"sealed": flipped(opening["sealed"])}, "DecodeError", "altered"
        ),
        "sealing_bad_direction": (
            "shares from 7 to 300 as if they were from 300 to 7", "open_once", opening,
            {"associated": secrets.sealing_context(SESSION, sender=300, receiver=7)}, "DecodeError", "wrong context",
        ),
        "signatures_bad_label": (
            "a signature of survivors read as one of keys",
            "verify", verified, {"label": Label.MASKING_ADVERTISEMENT}, refused, not_signed,
        ),
        "signatures_bad_split": (
            "the same bytes split into other parts",
            "verify", verified, {"parts": [b"", verified["parts"][0]]}, refused, not_signed,
        ),
        "shamir_bad_points": (
            "the same holder twice", "reconstruct", rebuilt, {"points": [3, 3]}, "ReconstructionError", "distinct"
        ),
        "params_bad_encoding": (
            "a longer msgpack encoding of the same parameters", "params_digest",
            {"params": params}, {"params": b"\xdc\x00" + bytes([params[0] & 0x0F]) + params[1:]},
            "DecodeError", "not canonically encoded",
        ),
        "planner_bad_fractions": (
            "a third corrupt and a third dropping, with a server that lies: nothing withstands that", "plan",
            {"clients": 1000, "corrupt": 0.1, "dropout": 0.1, "server": "active"}, {"corrupt": 0.33, "dropout": 0.33},
            "ConfigurationError", "lower one of them",
        ),
        "planner_bad_quorum": (
            "half of ten clients dropping: five are left, and six must sign", "quorum",
            {"clients": 10, "corrupt": 0.1, "dropout": 0.4}, {"dropout": 0.5},
            "ConfigurationError", "5 of 10 clients are left after .* 6 signatures are needed",
        ),
    }  # fmt: skip


def node_as_leaf(place: dict[str, Any]) -> dict[str, Any]:
    """Leaf 3 of 7 hangs under the node of leaves 2 and 3: that node, at place 1 of 4, with the rest of the proof."""
    left, right = (digest(Label.MERKLE_LEAF, leaf) for leaf in leaves_of(7)[2:4])
    return {"leaf": left + right, "index": 1, "leaves": 4, "proof": place["proof"][32:]}
