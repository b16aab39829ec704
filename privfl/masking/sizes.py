"""How long a session's messages are, of `masking` and of the inner session of `kahe`.

Keys, uploads and signatures have one length. `ShareKeys` and `Unmask` have an entry for each neighbour that is still
there, whose number takes one to five bytes. Which neighbours those are, the graph and the drop-outs decide: every
choice of as many others as can be there is reckoned with. Of sums of lengths only the set counts, which is kept as the
bits of a whole number: bit b stands for b bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Final

from privfl.lockstep.sizes import MessageSizes, SessionSizes, body_bytes, frame_bytes
from privfl.masking import planner
from privfl.masking.graph import draw_witnesses
from privfl.masking.messages import (
    CONFIRMATION_BYTES,
    KEY_ID_BYTES,
    PAIR_SEED_BYTES,
    SEALED_BYTES,
    SECRET_BYTES,
    AdvertiseKeys,
    ConsistencyCheck,
    DroppedShare,
    MaskedInput,
    ShareKeys,
    SurvivorShare,
    Unmask,
)
from privfl.params import MaskingSetting, ServerModel, SessionParams
from privfl.primitives.signatures import SIGNATURE_BYTES
from privfl.primitives.transcript import DIGEST_BYTES
from privfl.session import Phase
from privfl.wire import Role, envelope_bytes

_LARGEST: Final = 2**32 - 1
_KEY: Final = bytes(32)  # of X25519


def session_sizes(params: SessionParams, setting: MaskingSetting, *, upload_bytes: int) -> SessionSizes:
    """Return what may leave the clients, asked by a server that follows the protocol.

    A server that lies about who is there could have them send other numbers of entries.

    Args:
        params: the session's parameters.
        setting: of its masks, verified.
        upload_bytes: length of the vector behind MaskedInput.
    """
    clients, threshold = len(params.cohort), setting.threshold
    active = params.threat.server is ServerModel.ACTIVE
    # Of neighbours as many are missing at most as of the cohort; and whoever goes on has t that do.
    fewest = max(threshold, setting.degree - (clients - params.minimum_contributors))
    contributors = max(params.minimum_contributors, threshold + 1)
    if active:
        contributors = max(contributors, planner.fewest_contributors(clients, params.threat))
    groups = tuple(_groups(params.cohort, setting.degree))

    def by_neighbours(lengths: Callable[[tuple[int, ...]], int], fewest_senders: int) -> MessageSizes:
        return MessageSizes(
            by_sender=tuple((group, _frames(lengths(numbers))) for group, numbers in groups),
            fewest_senders=fewest_senders,
            most_senders=clients,
        )

    keys = AdvertiseKeys(
        channel_key=_KEY,
        mask_key=_KEY,
        key_id=bytes(KEY_ID_BYTES if active else 0),
        signature=bytes(SIGNATURE_BYTES if active else 0),
    )
    sizes = {
        Phase.ADVERTISE_KEYS: MessageSizes.exactly(frame_bytes(keys), params.cohort, fewest_senders=contributors),
        Phase.SHARE_KEYS: by_neighbours(lambda numbers: _share_keys(numbers, fewest), fewest_senders=contributors),
        Phase.MASKED_INPUT: MessageSizes.exactly(
            frame_bytes(MaskedInput(), upload_bytes), params.cohort, fewest_senders=contributors
        ),
        Phase.UNMASK: by_neighbours(lambda numbers: _unmask(numbers, fewest, threshold), fewest_senders=threshold),
    }
    if active:
        quorum = planner.quorum(clients, params.threat)
        signed = ConsistencyCheck(signature=bytes(SIGNATURE_BYTES))
        witnesses = draw_witnesses(params.cohort, quorum.witnesses, params.keys_digest)
        sizes[Phase.CONSISTENCY_CHECK] = MessageSizes.exactly(
            frame_bytes(signed), witnesses, fewest_senders=quorum.signatures
        )
    return {(Role.CLIENT, phase): one for phase, one in sizes.items()}


def _share_keys(numbers: tuple[int, ...], fewest: int) -> int:
    """Lengths of ShareKeys, as bits.

    Args:
        numbers: lengths of the numbers of m neighbours together, as bits, for m = 0 … k.
        fewest: neighbours that are there at least.
    """
    lengths = 0
    for peers in range(fewest, len(numbers)):
        lengths |= numbers[peers] << _share_keys_bytes(peers)
    return lengths


def _unmask(numbers: tuple[int, ...], fewest: int, threshold: int) -> int:
    """Lengths of Unmask, as bits.

    An entry of a dropped neighbour has the pair's seed besides. An entry is without its share where the neighbour
    sealed rubbish; as many shares as the threshold were readable, or the client would not have uploaded.

    Args:
        numbers: as for `_share_keys`.
        fewest: neighbours that survived at least.
        threshold: t.
    """
    untold = SurvivorShare(number=0, share=b"")
    share = body_bytes(SurvivorShare(number=0, share=bytes(SECRET_BYTES))) - body_bytes(untold)
    seed = body_bytes(DroppedShare(number=0, share=b"", pair_seed=bytes(PAIR_SEED_BYTES))) - body_bytes(untold)
    lengths = 0
    for peers in range(fewest, len(numbers)):
        of_peers = numbers[peers] << (_untold_unmask_bytes(peers) + share * threshold)
        lengths |= _spread(_spread(of_peers, share, peers - threshold), seed, peers - fewest)
    return lengths


@cache
def _share_keys_bytes(peers: int) -> int:
    """Length of ShareKeys without the peers' numbers."""
    message = ShareKeys(
        commitment=bytes(DIGEST_BYTES),
        peers=_longest_numbers(peers),
        sealed=bytes(SEALED_BYTES * peers),
        confirmations=bytes(CONFIRMATION_BYTES * peers),
    )
    return body_bytes(message) - peers * body_bytes(_LARGEST)


