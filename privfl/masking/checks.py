"""What a client checks before it tells anything; each check is one function, and each has a test that breaks it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from privfl.errors import DisclosureRefused
from privfl.masking.messages import MaskedInputRequest, ShareKeysRequest, UnmaskRequest
from privfl.wire import SERVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client insists on, from the agreed parameters and its own policy.

    Attributes:
        me: its number.
        threshold: t.
        minimum: fewest contributors.
        cohort_size: n.
        complete: whether the graph is complete, so that a client sees everybody and can count for itself.
        signatures: of witnesses, that must be seen in the active model; 0 in the other.
    """

    me: int
    threshold: int
    minimum: int
    cohort_size: int
    complete: bool
    signatures: int


def check_neighbours(request: ShareKeysRequest, allowed: AbstractSet[int], limits: Limits) -> None:
    """Before sharing keys: the neighbours are the graph's, and enough to hold the shares."""
    numbers = {neighbour.number for neighbour in request.neighbours}
    _refuse(limits.me in numbers, "the client itself is listed as its neighbour")
    _refuse(not numbers <= allowed, f"clients {sorted(numbers - allowed)} are no neighbours in the agreed graph")
    _refuse(
        len(numbers) < limits.threshold,
        f"{len(numbers)} neighbours cannot hold shares with a threshold of {limits.threshold}",
    )


def check_participants(request: MaskedInputRequest, keyed: AbstractSet[int], limits: Limits) -> None:
    """Before the upload: shares come from neighbours whose keys are known, and the crowd is large enough."""
    peers = set(request.peers)
    _refuse(not peers <= keyed, f"shares from clients {sorted(peers - keyed)}, whose keys were never named")
    _refuse(
        len(peers) < limits.threshold,
        f"{len(peers)} neighbours shared keys, fewer than the threshold of {limits.threshold}",
    )
    _check_count("participants", request.participants, len(peers), limits)


def check_opened(opened: int, limits: Limits) -> None:
    """Before the upload: enough shares could be read, so that the round can be opened later."""
    _refuse(opened < limits.threshold, f"{opened} shares open, fewer than the threshold of {limits.threshold}")


def check_disjoint(request: UnmaskRequest) -> None:
    """Nobody both survived and dropped: both shares of one peer would open its vector."""
    both = set(request.survivors) & set(request.dropped)
    _refuse(bool(both), f"clients {sorted(both)} are listed as survivors and as dropped")


def check_not_self(request: UnmaskRequest, limits: Limits) -> None:
    """A client is in neither list of its own neighbours."""
    _refuse(limits.me in request.survivors, "the client itself is listed as its own surviving neighbour")
    _refuse(limits.me in request.dropped, "the client itself, who is being asked, is listed as dropped")


def check_known(request: UnmaskRequest, alive: AbstractSet[int]) -> None:
    """Only neighbours that were masked with may be named: all others' shares stay untold."""
    named = set(request.survivors) | set(request.dropped)
    _refuse(not named <= alive, f"clients {sorted(named - alive)} were not masked with")


def check_complete(request: UnmaskRequest, alive: AbstractSet[int]) -> None:
    """Every neighbour that was masked with is accounted for."""
    missing = alive - set(request.survivors) - set(request.dropped)
    _refuse(bool(missing), f"clients {sorted(missing)} neither survived nor dropped")


def check_survivors(request: UnmaskRequest, limits: Limits) -> None:
    """Enough survivors: at least the threshold among the neighbours."""
    _refuse(
        len(request.survivors) < limits.threshold,
        f"{len(request.survivors)} surviving neighbours, fewer than the threshold of {limits.threshold}",
    )


def check_contributors(request: UnmaskRequest, participants: int, limits: Limits) -> None:
    """Enough contributors to hide among, and no more than took part."""
    _check_count("contributors", request.contributors, len(request.survivors), limits)
    _refuse(
        request.contributors > participants,
        f"{request.contributors} contributors, more than the {participants} participants announced before",
    )


def check_no_crowd(request: MaskedInputRequest) -> None:
    """Honest-but-curious model: the participants are the server's word, and no set of them is shown."""
    _refuse(bool(request.participant_bits), "a set of participants in a session without signatures")


def check_no_proofs(request: ShareKeysRequest) -> None:
    """Honest-but-curious model: keys are the server's word, and nothing is shown for them."""
    shown = bool(request.own_proof) or any(peer.key_id or peer.signature or peer.proof for peer in request.neighbours)
    _refuse(shown, "signatures or proofs of keys in a session without signatures")


