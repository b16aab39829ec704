"""Every check of the client, broken by a lying server, one test a check (PROTOCOLS: client checks in Unmask)."""

import pytest
from harness import Play

from privfl import DecodeError, DisclosureRefused, Phase, RemoteProtocolError
from privfl.lockstep.party import SessionOver
from privfl.masking.messages import (
    AdvertiseKeysRequest,
    DroppedShare,
    MaskedInputRequest,
    NeighbourKeys,
    ShareKeysRequest,
    SurvivorShare,
    Unmask,
    UnmaskRequest,
)
from privfl.primitives.keys import KeyPair
from privfl.primitives.secret import Secret


def refuses(play, request, match=None):
    """The client refuses, its secrets are gone, and it answers nothing more in that session."""
    honest = play.ask(10)
    with pytest.raises(DisclosureRefused, match=match):
        play.clients[10].respond(request)
    assert isinstance(play.clients[10]._state, SessionOver)
    assert play.clients[10]._last is None
    with pytest.raises(DisclosureRefused, match="over"):
        play.clients[10].respond(honest)


@pytest.fixture
def unmasking():
    """Six clients, of which 15 dropped after ShareKeys; client 10 is about to be asked to unmask."""
    play = Play(n=6)
    play.to(Phase.MASKED_INPUT).step(silent={15})
    assert play.request(10) == UnmaskRequest(contributors=5, survivors=(11, 12, 13, 14), dropped=(15,))
    return play


def unmask(play, *, contributors=5, survivors=(11, 12, 13, 14), dropped=(15,)):
    return play.forge_request(UnmaskRequest(contributors=contributors, survivors=survivors, dropped=dropped))


def test_unmask_survivors_and_dropped_must_be_disjoint(unmasking):
    refuses(unmasking, unmask(unmasking, survivors=(11, 12, 13, 14), dropped=(14, 15)), "survivors and as dropped")


def test_unmask_refuses_everybody_in_both_lists(unmasking):
    everybody = (11, 12, 13, 14, 15)
    refuses(unmasking, unmask(unmasking, contributors=6, survivors=everybody, dropped=everybody))


def test_unmask_refuses_foreign_ids_among_survivors(unmasking):
    refuses(unmasking, unmask(unmasking, contributors=6, survivors=(11, 12, 13, 14, 99)), "not masked with")


def test_unmask_refuses_foreign_ids_among_dropped(unmasking):
    refuses(unmasking, unmask(unmasking, dropped=(15, 99)), "not masked with")


def test_unmask_refuses_a_client_that_had_dropped_before():
    play = Play(n=6)
    play.to(Phase.SHARE_KEYS).step(silent={15})  # 15 never shared keys: nothing about it may be asked
    play.to(Phase.UNMASK)
    refuses(play, unmask(play, survivors=(11, 12, 13, 14), dropped=(15,)), "not masked with")


def test_unmask_refuses_an_id_twice(unmasking):
    message = UnmaskRequest(contributors=5, survivors=(11, 12, 13, 14), dropped=(15,))
    frame = unmasking.forge_request(message)
    twice = frame.replace(bytes([0x94, 11, 12, 13, 14]), bytes([0x94, 11, 12, 13, 13]))
    assert twice != frame
    with pytest.raises(DecodeError, match="ascending"):  # not even a message: the state has not moved
        unmasking.clients[10].respond(twice)
    unmasking.step()
    assert unmasking.server.phase is Phase.FINISHED


def test_unmask_refuses_itself_among_dropped(unmasking):
    refuses(unmasking, unmask(unmasking, dropped=(10, 15)), "listed as dropped")


def test_unmask_refuses_itself_among_survivors(unmasking):
    refuses(unmasking, unmask(unmasking, contributors=6, survivors=(10, 11, 12, 13, 14)), "itself")


def test_unmask_refuses_lists_that_leave_a_neighbour_out(unmasking):
    refuses(unmasking, unmask(unmasking, contributors=4, survivors=(11, 12, 13)), "neither survived nor dropped")


def test_unmask_refuses_fewer_survivors_than_the_threshold():
    play = Play(n=6, threshold=4)
    play.to(Phase.UNMASK)
    refuses(play, unmask(play, contributors=4, survivors=(11, 12, 13), dropped=(14, 15)), "threshold of 4")


def test_unmask_answers_at_exactly_the_threshold():
    play = Play(n=6, threshold=4)
    play.to(Phase.UNMASK)
    play.clients[10].respond(unmask(play, contributors=5, survivors=(11, 12, 13, 14), dropped=(15,)))


