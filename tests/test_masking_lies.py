"""Clients that lie inside the protocol: they lose their own place, or the round ends; no wrong sum comes out."""

import msgspec
import numpy as np
import pytest
from harness import Play, make_params, read

from privfl import DecodeError, Phase, RemoteProtocolError, RoundAborted, ThreatModel, client
from privfl.errors import ReconstructionError
from privfl.masking import recovery, secrets
from privfl.masking.graph import Graph
from privfl.masking.messages import AdvertiseKeys, DroppedShare, MaskedInput, ShareKeys, SurvivorShare, Unmask
from privfl.masking.recovery import ShareTable
from privfl.primitives import shamir
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.keys import KeyPair
from privfl.primitives.secret import Secret

LIAR = 12


def change(message, **fields):
    return msgspec.structs.replace(message, **fields)


def flip(raw, position=0):
    return raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]


def finish(play, *, without=frozenset()):
    """Everybody else goes on; the sum is over exactly them."""
    while play.server.phase is not Phase.FINISHED:
        play.step(silent=without)
    contributors = set(play.params.cohort) - set(without)
    assert play.server.result.contributors == len(contributors)
    assert (play.server.result.vector == play.exact_sum(contributors)).all()


def refused(play, response, match=None):
    with pytest.raises(RemoteProtocolError, match=match) as caught:
        play.server.receive(client(LIAR), response)
    assert caught.value.peer == client(LIAR)
    assert client(LIAR) in play.server.waiting


# -- AdvertiseKeys ----------------------------------------------------------------------------------------------------

LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("weak", LOW_ORDER)
@pytest.mark.parametrize("field", ["channel_key", "mask_key"])
def test_low_order_keys_cost_their_sender_its_place_and_nobody_else_anything(weak, field):
    play = Play(n=6)
    honest = read(play.answer(LIAR), AdvertiseKeys)
    refused(play, play.forge_response(LIAR, change(honest, **{field: weak})), "low order")
    finish(play, without={LIAR})


def test_a_key_that_is_not_its_own_makes_the_liar_quarrel_with_everybody_and_lose_its_place():
    play = Play(n=6)
    honest = read(play.answer(LIAR), AdvertiseKeys)
    other = KeyPair.generate(OsEntropy()).public
    play.server.receive(client(LIAR), play.forge_response(LIAR, change(honest, mask_key=other)))
    for number in set(play.params.cohort) - {LIAR}:
        play.deliver(number)
    play.server.advance()
    play.step()
    assert client(LIAR) not in play.server.waiting
    assert len(play.server.waiting) == 5
    finish(play, without={LIAR})


# -- ShareKeys --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sharing():
    return Play(n=7).to(Phase.SHARE_KEYS)


def test_wrong_confirmations_to_everybody_cost_the_liar_its_place(sharing):
    honest = read(sharing.answer(LIAR), ShareKeys)
    lie = bytes(byte ^ 1 for byte in honest.confirmations)
    sharing.server.receive(client(LIAR), sharing.forge_response(LIAR, change(honest, confirmations=lie)))
    for party in sorted(sharing.server.waiting):
        sharing.deliver(party.number)
    sharing.server.advance()
    assert {party.number for party in sharing.server.waiting} == set(sharing.params.cohort) - {LIAR}
    finish(sharing, without={LIAR})


def test_a_wrong_confirmation_to_one_neighbour_costs_nobody_its_place(sharing):
    honest = read(sharing.answer(LIAR), ShareKeys)
    lie = change(honest, confirmations=flip(honest.confirmations))  # the first peer is client 10
    sharing.server.receive(client(LIAR), sharing.forge_response(LIAR, lie))
    for party in sorted(sharing.server.waiting):
        sharing.deliver(party.number)
    sharing.server.advance()
    assert {party.number for party in sharing.server.waiting} == set(sharing.params.cohort)
    finish(sharing)


def contested(play, *, liar=LIAR, peers=(10,)):
    """The liar contradicts some of its neighbours about their seeds; everybody else is honest."""
    honest = read(play.answer(liar), ShareKeys)
    lie = bytearray(honest.confirmations)
    for peer in peers:
        lie[16 * honest.peers.index(peer)] ^= 1
    play.server.receive(client(liar), play.forge_response(liar, change(honest, confirmations=bytes(lie))))


@pytest.mark.parametrize("gone", [LIAR, 10, 11])
def test_a_contested_pair_is_settled_whoever_drops(sharing, gone):
    contested(sharing)
    finish(sharing, without={gone})