def check_no_signatures(request: UnmaskRequest) -> None:
    """Honest-but-curious model: the survivors are the server's word, and nobody signs for them."""
    shown = request.participant_bits or request.survivor_bits or request.signers or request.signatures
    _refuse(bool(shown), "signed sets of clients in a session without signatures")


def check_same_crowd(participants: bytes, crowd: bytes) -> None:
    """Active model: the participants are those that the client's masks were made for."""
    _refuse(participants != crowd, "the participants differ from those that this client's masks were made for")


def check_crowd(
    participants: AbstractSet[int], request: MaskedInputRequest, neighbours: AbstractSet[int], limits: Limits
) -> None:
    """Active model, before the upload: the peers to mask with are exactly the neighbours among the participants.

    The masks follow from the set that is checked here, and it is what is signed and unmasked later: nobody can have
    thinned out the graph.
    """
    around, peers = participants & neighbours, set(request.peers)
    _refuse(limits.me not in participants, "the client itself is not in the set of participants")
    _refuse(
        around != peers,
        f"clients {sorted(around ^ peers)} are participants to the server and no peers to mask with, or the reverse",
    )
    _refuse(
        len(participants) != request.participants,
        f"{len(participants)} participants, where {request.participants} are announced",
    )


def check_survivor_set(
    survivors: AbstractSet[int], participants: AbstractSet[int], neighbours: AbstractSet[int], limits: Limits
) -> None:
    """Active model: the client is among the survivors, and they are enough."""
    around = survivors & neighbours
    _refuse(limits.me not in survivors, "the client itself, whose vector was taken, is not in the set of survivors")
    _refuse(not survivors <= participants, f"survivors {sorted(survivors - participants)} never took part")
    _refuse(
        len(around) < limits.threshold,
        f"{len(around)} surviving neighbours, fewer than the threshold of {limits.threshold}",
    )
    _check_count("contributors", len(survivors), len(around), limits)


def check_witness(witnesses: AbstractSet[int], limits: Limits) -> None:
    """Active model: only witnesses are asked to sign."""
    _refuse(limits.me not in witnesses, "this client is no witness of the session, and signs no sets")


def check_signed_by_itself(request: UnmaskRequest, participants: bytes, survivors: bytes) -> None:
    """Active model: a witness unmasks what it has signed, and nothing else."""
    _refuse(
        (request.participant_bits, request.survivor_bits) != (participants, survivors),
        "the request differs from the sets that this client signed",
    )


def check_told_of(request: UnmaskRequest, survivors: AbstractSet[int], alive: AbstractSet[int]) -> None:
    """Active model: what is asked follows from the sets that the witnesses signed."""
    told = (set(request.survivors), set(request.dropped), request.contributors)
    _refuse(
        told != (alive & survivors, alive - survivors, len(survivors)),
        "the request differs from the set of survivors that was signed",
    )


def check_signers(request: UnmaskRequest, witnesses: AbstractSet[int]) -> None:
    """Active model: signatures are shown of witnesses only."""
    strangers = set(request.signers) - witnesses
    _refuse(bool(strangers), f"signatures of clients {sorted(strangers)}, who are no witnesses")


def check_quorum(held: int, limits: Limits) -> None:
    """Active model: a quorum of the witnesses signed these sets; two quorums share an honest witness."""
    _refuse(
        held < limits.signatures,
        f"{held} of the witnesses signed these sets, fewer than the quorum of {limits.signatures}",
    )


def check_unmask(request: UnmaskRequest, alive: AbstractSet[int], participants: int, limits: Limits) -> None:
    """Everything that must hold before a share is told."""
    check_disjoint(request)
    check_not_self(request, limits)
    check_known(request, alive)
    check_complete(request, alive)
    check_survivors(request, limits)
    check_contributors(request, participants, limits)


def _check_count(what: str, count: int, neighbours: int, limits: Limits) -> None:
    _refuse(count < limits.minimum, f"{count} {what}, fewer than this client's minimum of {limits.minimum}")
    _refuse(count > limits.cohort_size, f"{count} {what} in a cohort of {limits.cohort_size}")
    _refuse(
        count < neighbours + 1,
        f"{count} {what}, fewer than the {neighbours} neighbours and the client itself",
    )
    _refuse(
        limits.complete and count != neighbours + 1,
        f"{count} {what}, but in the complete graph the client sees {neighbours + 1}",
    )


def _refuse(broken: bool, why: str) -> None:  # noqa: FBT001 - reads as "refuse if"
    if broken:
        raise DisclosureRefused(why, peer=SERVER)