def test_unmask_refuses_fewer_contributors_than_the_minimum():
    play = Play(n=6, minimum=5)
    play.to(Phase.UNMASK)
    refuses(play, unmask(play, contributors=4, survivors=(11, 12, 13), dropped=(14, 15)), "minimum of 5")


@pytest.mark.parametrize("contributors", [0, 4, 6, 7, 2**32 - 1])
def test_unmask_refuses_a_contributor_count_that_contradicts_what_it_sees(unmasking, contributors):
    refuses(unmasking, unmask(unmasking, contributors=contributors))


def test_unmask_refuses_more_contributors_than_participants_on_the_ring():
    from privfl import ThreatModel

    play = Play(n=120, threat=ThreatModel(corrupt=0.1, dropout=0.1))
    play.to(Phase.MASKED_INPUT).step(silent={20, 30})
    honest = play.request(10)
    assert honest.contributors == 118
    forged = UnmaskRequest(contributors=121, survivors=honest.survivors, dropped=honest.dropped)
    refuses(play, play.forge_request(forged))


def test_unmask_is_answered_once(unmasking):
    unmasking.clients[10].respond(unmasking.ask(10))
    with pytest.raises(DisclosureRefused, match="over"):
        unmasking.clients[10].respond(unmask(unmasking, contributors=4, survivors=(11, 12, 13), dropped=(14, 15)))


def test_unmask_of_another_session_is_refused(unmasking):
    honest = unmasking.request(10)
    refuses(unmasking, unmasking.forge_request(honest, session=bytes(32)), "another session")


def test_both_shares_of_one_peer_cannot_be_said():
    share = SurvivorShare(number=11, share=bytes(32))
    other = DroppedShare(number=11, share=bytes(32), pair_seed=bytes(16))
    with pytest.raises(ValueError, match="ascending"):
        Unmask(self_seed=bytes(32), entries=(share, other))


def test_unmask_tells_one_share_of_every_peer_and_the_right_one(unmasking):
    from harness import read

    state = unmasking.clients[10]._state
    told = read(unmasking.clients[10].respond(unmasking.ask(10)), Unmask)
    assert told.self_seed == state.self_seed.reveal()
    for entry in told.entries:
        if entry.number == 15:
            assert isinstance(entry, DroppedShare)
            assert entry.share == state.held[15].mask_key
            assert entry.pair_seed == state.pair_seeds[15].reveal()
        else:
            assert isinstance(entry, SurvivorShare)
            assert entry.share == state.held[entry.number].self_seed


# -- before the upload ------------------------------------------------------------------------------------------------


def test_advertise_of_another_session_is_refused():
    play = Play()
    refuses(play, play.forge_request(AdvertiseKeysRequest(), session=bytes(32)), "another session")


@pytest.fixture
def sharing():
    play = Play(n=6)
    return play.to(Phase.SHARE_KEYS)


def share_keys(play, neighbours, root=None, session=None):
    honest = play.request(10)
    return play.forge_request(
        ShareKeysRequest(root=honest.root if root is None else root, neighbours=neighbours), session=session
    )


def stranger(number):
    return NeighbourKeys(
        number=number,
        channel_key=KeyPair(Secret(bytes(31) + b"\1")).public,
        mask_key=KeyPair(Secret(bytes(31) + b"\2")).public,
    )


def test_share_keys_refuses_a_session_id_that_does_not_follow_from_the_root(sharing):
    honest = sharing.request(10)
    refuses(sharing, share_keys(sharing, honest.neighbours, root=bytes(32)), "another session")


def test_share_keys_refuses_neighbours_outside_the_graph(sharing):
    honest = sharing.request(10)
    refuses(sharing, share_keys(sharing, (*honest.neighbours, stranger(99))), "no neighbours in the agreed graph")


def test_share_keys_refuses_neighbours_outside_the_ring():
    from privfl import ThreatModel

    play = Play(n=120, threat=ThreatModel(corrupt=0.1, dropout=0.1)).to(Phase.SHARE_KEYS)
    honest = play.request(10)
    listed = {neighbour.number for neighbour in honest.neighbours}
    outsider = next(number for number in play.params.cohort if number != 10 and number not in listed)
    forged = sorted((*honest.neighbours[1:], stranger(outsider)), key=lambda neighbour: neighbour.number)
    refuses(play, share_keys(play, tuple(forged)), "no neighbours in the agreed graph")


def test_share_keys_refuses_itself_as_a_neighbour(sharing):
    honest = sharing.request(10)
    refuses(sharing, share_keys(sharing, (stranger(10), *honest.neighbours)), "itself")