def spoil_table(play, dealer):
    """Every share of one dealer's secret turns out to be rubbish."""
    for shares in play.server._step._shares._told.values():
        if dealer in shares:
            shares[dealer] = bytes(32)


def everybody_answers(play):
    for party in sorted(play.server.waiting):
        play.deliver(party.number)


def the_liar_drops_and_its_shares_are_rubbish(play):
    """From ShareKeys to where the server would rebuild the liar's key."""
    everybody_answers(play)
    play.server.advance()
    play.step(silent={LIAR})
    everybody_answers(play)
    spoil_table(play, LIAR)


def test_a_contested_pair_is_settled_by_the_survivors_word_if_the_dropped_liar_dealt_rubbish(sharing):
    contested(sharing)
    the_liar_drops_and_its_shares_are_rubbish(sharing)
    sharing.server.advance()
    contributors = set(sharing.params.cohort) - {LIAR}
    assert (sharing.server.result.vector == sharing.exact_sum(contributors)).all()


def test_a_key_that_is_lost_is_searched_for_once_however_many_pairs_contest_it(monkeypatch):
    """One liar that contradicts t − 1 neighbours, deals rubbish and drops: t − 1 searches would cost minutes."""
    play = Play(n=12, threat=ThreatModel(corrupt=0.3, dropout=0.2)).to(Phase.SHARE_KEYS)
    peers = [number for number in play.params.cohort if number != LIAR][: play.params.setting.threshold - 1]
    assert len(peers) > 2
    contested(play, peers=peers)
    the_liar_drops_and_its_shares_are_rubbish(play)
    searches = []
    original = ShareTable.rebuild_mask_key

    def counting(self, number, **options):
        searches.append(number)
        return original(self, number, **options)

    monkeypatch.setattr(ShareTable, "rebuild_mask_key", counting)
    play.server.advance()
    assert searches == [LIAR]
    assert (play.server.result.vector == play.exact_sum(set(play.params.cohort) - {LIAR})).all()


def test_a_contested_pair_of_which_the_survivor_lied_is_settled_from_shares(sharing):
    """The liar confirmed another seed to client 10, and tells it when 10 has dropped: the truth is in the shares."""
    wrong = Secret(bytes(16))
    honest = read(sharing.answer(LIAR), ShareKeys)
    session = sharing.server._step.session
    told = secrets.confirmation(wrong, session=session, me=LIAR, peer=10)
    index = honest.peers.index(10)
    confirmations = honest.confirmations[: 16 * index] + told + honest.confirmations[16 * (index + 1) :]
    lie = change(honest, confirmations=confirmations)
    sharing.server.receive(client(LIAR), sharing.forge_response(LIAR, lie))
    for party in sorted(sharing.server.waiting):
        sharing.deliver(party.number)
    sharing.server.advance()
    sharing.step(silent={10})
    answer = read(sharing.answer(LIAR), Unmask)
    entries = tuple(
        change(entry, pair_seed=wrong.reveal()) if entry.number == 10 else entry for entry in answer.entries
    )
    sharing.server.receive(client(LIAR), sharing.forge_response(LIAR, change(answer, entries=entries)))
    sharing.step()
    assert (sharing.server.result.vector == sharing.exact_sum(set(sharing.params.cohort) - {10})).all()


def test_liars_cannot_have_an_honest_client_left_out():
    """As many liars as the model allows contradict one honest client: it stays, and so do they."""
    play = Play(n=10)  # two corrupt of ten: threshold 3
    play.to(Phase.SHARE_KEYS)
    for liar in (18, 19):
        contested(play, liar=liar, peers=(10,))
    for party in sorted(play.server.waiting):
        play.deliver(party.number)
    play.server.advance()
    assert client(10) in play.server.waiting
    finish(play)


def test_one_liar_does_not_end_a_small_round():
    play = Play(n=4)
    play.to(Phase.SHARE_KEYS)
    contested(play, liar=13, peers=(10,))
    finish(play)