@cache
def _untold_unmask_bytes(peers: int) -> int:
    """Length of Unmask without shares, seeds and the peers' numbers."""
    entries = tuple(SurvivorShare(number=number, share=b"") for number in _longest_numbers(peers))
    return body_bytes(Unmask(self_seed=bytes(SECRET_BYTES), entries=entries)) - peers * body_bytes(_LARGEST)


def _longest_numbers(count: int) -> tuple[int, ...]:
    return tuple(range(_LARGEST + 1 - count, _LARGEST + 1))


def _groups(cohort: tuple[int, ...], degree: int) -> Iterator[tuple[frozenset[int], tuple[int, ...]]]:
    """Yield clients whose numbers are equally long, each with what `_sums` tells of the others' numbers."""
    alike: dict[int, list[int]] = {}
    for number in cohort:
        alike.setdefault(body_bytes(number), []).append(number)
    for own, group in alike.items():
        # More than the degree of one kind is as good as the degree: then cohorts have few different answers.
        others = tuple((length, min(len(kind) - (length == own), degree)) for length, kind in alike.items())
        yield frozenset(group), _sums(others, degree)


@lru_cache(maxsize=64)
def _sums(others: tuple[tuple[int, int], ...], most: int) -> tuple[int, ...]:
    """Return what m numbers may take together, in bytes as bits, for m = 0 … `most`.

    Args:
        others: (length of a number, how many such numbers there are).
        most: neighbours.
    """
    sums = [1] + [0] * most
    for length, count in others:
        longer = [0] * (most + 1)
        for taken in range(count + 1):
            for before in range(most + 1 - taken):
                longer[before + taken] |= sums[before] << (taken * length)
        sums = longer
    return tuple(sums)


def _spread(lengths: int, step: int, times: int) -> int:
    """Add nothing, or once to `times` times a step, to lengths as bits."""
    done = 0
    while done < times:
        more = min(done + 1, times - done)
        lengths |= lengths << (step * more)
        done += more
    return lengths


def _frames(lengths: int) -> frozenset[int]:
    """Return the lengths of frames with structs of such lengths, as bits."""
    return frozenset(envelope_bytes(length) for length, bit in enumerate(reversed(f"{lengths:b}")) if bit == "1")
