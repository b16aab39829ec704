"""What all parties of a key ceremony compute alike: names, digests, whose dealings hold, and the joint key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from privfl.ckks import sharing
from privfl.ckks.ceremony_params import CeremonyParams
from privfl.ckks.key import KeyStatement
from privfl.ckks.messages import COMBINED_BYTES
from privfl.ckks.modulus import PRIMES, Modulus, Residues
from privfl.ckks.planner import modulus_of
from privfl.errors import RemoteProtocolError
from privfl.primitives.labels import Label
from privfl.primitives.signatures import verify
from privfl.primitives.transcript import digest, merkle_root, session_id


def body_limit_bytes(params: CeremonyParams) -> int:
    """Longest struct of a ceremony's messages: every other member's part and share."""
    modulus, members = modulus_of(params.epoch), params.epoch.committee.members
    share = modulus.vector_bytes(modulus.degree + sharing.COMBINATIONS)
    return 4096 + members * (2 * share + members * COMBINED_BYTES + 512)


def check_advertisement(params: CeremonyParams, member: int, key: bytes, signature: bytes) -> None:
    """Raise unless a member of the roster advertised this key.

    Raises:
        RemoteProtocolError: it did not.
    """
    identity = params.roster.identities.get(member)
    if identity is None:
        raise RemoteProtocolError(f"member {member} is not on the committee's roster")
    verify(identity, signature, Label.CKKS_ADVERTISEMENT, params.digest, number_bytes(member), key)


def ceremony_id(params: CeremonyParams, keys: Mapping[int, bytes]) -> bytes:
    """Name the ceremony: by what was agreed, and all advertised keys."""
    return session_id(params.digest, merkle_root([number_bytes(member) + keys[member] for member in sorted(keys)]))


def commitment_to(session: bytes, member: int, part: bytes) -> bytes:
    """Digest of a part of the key, 32 bytes. Hiding: a part has thousands of bits of entropy."""
    return digest(Label.CKKS_COMMITMENT, session, number_bytes(member), part)


def qualified_dealers(
    params: CeremonyParams, dealers: Sequence[int], said: Mapping[int, Sequence[bytes]]
) -> tuple[int, ...]:
    """Return the members whose dealings hold, from what members said of all dealings.

    Raises:
        RemoteProtocolError: too few are left, or what was said is malformed.
    """
    modulus, threshold, members = modulus_of(params.epoch), params.epoch.committee.threshold, sorted(said)
    if len(members) < threshold or any(len(combined) != len(dealers) for combined in said.values()):
        raise RemoteProtocolError("combinations of too few members, or not of every dealer")
    qualified = []
    for place, dealer in enumerate(dealers):
        column = [said[member][place] for member in members]
        if dealer in said and all(column):
            combined = [_combined_residues(modulus, raw) for raw in column]
            if sharing.consistent(modulus, combined, holders=members, threshold=threshold):
                qualified.append(dealer)
    if len(qualified) < threshold:
        raise RemoteProtocolError(f"{len(qualified)} dealings hold, and {threshold} are needed (committee.threshold)")
    return tuple(qualified)


def statement_of(params: CeremonyParams, session: bytes, parts: Mapping[int, bytes]) -> KeyStatement:
    """Form the joint key from the parts of the qualified members."""
    modulus = modulus_of(params.epoch)
    total = np.zeros((PRIMES, modulus.degree), np.int64)
    for part in parts.values():
        modulus.add(total, modulus.unpack(part, modulus.degree))
    return KeyStatement(
        epoch=params.epoch,
        roster_digest=params.roster.digest,
        ceremony=session,
        qualified=tuple(sorted(parts)),
        parts=tuple(hashlib.sha256(parts[dealer]).digest() for dealer in sorted(parts)),
        own=modulus.packed(total),
    )


def names_share(digests: bytes, sealed: bytes, place: int) -> bool:
    """Whether a dealer's list of digests names this sealed share at its holder's place."""
    return digests[32 * place : 32 * place + 32] == hashlib.sha256(sealed).digest()


def combined_bytes(combined: Residues) -> bytes:
    """Write combinations, int64, shape (2, `COMBINATIONS`)."""
    return combined.astype(">i8").tobytes()


def check_combined(modulus: Modulus, raw: bytes) -> None:
    """Raise unless this is a complaint, or combinations of residues.

    Raises:
        RemoteProtocolError: it is neither.
    """
    if raw:
        _combined_residues(modulus, raw)


def _combined_residues(modulus: Modulus, raw: bytes) -> Residues:
    if len(raw) != COMBINED_BYTES:
        raise RemoteProtocolError("combinations of another length")
    combined = np.frombuffer(raw, ">i8").astype(np.int64).reshape(PRIMES, sharing.COMBINATIONS)
    primes = np.array(modulus.primes)[:, None]
    if ((combined < 0) | (combined >= primes)).any():
        raise RemoteProtocolError("a combination that is no residue")
    return combined


def number_bytes(number: int) -> bytes:
    """Write a member's number."""
    return number.to_bytes(4, "big")