def test_false_confirmations_cannot_cut_the_ring():
    """Colluders who expelled honest clients could split the ring into arcs, whose sums the server would read apart."""
    from privfl import ThreatModel

    play = Play(make_params(n=120, length=4, threat=ThreatModel(corrupt=0.1, dropout=0.1)))
    play.to(Phase.SHARE_KEYS)
    liars = play.params.cohort[::10]
    for liar in liars:
        peers = [peer for peer in play.server._step._peers(liar) if peer not in liars]
        contested(play, liar=liar, peers=peers[: play.params.setting.threshold - 1])
    for party in sorted(play.server.waiting):
        play.deliver(party.number)
    play.server.advance()
    assert {party.number for party in play.server.waiting} >= set(play.params.cohort) - set(liars)
    finish(play)


def test_shares_for_other_peers_than_named_are_refused(sharing):
    honest = read(sharing.answer(LIAR), ShareKeys)
    fewer = change(honest, peers=honest.peers[1:], sealed=honest.sealed[80:], confirmations=honest.confirmations[16:])
    refused(sharing, sharing.forge_response(LIAR, fewer), "other peers")
    finish(sharing, without={LIAR})


def test_sealed_rubbish_harms_the_dealer_only(sharing):
    honest = read(sharing.answer(LIAR), ShareKeys)
    rubbish = change(honest, sealed=bytes(len(honest.sealed)))
    sharing.server.receive(client(LIAR), sharing.forge_response(LIAR, rubbish))
    finish(sharing)  # it is masked with all the same, and its own answers unmask it


def test_sealed_rubbish_of_a_dealer_that_drops_is_worked_around_by_direct_seeds(sharing):
    honest = read(sharing.answer(LIAR), ShareKeys)
    rubbish = change(honest, sealed=bytes(len(honest.sealed)))
    sharing.server.receive(client(LIAR), sharing.forge_response(LIAR, rubbish))
    finish(sharing, without={LIAR})


def test_inconsistent_dealing_ends_the_round_if_the_dealer_then_vanishes():
    play = Play(n=6, threshold=3).to(Phase.SHARE_KEYS)
    honest_deal = shamir.deal

    def inconsistent(secret, **arguments):
        shares = honest_deal(secret, **arguments)
        return shares ^ np.arange(1, len(shares) + 1, dtype=np.uint8)[:, None] ** 3

    shamir.deal = inconsistent
    try:
        play.deliver(LIAR)
    finally:
        shamir.deal = honest_deal
    play.step()
    play.step()
    with pytest.raises(RoundAborted, match=f"client {LIAR}'s .* contradict what it committed to"):
        play.step(silent={LIAR})
    assert play.server.phase is Phase.ABORTED


def test_inconsistent_dealing_is_harmless_while_the_dealer_answers():
    play = Play(n=6, threshold=3).to(Phase.SHARE_KEYS)
    honest_deal = shamir.deal
    shamir.deal = lambda secret, **arguments: honest_deal(secret, **arguments) ^ 1
    try:
        play.deliver(LIAR)
    finally:
        shamir.deal = honest_deal
    finish(play)


# -- MaskedInput ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail_bytes", [0, 4 * 15, 4 * 17, 4 * 16 - 1, 8 * 16])
def test_a_masked_vector_of_the_wrong_length_drops_its_sender_only(tail_bytes):
    play = Play(n=6).to(Phase.MASKED_INPUT)
    with pytest.raises(DecodeError):
        play.server.receive(client(LIAR), play.forge_response(LIAR, MaskedInput(), tail=bytes(tail_bytes)))
    finish(play, without={LIAR})


def test_a_vector_far_out_of_bound_ends_the_round_instead_of_giving_a_sum():
    play = Play(n=6).to(Phase.MASKED_INPUT)
    frame = bytearray(play.answer(LIAR))
    frame[-1] ^= 0x40  # 2^30 in the last coordinate
    play.server.receive(client(LIAR), bytes(frame))
    play.step()
    with pytest.raises(RoundAborted, match="out of range"):
        play.step()


# -- Unmask -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unmasking():
    """Seven clients with a threshold of 3, of which 16 dropped; the liar is about to answer."""
    play = Play(n=7, threshold=3)
    play.to(Phase.MASKED_INPUT).step(silent={16})
    return play


def test_a_wrong_self_mask_seed_is_refused_and_rebuilt_from_shares(unmasking):
    honest = read(unmasking.answer(LIAR), Unmask)
    refused(unmasking, unmasking.forge_response(LIAR, change(honest, self_seed=flip(honest.self_seed))), "committed")
    unmasking.step(silent={LIAR})
    assert (unmasking.server.result.vector == unmasking.exact_sum(set(unmasking.params.cohort) - {16})).all()