def test_share_keys_refuses_fewer_neighbours_than_the_threshold():
    play = Play(n=6, threshold=4).to(Phase.SHARE_KEYS)
    honest = play.request(10)
    refuses(play, share_keys(play, honest.neighbours[:3]), "threshold of 4")


def test_share_keys_refuses_low_order_keys(sharing):
    honest = sharing.request(10)
    first = honest.neighbours[0]
    for channel, mask in ((bytes(32), first.mask_key), (first.channel_key, bytes(32))):
        play = Play(sharing.params).to(Phase.SHARE_KEYS)
        known = play.request(10)
        weak = NeighbourKeys(number=11, channel_key=channel, mask_key=mask)
        with pytest.raises(RemoteProtocolError, match="low order"):
            play.clients[10].respond(
                play.forge_request(ShareKeysRequest(root=known.root, neighbours=(weak, *known.neighbours[1:])))
            )
        assert isinstance(play.clients[10]._state, SessionOver)


def test_no_share_hangs_on_the_traceback_of_a_refused_key(sharing, monkeypatch):
    """Whatever order the neighbours come in, nothing is dealt before all their keys are good."""
    dealt = []
    monkeypatch.setattr("privfl.primitives.shamir.deal", lambda *arguments, **options: dealt.append(arguments))
    honest = sharing.request(10)
    weak = NeighbourKeys(number=honest.neighbours[-1].number, channel_key=bytes(32), mask_key=bytes(32))
    with pytest.raises(RemoteProtocolError, match="low order"):
        sharing.clients[10].respond(
            sharing.forge_request(ShareKeysRequest(root=honest.root, neighbours=(*honest.neighbours[:-1], weak)))
        )
    assert not dealt


@pytest.fixture
def uploading():
    play = Play(n=6, threshold=3)
    return play.to(Phase.MASKED_INPUT)


def masked_input(play, *, participants=None, peers=None, sealed=None):
    honest = play.request(10)
    return play.forge_request(
        MaskedInputRequest(
            participants=honest.participants if participants is None else participants,
            peers=honest.peers if peers is None else peers,
            sealed=honest.sealed if sealed is None else sealed,
        )
    )


def test_masked_input_refuses_shares_from_clients_whose_keys_it_never_saw(uploading):
    honest = uploading.request(10)
    refuses(uploading, masked_input(uploading, peers=(11, 12, 13, 14, 99)), "never named")
    assert honest.peers == (11, 12, 13, 14, 15)


def test_masked_input_refuses_fewer_peers_than_the_threshold(uploading):
    honest = uploading.request(10)
    refuses(uploading, masked_input(uploading, participants=3, peers=(11, 12), sealed=honest.sealed[:160]), "threshold")


def test_masked_input_refuses_when_fewer_shares_than_the_threshold_open(uploading):
    honest = uploading.request(10)
    broken = bytearray(honest.sealed)
    for i in range(3):
        broken[80 * i] ^= 1
    refuses(uploading, masked_input(uploading, sealed=bytes(broken)), "2 shares open")


def test_masked_input_goes_on_when_enough_shares_open_and_masks_with_everybody_on_the_list(uploading):
    honest = uploading.request(10)
    broken = bytearray(honest.sealed)
    broken[0] ^= 1
    uploading.clients[10].respond(masked_input(uploading, sealed=bytes(broken)))
    state = uploading.clients[10]._state
    assert set(state.pair_seeds) == {11, 12, 13, 14, 15}  # 11's share did not open: it is masked with all the same
    assert set(state.held) == {12, 13, 14, 15}


@pytest.mark.parametrize("participants", [0, 1, 5, 7, 2**32 - 1])
def test_masked_input_refuses_a_participant_count_that_contradicts_what_it_sees(uploading, participants):
    refuses(uploading, masked_input(uploading, participants=participants))


def test_masked_input_refuses_fewer_participants_than_the_minimum():
    play = Play(n=6, minimum=5).to(Phase.MASKED_INPUT)
    honest = play.request(10)
    refuses(
        play, masked_input(play, participants=4, peers=(11, 12, 13), sealed=honest.sealed[: 3 * 80]), "minimum of 5"
    )


def test_shares_routed_to_the_wrong_client_do_not_open(uploading):
    honest = uploading.request(10)
    other = uploading.request(11)
    # 12's shares for 11 handed to 10 in 12's place: another key and another context.
    sealed = honest.sealed[:80] + other.sealed[80:160] + honest.sealed[160:]
    uploading.clients[10].respond(masked_input(uploading, sealed=sealed))
    assert 12 not in uploading.clients[10]._state.held