def test_a_wrong_pair_seed_is_refused_and_rebuilt_from_shares(unmasking):
    honest = read(unmasking.answer(LIAR), Unmask)
    entries = tuple(
        change(entry, pair_seed=flip(entry.pair_seed)) if isinstance(entry, DroppedShare) else entry
        for entry in honest.entries
    )
    refused(unmasking, unmasking.forge_response(LIAR, change(honest, entries=entries)), "confirmed")
    unmasking.step(silent={LIAR})
    assert (unmasking.server.result.vector == unmasking.exact_sum(set(unmasking.params.cohort) - {16})).all()


def test_entries_of_the_wrong_kind_or_peer_are_refused(unmasking):
    honest = read(unmasking.answer(LIAR), Unmask)
    as_dropped = (DroppedShare(number=10, share=bytes(32), pair_seed=bytes(16)), *honest.entries[1:])
    as_survivor = (*honest.entries[:-1], SurvivorShare(number=16, share=bytes(32)))
    for entries in (as_dropped, as_survivor, honest.entries[1:], ()):
        refused(unmasking, unmasking.forge_response(LIAR, change(honest, entries=entries)), "entries|pair seed")
    unmasking.server.receive(client(LIAR), unmasking.responses[Phase.UNMASK, LIAR])
    unmasking.step()
    assert unmasking.server.phase is Phase.FINISHED


def spoil_shares(play, number):
    """The liar answers with wrong shares of everybody."""
    honest = read(play.answer(number), Unmask)
    entries = tuple(change(entry, share=flip(entry.share)) for entry in honest.entries)
    play.server.receive(client(number), play.forge_response(number, change(honest, entries=entries)))


def test_wrong_shares_are_worked_around_with_surplus_ones(unmasking):
    spoil_shares(unmasking, LIAR)
    unmasking.step(silent={10})
    assert (unmasking.server.result.vector == unmasking.exact_sum(set(unmasking.params.cohort) - {16})).all()


def test_wrong_shares_without_surplus_end_the_round():
    play = Play(n=5, threshold=3).to(Phase.UNMASK)
    spoil_shares(play, LIAR)
    with pytest.raises(RoundAborted, match="contradict"):
        play.step(silent={10, 11})
    assert play.server.phase is Phase.ABORTED


def test_no_shares_at_all_end_the_round_when_they_are_needed():
    play = Play(n=5, threshold=2).to(Phase.UNMASK)
    for number in (11, 12, 13, 14):
        honest = read(play.answer(number), Unmask)
        entries = tuple(change(entry, share=b"") for entry in honest.entries)
        play.server.receive(client(number), play.forge_response(number, change(honest, entries=entries)))
    assert not play.server.ready
    with pytest.raises(RoundAborted, match="0 shares"):
        play.server.advance()


def test_wrong_shares_do_not_matter_while_everybody_answers(unmasking):
    spoil_shares(unmasking, LIAR)
    unmasking.step()
    assert (unmasking.server.result.vector == unmasking.exact_sum(set(unmasking.params.cohort) - {16})).all()


# -- recovery ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_recovery_finds_the_secret_among_wrong_shares(wrong):
    secret = Secret(bytes(range(32)))
    told = secrets.commitment(secret, session=bytes(32), me=0)
    graph = Graph(tuple(range(11)), 10, bytes(32))
    holders = range(1, 11)
    points = [graph.share_point(0, holder) for holder in holders]
    shares = shamir.deal(secret.reveal(), points=points, threshold=4, entropy=OsEntropy())
    table = recovery.ShareTable(graph)
    for i, holder in enumerate(holders):
        share = bytes(shares[i])
        table.add(holder, {0: flip(share) if i < wrong else share})
    assert table.count(0) == 10
    assert table.rebuild_self_seed(0, threshold=4, session=bytes(32), commitment=told) == secret


def test_recovery_gives_up_after_a_bounded_number_of_attempts(monkeypatch):
    tried = []
    monkeypatch.setattr(shamir, "reconstruct", lambda points, shares: tried.append(points) or bytes(32))
    table = recovery.ShareTable(Graph(tuple(range(40)), 39, bytes(32)))
    for holder in range(1, 40):
        table.add(holder, {0: bytes([holder]) * 32})
    with pytest.raises(ReconstructionError):
        table.rebuild_self_seed(0, threshold=20, session=bytes(32), commitment=bytes(32))
    assert len(tried) == recovery.ATTEMPTS
