"""A server that lies: swaps keys, invents clients, shows two sets of survivors, re-uses a nonce. Clients refuse."""

import os
from dataclasses import replace

import numpy as np
import pytest
from harness import ACTIVE, Play, identity_of, make_params, make_vectors, read
from msgspec.structs import replace as change

from privfl import (
    ClientPolicy,
    ConfigurationError,
    DisclosureRefused,
    Phase,
    RemoteProtocolError,
    RoundAborted,
    ServerModel,
    ThreatModel,
    client,
    simulate,
)
from privfl.guard import FileGuard, MemoryGuard
from privfl.kahe.client import KaheClient
from privfl.lockstep.party import SessionOver
from privfl.masking import agreement, planner, secrets
from privfl.masking.client import MaskingClient
from privfl.masking.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyRequest,
    MaskedInputRequest,
    NeighbourKeys,
    ShareKeysRequest,
    UnmaskRequest,
)
from privfl.masking.server import MaskingServer
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.keys import KeyPair
from privfl.primitives.secret import Secret
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import inclusion_proofs, merkle_root, session_id
from privfl.roster import Credentials, Roster
from privfl.simulate import roster_of


def active(n=9, **options):
    return Play(make_params(n=n, server=ACTIVE, **options))


def refuses(play, number, request, match=None):
    with pytest.raises(RemoteProtocolError, match=match):
        play.clients[number].respond(request)
    assert isinstance(play.clients[number]._state, SessionOver)


# -- honest -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5, 9, 30])
def test_sum_is_exact_and_everybody_signed(n):
    play = active(n)
    play.to(Phase.CONSISTENCY_CHECK)
    while play.server.phase is not Phase.FINISHED:
        play.step()
    assert (play.server.result.vector == play.exact_sum(play.params.cohort)).all()


@pytest.mark.parametrize(
    "phase",
    [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK, Phase.UNMASK],
)
def test_a_dropout_in_any_phase_leaves_the_sum_over_exactly_the_uploads(phase):
    play = active(12)  # three corrupt of twelve: threshold 8
    play.to(phase)
    play.step(silent={13})
    silent = {13} if phase in {Phase.CONSISTENCY_CHECK, Phase.UNMASK} else set()
    while play.server.phase is not Phase.FINISHED:
        play.step(silent=silent)
    uploaded = set(play.params.cohort) - ({13} if not silent else set())
    assert play.server.result.contributors == len(uploaded)
    assert (play.server.result.vector == play.exact_sum(uploaded)).all()


def test_five_tolerate_one_dropout_and_not_two():
    for gone, works in (({10}, True), ({10, 11}, False)):
        play = active(5).to(Phase.MASKED_INPUT)
        if not works:
            with pytest.raises(RoundAborted):
                play.step(silent=gone)
            continue
        play.step(silent=gone)
        play.step()
        play.step()
        assert play.server.result.contributors == 4


def test_too_few_signatures_abort_and_release_nothing():
    play = active(9).to(Phase.CONSISTENCY_CHECK)
    for number in (10, 11, 12):
        play.deliver(number)
    assert not play.server.ready
    with pytest.raises(RoundAborted, match="signed"):
        play.server.advance()


def test_a_ring_of_an_active_model_sums_exactly():
    from privfl import VectorSpec
    from privfl.simulate import draw_identities, plan_session

    identities = draw_identities(range(130))
    params = plan_session(
        "masking",
        cohort=tuple(range(130)),
        vector=VectorSpec(length=20, bound=1000),
        threat=ThreatModel(corrupt=0.02, dropout=0.05, server=ACTIVE),
        nonce=os.urandom(16),
        context=bytes(32),
        roster=roster_of(identities),
    )
    assert params.setting.degree < 129
    vectors = make_vectors(params)
    drops = {Phase.ADVERTISE_KEYS: {1}, Phase.SHARE_KEYS: {2}, Phase.MASKED_INPUT: {3, 4}, Phase.UNMASK: {5}}
    outcome = simulate(params, vectors, drops=drops, identities=identities)
    assert len(outcome.contributors) == 126
    assert (outcome.aggregate.vector == sum(vectors[n].astype(np.int64) for n in outcome.contributors)).all()


# -- identities -------------------------------------------------------------------------------------------------------


def test_a_client_needs_the_roster_of_the_parameters_and_its_own_place_in_it():
    play = active(5)
    with pytest.raises(ConfigurationError, match="credentials"):
        MaskingClient(play.params, 10)
    with pytest.raises(ConfigurationError, match="another identity for client 10"):
        MaskingClient(play.params, 10, credentials=Credentials(identity_of(99), play.roster))
    wider = Roster({**play.roster.identities, 99: identity_of(99).public})
    with pytest.raises(ConfigurationError, match="another roster"):
        MaskingClient(play.params, 10, credentials=Credentials(identity_of(10), wider))
    with pytest.raises(ConfigurationError, match="roster"):
        MaskingServer(play.params)


def test_invented_clients_are_not_on_the_roster():
    play = active(5)
    invented = replace(play.params, cohort=(*play.params.cohort, 77))
    with pytest.raises(ConfigurationError, match="client 77 is not on the roster"):
        MaskingClient(
            replace(invented, setting=make_params(n=6, server=ACTIVE).setting),
            10,
            credentials=Credentials(identity_of(10), play.roster),
        )


def test_unsigned_or_foreign_advertisements_cost_their_sender_its_place():
    play = active(9)
    honest = read(play.answer(12), AdvertiseKeys)
    forged = [
        AdvertiseKeys(channel_key=honest.channel_key, mask_key=honest.mask_key),
        AdvertiseKeys(
            channel_key=honest.channel_key,
            mask_key=honest.channel_key,
            key_id=honest.key_id,
            signature=honest.signature,
        ),
        AdvertiseKeys(
            channel_key=honest.channel_key, mask_key=honest.mask_key, key_id=bytes(16), signature=honest.signature
        ),
    ]
    for lie in forged:
        with pytest.raises(RemoteProtocolError, match="has not signed"):
            play.server.receive(client(12), play.forge_response(12, lie))
    play.step(silent={12})
    while play.server.phase is not Phase.FINISHED:
        play.step()
    assert play.server.result.contributors == 8


def test_signatures_have_no_place_where_there_is_no_roster():
    play = Play(make_params(n=5))
    honest = read(play.answer(12), AdvertiseKeys)
    signed = AdvertiseKeys(
        channel_key=honest.channel_key, mask_key=honest.mask_key, key_id=bytes(16), signature=bytes(64)
    )
    with pytest.raises(RemoteProtocolError, match="without a roster"):
        play.server.receive(client(12), play.forge_response(12, signed))


# -- keys -------------------------------------------------------------------------------------------------------------


def lying_tree(play, replaced):
    """A server that puts other keys under the root: a consistent root, session id and proofs."""
    keys = {
        number: read(play.responses[Phase.ADVERTISE_KEYS, number], AdvertiseKeys) for number in play.params.cohort
    } | replaced
    leaves = [secrets.key_leaf(n, keys[n].channel_key, keys[n].mask_key) for n in play.params.cohort]
    leaves.append(secrets.server_leaf(bytes(32)))
    root, proofs = merkle_root(leaves), inclusion_proofs(leaves)
    session = session_id(play.params.keys_digest, root)

    def request(number):
        neighbours = tuple(
            NeighbourKeys(
                number=n,
                channel_key=keys[n].channel_key,
                mask_key=keys[n].mask_key,
                key_id=keys[n].key_id,
                signature=keys[n].signature,
                proof=proofs[i],
            )
            for i, n in enumerate(play.params.cohort)
            if n != number
        )
        own = proofs[play.params.cohort.index(number)]
        return play.forge_request(ShareKeysRequest(root=root, neighbours=neighbours, own_proof=own), session=session)

    return request


@pytest.fixture
def keyed():
    play = active(9)
    return play.to(Phase.SHARE_KEYS)


def server_keys(play, number, identity, session=None):
    channel, mask = KeyPair.generate(OsEntropy()), KeyPair.generate(OsEntropy())
    signature = agreement.sign_advertisement(
        identity,
        session=session or play.params.keys_digest,
        number=number,
        key_id=bytes(16),
        channel_key=channel.public,
        mask_key=mask.public,
    )
    return AdvertiseKeys(channel_key=channel.public, mask_key=mask.public, key_id=bytes(16), signature=signature)


def test_the_forged_tree_is_accepted_when_nothing_is_forged(keyed):
    keyed.clients[10].respond(lying_tree(keyed, {})(10))


def test_swapped_keys_are_refused_by_their_neighbours(keyed):
    swapped = server_keys(keyed, 12, Identity.generate(OsEntropy()))
    refuses(keyed, 10, lying_tree(keyed, {12: swapped})(10), "client 12 has not signed")


def test_keys_signed_by_another_client_on_the_roster_are_refused(keyed):
    """A corrupt client cannot lend its identity to a Sybil neighbour."""
    sybil = server_keys(keyed, 12, identity_of(13))
    refuses(keyed, 10, lying_tree(keyed, {12: sybil})(10), "client 12 has not signed")


def test_a_client_whose_own_keys_were_swapped_refuses(keyed):
    """Even with a true signature: its own keys must stand under the root."""
    replayed = server_keys(keyed, 12, identity_of(12))
    request = lying_tree(keyed, {12: replayed})
    refuses(keyed, 12, request(12), "not included")
    keyed.clients[10].respond(request(10))  # the neighbours cannot tell; but 12 is gone, and nobody has its secrets


def test_keys_signed_for_another_session_are_refused(keyed):
    """A server that rebuilt a client's mask key when it dropped out cannot seat its old keys in a later session."""
    replayed = server_keys(keyed, 12, identity_of(12), session=bytes(32))
    refuses(keyed, 10, lying_tree(keyed, {12: replayed})(10), "client 12 has not signed")


def test_keys_shown_beside_the_root_are_refused(keyed):
    honest = keyed.request(10)
    true = server_keys(keyed, 12, identity_of(12))
    neighbours = tuple(
        NeighbourKeys(
            number=12,
            channel_key=true.channel_key,
            mask_key=true.mask_key,
            key_id=true.key_id,
            signature=true.signature,
            proof=peer.proof,
        )
        if peer.number == 12
        else peer
        for peer in honest.neighbours
    )
    forged = ShareKeysRequest(root=honest.root, neighbours=neighbours, own_proof=honest.own_proof)
    refuses(keyed, 10, keyed.forge_request(forged), "not included")


@pytest.mark.parametrize("change", ["missing", "longer", "other"])
def test_proofs_must_be_exact(keyed, change):
    honest = keyed.request(10)
    proof = {"missing": b"", "longer": honest.own_proof + bytes(32), "other": honest.neighbours[0].proof}[change]
    forged = ShareKeysRequest(root=honest.root, neighbours=honest.neighbours, own_proof=proof)
    refuses(keyed, 10, keyed.forge_request(forged), "not included")


def test_stripping_the_signatures_is_refused(keyed):
    honest = keyed.request(10)
    stripped = tuple(
        NeighbourKeys(number=p.number, channel_key=p.channel_key, mask_key=p.mask_key, proof=p.proof)
        for p in honest.neighbours
    )
    forged = ShareKeysRequest(root=honest.root, neighbours=stripped, own_proof=honest.own_proof)
    refuses(keyed, 10, keyed.forge_request(forged), "has not signed")


# -- survivors --------------------------------------------------------------------------------------------------------


def show(play, number, members, participants=None):
    cohort = play.params.cohort
    participants = cohort if participants is None else participants
    request = ConsistencyRequest(
        participants=agreement.to_bits(cohort, participants), survivors=agreement.to_bits(cohort, members)
    )
    return read(play.clients[number].respond(play.forge_request(request)), ConsistencyCheck).signature


@pytest.fixture
def uploaded():
    """Nine clients (threshold 6, two corrupt) have uploaded."""
    play = active(9)
    return play.to(Phase.CONSISTENCY_CHECK)


def forged_unmask(play, number, survivors, signatures, *, participants=None):
    """An UnmaskRequest that follows from a set of survivors, under some clients' signatures of something."""
    cohort = play.params.cohort
    participants = set(cohort if participants is None else participants)
    around = set(play.server._step._book.graph.neighbours(number)) & participants
    request = UnmaskRequest(
        contributors=len(survivors),
        survivors=tuple(sorted(around & survivors)),
        dropped=tuple(sorted(around - survivors)),
        participant_bits=agreement.to_bits(cohort, participants),
        survivor_bits=agreement.to_bits(cohort, survivors),
        signers=tuple(sorted(signatures)),
        signatures=b"".join(signatures[n] for n in sorted(signatures)),
    )
    return play.forge_request(request)


def accomplice_signature(play, number, survivors, context=None):
    """What a client on the server's side signs: whatever it is asked to."""
    cohort = play.params.cohort
    return agreement.sign_sets(
        identity_of(number),
        session=play.server._book.session,
        number=number,
        context=context or play.params.context,
        participants=agreement.to_bits(cohort, cohort),
        survivors=agreement.to_bits(cohort, survivors),
    )


def test_two_sets_of_survivors_never_both_find_a_quorum(uploaded):
    """The lists attack: half of the clients are told that 18 survived, the others that it dropped.

    The two accomplices that nine clients are planned for sign both.
    """
    everybody, accomplices = set(uploaded.params.cohort), {16, 17}
    honest = everybody - accomplices - {18}
    told = {n: everybody if n < 13 else everybody - {18} for n in honest}
    signatures = {n: show(uploaded, n, told[n]) for n in honest}
    for number in sorted(honest):
        survivors = told[number]
        alike = {n: signatures[n] for n in honest if told[n] == survivors}
        alike |= {n: accomplice_signature(uploaded, n, survivors) for n in accomplices}
        others = {n: signatures[n] for n in honest if told[n] != survivors}
        with pytest.raises(DisclosureRefused, match="fewer than the quorum"):
            uploaded.clients[number].respond(forged_unmask(uploaded, number, survivors, alike | others))
    assert all(isinstance(uploaded.clients[n]._state, SessionOver) for n in honest)


@pytest.fixture
def ring():
    """130 clients on a ring, of whom fewer are witnesses, have uploaded."""
    threat = ThreatModel(corrupt=0.02, dropout=0.05, server=ACTIVE)
    play = Play(make_params(n=130, length=3, threat=threat)).to(Phase.CONSISTENCY_CHECK)
    assert play.params.setting.degree < 129
    assert len(witnesses_of(play)) < 130
    return play


def witnesses_of(play):
    return {party.number for party in play.server.waiting}


def test_only_witnesses_are_asked_to_sign_and_only_they_do(ring):
    quorum = planner.quorum(130, ring.params.threat)
    witnesses, cohort = witnesses_of(ring), set(ring.params.cohort)
    assert len(witnesses) == quorum.witnesses
    assert all(session._witness.numbers == witnesses for session in ring.clients.values())
    other = min(cohort - witnesses)
    with pytest.raises(DisclosureRefused, match="no witness"):
        show(ring, other, cohort)
    ring.step(silent=set(sorted(witnesses)[quorum.signatures :]))  # a quorum is enough
    ring.step(silent={other})
    assert (ring.server.result.vector == ring.exact_sum(cohort)).all()


def test_two_roots_of_the_same_keys_share_their_witnesses():
    """A server shows the same keys under two roots to two groups: only one of them can find a quorum.

    With witnesses drawn by the root each found its own; mask keys that one group rebuilt opened masks of the other.
    """
    threat = ThreatModel(corrupt=0.02, dropout=0.05, server=ACTIVE)
    play = Play(make_params(n=130, length=3, threat=threat))
    other = MaskingServer(play.params, roster=play.roster)
    known = {number: session._witness.numbers for number, session in play.clients.items()}  # before any root is shown
    for number in play.params.cohort:
        response = play.answer(number)
        play.server.receive(client(number), response)
        other.receive(client(number), response)
    play.server.advance()
    other.advance()
    assert play.server._step.session != other._step.session
    assert set(known.values()) == {play.server._step._book.witnesses} == {other._step._book.witnesses}
    first = min(play.params.cohort)
    play.deliver(first)
    with pytest.raises(DisclosureRefused):  # and a client goes on under one of them only
        play.clients[first].respond(other.request_for(client(first)))
    quorum, accomplices = planner.quorum(130, threat), 2  # ⌊0.02 · 130⌋
    assert 2 * quorum.signatures > quorum.witnesses + accomplices


def test_a_vector_that_does_not_fit_spends_no_context():
    play = active(5)
    guard = MemoryGuard()
    play.clients[10] = play.fresh_client(10, guard=guard)
    play.clients[10].submit([play.vectors[10][:3]])
    play.to(Phase.MASKED_INPUT)
    with pytest.raises(ConfigurationError, match="hold 3 "):
        play.deliver(10)
    play.clients[10].submit(play.vectors[10])
    play.deliver(10)
    assert guard.claimed("context", play.params.context)


def test_signatures_of_others_than_witnesses_are_refused(ring):
    witnesses, cohort = witnesses_of(ring), set(ring.params.cohort)
    others = sorted(cohort - witnesses)
    signatures = {n: accomplice_signature(ring, n, cohort) for n in [*witnesses, others[0]]}
    with pytest.raises(DisclosureRefused, match="no witnesses"):
        ring.clients[others[1]].respond(forged_unmask(ring, others[1], cohort, signatures))


@pytest.mark.parametrize("shown_the_small_one", [0, 20, 37, 50, 1000])
def test_helpers_that_never_unmask_cannot_split_a_ring(ring, shown_the_small_one):
    """Honest neighbours that are shown the victim's set, sign it and are not asked to unmask, help nobody.

    With signatures of t neighbours they did: they counted for the victim, while others, who were told that they had
    dropped, opened their masks. With witnesses one of the two sets has no quorum, wherever the line is drawn.
    """
    cohort, witnesses = set(ring.params.cohort), witnesses_of(ring)
    accomplices = set(sorted(witnesses)[:2])  # ⌊0.02 · 130⌋
    victim = min(cohort - witnesses)
    near = set(ring.server._step._book.graph.neighbours(victim))
    small = cohort - set(sorted(cohort - near - witnesses - {victim})[:5])
    large = cohort - set(sorted(near - witnesses)[:5])
    honest = sorted(witnesses - accomplices)
    refused = []
    for survivors, asked in ((small, honest[:shown_the_small_one]), (large, honest[shown_the_small_one:])):
        signatures = {n: show(ring, n, survivors) for n in asked}
        signatures |= {n: accomplice_signature(ring, n, survivors) for n in accomplices}
        session = ring.fresh_client(victim)
        session._state = ring.clients[victim]._state  # the same client, asked for both
        try:
            session.respond(forged_unmask(ring, victim, survivors, signatures))
        except DisclosureRefused as error:
            assert "fewer than the quorum" in str(error)  # noqa: PT017 - either set may be the one
            refused.append(survivors)
    assert len(refused) >= 1


def test_a_client_signs_one_set_only(uploaded):
    everybody = set(uploaded.params.cohort)
    show(uploaded, 10, everybody)
    with pytest.raises(DisclosureRefused):
        show(uploaded, 10, everybody - {18})


@pytest.mark.parametrize(
    ("members", "match"),
    [
        (lambda cohort: cohort - {10}, "not in the set"),
        (lambda cohort: {10, 11, 12}, "threshold|minimum"),
        (lambda cohort: {10}, "threshold"),
        (lambda cohort: set(), "not in the set"),
    ],
)
def test_sets_that_hide_a_client_or_leave_too_few_are_not_signed(uploaded, members, match):
    with pytest.raises(DisclosureRefused, match=match):
        show(uploaded, 10, members(set(uploaded.params.cohort)))


def test_survivors_that_never_shared_keys_are_not_signed():
    play = active(9).to(Phase.SHARE_KEYS)
    play.step(silent={18})
    play.step()
    with pytest.raises(DisclosureRefused, match="differ from those that this client's masks were made for"):
        show(play, 10, set(play.params.cohort))


def test_survivors_that_never_took_part_are_not_signed():
    play = active(9).to(Phase.SHARE_KEYS)
    play.step(silent={18})
    play.step()
    with pytest.raises(DisclosureRefused, match="never took part"):
        show(play, 10, set(play.params.cohort), participants=set(play.params.cohort) - {18})


def thinned(play, number, *, honest_set):
    """The request that hides the last neighbour from a client, in the list of peers or in the set as well."""
    honest = play.request(number)
    cohort = play.params.cohort
    shown = cohort if honest_set else set(cohort) - {honest.peers[-1]}
    return play.forge_request(
        MaskedInputRequest(
            participants=len(honest.peers),
            peers=honest.peers[:-1],
            sealed=honest.sealed[:-80],
            participant_bits=agreement.to_bits(cohort, shown),
        )
    )


def test_masks_are_not_thinned_out_of_the_participants_shown():
    play = active(9).to(Phase.MASKED_INPUT)
    refuses(play, 10, thinned(play, 10, honest_set=True), "participants to the server and no peers to mask with")


@pytest.mark.parametrize("asked_to", ["sign", "unmask"])
def test_a_thinned_set_of_participants_is_neither_signed_nor_unmasked(asked_to):
    """A client that was shown another set than the others agrees to no set but its own, and no quorum signs that."""
    play = active(9).to(Phase.MASKED_INPUT)
    play.clients[10].respond(thinned(play, 10, honest_set=False))
    for number in play.params.cohort[1:]:
        play.deliver(number)
    play.server.receive(client(10), play.clients[10]._last[1])
    play.server.advance()
    everybody = set(play.params.cohort)
    signatures = {n: accomplice_signature(play, n, everybody) for n in everybody - {10}}
    request = play.ask(10) if asked_to == "sign" else forged_unmask(play, 10, everybody, signatures)
    refuses(play, 10, request, "differ from those that this client's masks were made for")


def test_masks_of_clients_that_were_shown_different_participants_do_not_cancel():
    """So that a client that is never asked to unmask, and never sees the signed set, cannot have been thinned out.

    Its self mask can be opened from shares; what the others' masks leave is noise, and no sum is released.
    """
    play = active(9).to(Phase.MASKED_INPUT)
    honest = play.request(10)
    play.clients[10].respond(thinned(play, 10, honest_set=False))
    play.server.receive(client(10), play.clients[10]._last[1])
    for number in play.params.cohort[1:]:
        play.deliver(number)
    assert honest.peers[-1] == 18
    play.server.advance()
    play.step(silent={10})
    step = play.server._step
    for party in sorted(play.server.waiting - {client(10)}):
        play.deliver(party.number)
    hidden = play.clients[18]
    assert isinstance(hidden._state, SessionOver)
    # Even with the mask of the hidden pair taken out of client 18's vector, the other pairs' masks do not fit.
    with pytest.raises(RoundAborted, match="out of range"):
        play.server.advance()
    total = step._book.payload.masked.view(np.int32)
    assert np.abs(total).max() > 9 * 1000


@pytest.mark.parametrize("bits", [b"", b"\xff", b"\xff\x03", b"\xff\x01\x00"])
def test_participants_of_another_size_or_with_spare_bits_are_not_masked_with(bits):
    play = active(9).to(Phase.MASKED_INPUT)
    honest = play.request(10)
    shown = MaskedInputRequest(
        participants=honest.participants, peers=honest.peers, sealed=honest.sealed, participant_bits=bits
    )
    refuses(play, 10, play.forge_request(shown), "does not fit the cohort")


def test_sets_of_participants_have_no_place_where_nobody_signs():
    play = Play(make_params(n=5)).to(Phase.MASKED_INPUT)
    honest = play.request(10)
    shown = MaskedInputRequest(
        participants=honest.participants, peers=honest.peers, sealed=honest.sealed, participant_bits=b"\x1f"
    )
    refuses(play, 10, play.forge_request(shown), "without signatures")


@pytest.mark.parametrize("field", ["own_proof", "signature", "proof"])
def test_proofs_of_keys_have_no_place_where_nobody_signs(field):
    play = Play(make_params(n=5)).to(Phase.SHARE_KEYS)
    honest = play.request(10)
    first, *rest = honest.neighbours
    if field == "own_proof":
        shown = change(honest, own_proof=bytes(32))
    elif field == "signature":
        shown = change(honest, neighbours=(change(first, key_id=bytes(16), signature=bytes(64)), *rest))
    else:
        shown = change(honest, neighbours=(change(first, proof=bytes(32)), *rest))
    refuses(play, 10, play.forge_request(shown), "without signatures")


@pytest.mark.parametrize(
    "fields",
    [{"participant_bits": b"\x1f"}, {"survivor_bits": b"\x1f"}, {"signers": (11,), "signatures": bytes(64)}],
)
def test_signed_sets_have_no_place_where_nobody_signs(fields):
    play = Play(make_params(n=5)).to(Phase.UNMASK)
    refuses(play, 10, play.forge_request(change(play.request(10), **fields)), "without signatures")


@pytest.mark.parametrize("bits", [b"", b"\xff", b"\xff\x03", b"\xff\x01\x00"])
def test_sets_of_another_size_or_with_spare_bits_are_refused(uploaded, bits):
    true = agreement.to_bits(uploaded.params.cohort, uploaded.params.cohort)
    for sets in ({"participants": bits, "survivors": true}, {"participants": true, "survivors": bits}):
        play = active(9).to(Phase.CONSISTENCY_CHECK)
        refuses(play, 10, play.forge_request(ConsistencyRequest(**sets)))


@pytest.mark.parametrize("lie", ["moved", "left out", "count"])
def test_unmask_must_follow_from_the_set_that_was_signed(uploaded, lie):
    """Under the true signatures, with true lists but for one entry."""
    uploaded.step()
    truth = uploaded.request(10)
    survivors, dropped, contributors = {
        "moved": (truth.survivors[:-1], truth.survivors[-1:], truth.contributors),
        "left out": (truth.survivors[:-1], (), truth.contributors),
        "count": (truth.survivors, (), truth.contributors - 1),
    }[lie]
    forged = UnmaskRequest(
        contributors=contributors,
        survivors=survivors,
        dropped=dropped,
        participant_bits=truth.participant_bits,
        survivor_bits=truth.survivor_bits,
        signers=truth.signers,
        signatures=truth.signatures,
    )
    refuses(uploaded, 10, uploaded.forge_request(forged), "differs from the set")


def all_but_one(truth):
    return truth.signers[1:], truth.signatures[64:]


def one_bit_off(truth):
    return truth.signers, truth.signatures[:-1] + bytes([truth.signatures[-1] ^ 1])


def none(_truth):
    return (), b""


def zeros(truth):
    return truth.signers, bytes(64 * len(truth.signers))


def one_for_all(truth):
    return truth.signers, truth.signatures[:64] * len(truth.signers)


@pytest.mark.parametrize("forgery", [all_but_one, one_bit_off, none, zeros, one_for_all])
def test_unmask_needs_a_quorum_of_valid_signatures(uploaded, forgery):
    uploaded.step()
    truth = uploaded.request(10)
    assert len(truth.signers) == planner.quorum(9, uploaded.params.threat).signatures
    signers, signatures = forgery(truth)
    forged = UnmaskRequest(
        contributors=truth.contributors,
        survivors=truth.survivors,
        dropped=truth.dropped,
        participant_bits=truth.participant_bits,
        survivor_bits=truth.survivor_bits,
        signers=signers,
        signatures=signatures,
    )
    refuses(uploaded, 10, uploaded.forge_request(forged), "fewer than the quorum")


def test_a_witness_unmasks_nothing_else_than_it_signed(uploaded):
    """Not even what a quorum signed: it would take corrupt clients beyond the plan, and fail all the same."""
    everybody = set(uploaded.params.cohort)
    show(uploaded, 10, everybody - {18})
    signatures = {n: accomplice_signature(uploaded, n, everybody) for n in everybody - {10}}
    refuses(uploaded, 10, forged_unmask(uploaded, 10, everybody, signatures), "that this client signed")


def test_a_client_that_did_not_sign_unmasks_what_a_quorum_signed_and_checks_it_itself(uploaded):
    everybody = set(uploaded.params.cohort)
    good = {n: accomplice_signature(uploaded, n, everybody) for n in everybody - {10}}
    assert uploaded.clients[10].respond(forged_unmask(uploaded, 10, everybody, good))
    hidden = everybody - {11}
    bad = {n: accomplice_signature(uploaded, n, hidden) for n in everybody - {10}}
    refuses(uploaded, 11, forged_unmask(uploaded, 11, hidden, bad), "not in the set of survivors")


def test_unmask_without_signed_sets_is_refused():
    play = active(9).to(Phase.CONSISTENCY_CHECK)
    request = UnmaskRequest(contributors=9, survivors=play.params.cohort[1:], dropped=())
    refuses(play, 10, play.forge_request(request), "differ from those that this client's masks were made for")


def test_the_floor_of_the_active_model_outranks_a_lower_minimum():
    """Corrupt contributors hide nobody: with two corrupt of nine, four are the fewest (⌊γn⌋ + 2 = 3, neighbours 6)."""
    play = active(9, minimum=2)
    assert play.clients[10]._limits.minimum == 3


def test_a_wrong_signature_costs_its_sender_its_place(uploaded):
    with pytest.raises(RemoteProtocolError, match="does not hold"):
        uploaded.server.receive(client(12), uploaded.forge_response(12, ConsistencyCheck(signature=bytes(64))))
    uploaded.step(silent={12})
    uploaded.step()
    assert (uploaded.server.result.vector == uploaded.exact_sum(uploaded.params.cohort)).all()


# -- nonces and contexts ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def guard(request, tmp_path):
    return MemoryGuard() if request.param == "memory" else FileGuard(tmp_path / "claims")


def test_a_nonce_is_accepted_once(guard):
    params = make_params(n=5)
    request = Play(params).ask(10)
    MaskingClient(params, 10, guard=guard).respond(request)
    with pytest.raises(DisclosureRefused, match="nonce has been used before"):
        MaskingClient(params, 10, guard=guard).respond(request)


@pytest.mark.parametrize("n", [5, 7, 8, 9])
def test_an_update_is_sent_in_one_session_of_a_context_only(n):
    """Otherwise half of the clients unmask one, half the other, and the sums are differenced."""
    plays = [active(n), active(n)]
    guards = {number: MemoryGuard() for number in plays[0].params.cohort}
    for play in plays:
        for number, guard in guards.items():
            play.clients[number] = play.fresh_client(number, guard=guard)
            play.clients[number].submit(play.vectors[number])
        play.to(Phase.MASKED_INPUT)
    for i, number in enumerate(guards):
        here, there = plays if i % 2 else reversed(plays)
        here.deliver(number)
        with pytest.raises(DisclosureRefused, match="never sent again"):
            there.deliver(number)
    for play in plays:
        assert not play.server.ready
        with pytest.raises(RoundAborted):
            play.server.advance()


def test_uploads_without_a_quorum_of_witnesses_do_not_do():
    """Every neighbourhood is large enough, but too few are left who could sign."""
    threat = ThreatModel(corrupt=0.02, dropout=0.2, server=ACTIVE)
    play = Play(make_params(n=130, length=3, threat=threat)).to(Phase.MASKED_INPUT)
    quorum = play.server._step._book.quorum
    witnesses = sorted(play.server._step._book.witnesses)
    spread = witnesses[: quorum.witnesses - quorum.signatures + 1]
    for party in sorted(play.server.waiting):
        if party.number not in spread:
            play.deliver(party.number)
    if play.server._step._book.all_able(set(play.params.cohort) - set(spread)):
        assert not play.server.ready
        with pytest.raises(RoundAborted, match="witnesses are left"):
            play.server.advance()
    else:
        pytest.fail("the example is to leave every neighbourhood large enough")


def test_an_update_is_not_sent_again_once_it_was_unmasked(guard):
    """Two sums over different survivors could be differenced."""
    first = Play(make_params(n=5))
    first.clients[10] = MaskingClient(first.params, 10, guard=guard)
    first.clients[10].submit(first.vectors[10])
    for _ in range(4):
        first.step()
    again = Play(replace(first.params, nonce=os.urandom(16)))
    again.clients[10] = MaskingClient(again.params, 10, guard=guard)
    again.clients[10].submit(again.vectors[10])
    again.to(Phase.MASKED_INPUT)
    with pytest.raises(DisclosureRefused, match="never sent again"):
        again.answer(10)
    other = Play(replace(first.params, nonce=os.urandom(16), context=b"\1" * 32))
    other.clients[10] = MaskingClient(other.params, 10, guard=guard)
    other.clients[10].submit(other.vectors[10])
    for _ in range(4):
        other.step()


def test_two_sessions_side_by_side_unmask_a_context_once(guard):
    plays = [Play(make_params(n=5)) for _ in range(2)]
    for play in plays:
        play.clients[10] = MaskingClient(play.params, 10, guard=guard)
        play.clients[10].submit(play.vectors[10])
        play.to(Phase.UNMASK)
    plays[0].answer(10)
    with pytest.raises(DisclosureRefused, match="context has been used before"):
        plays[1].answer(10)


def test_a_file_guard_holds_across_objects_and_says_what_is_wrong(tmp_path):
    FileGuard(tmp_path / "claims").claim("nonce", b"1")
    second = FileGuard(tmp_path / "claims")
    assert second.claimed("nonce", b"1")
    assert not second.claimed("context", b"1")
    with pytest.raises(DisclosureRefused):
        second.claim("nonce", b"1")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        FileGuard(tmp_path / "no" / "where")


def test_a_guard_whose_directory_is_gone_answers_nothing(tmp_path):
    guard = FileGuard(tmp_path / "claims")
    (tmp_path / "claims").rmdir()
    for ask in (lambda: guard.claim("nonce", b"1"), lambda: guard.claimed("nonce", b"1")):
        with pytest.raises(DisclosureRefused, match="nothing is answered"):
            ask()


def test_who_has_credentials_is_not_talked_into_a_session_without_signatures():
    """Unless its policy says that it may be."""
    play = Play(make_params(n=5))
    credentials = Credentials(identity_of(10), play.roster)
    with pytest.raises(ConfigurationError, match=r"threat\.server 'honest-but-curious' is not allowed"):
        MaskingClient(play.params, 10, credentials=credentials)
    with pytest.raises(ConfigurationError, match=r"threat\.server 'honest-but-curious' is not allowed"):
        MaskingClient(play.params, 10, credentials=credentials, policy=ClientPolicy(minimum_contributors=3))
    named = ClientPolicy(servers=frozenset({ServerModel.HONEST_BUT_CURIOUS}))
    assert MaskingClient(play.params, 10, credentials=credentials, policy=named)


@pytest.mark.parametrize("policy", [None, ClientPolicy(minimum_contributors=60)])
@pytest.mark.parametrize("client_class", [MaskingClient, KaheClient])
def test_a_server_that_may_lie_does_not_choose_how_many_are_corrupt(client_class, policy):
    """With γ = 0 it gets a ring of a few neighbours, and a root under which they are all its own in under a second."""
    name = client_class._suite.name.lower()
    lax, usual = (
        make_params(n=100, suite_name=name, threat=ThreatModel(corrupt=corrupt, dropout=0.0, server=ACTIVE))
        for corrupt in (0.0, 0.1)
    )
    assert lax.masking.degree < 10
    credentials = Credentials(identity_of(10), roster_of({n: identity_of(n) for n in lax.cohort}))
    with pytest.raises(ConfigurationError, match=r"^threat.corrupt is 0.0: this client wants 0.1 or more"):
        client_class(lax, 10, credentials=credentials, policy=policy)
    assert client_class(usual, 10, credentials=credentials, guard=MemoryGuard(), policy=policy)
    assert client_class(lax, 10, credentials=credentials, guard=MemoryGuard(), policy=ClientPolicy(corrupt=0.0))


@pytest.mark.parametrize("client_class", [MaskingClient, KaheClient])
def test_a_client_of_a_server_that_may_lie_needs_a_guard(client_class):
    """All others count on it that it signs once."""
    params = make_params(n=5, suite_name=client_class._suite.name.lower(), server=ACTIVE)
    credentials = Credentials(identity_of(10), roster_of({n: identity_of(n) for n in params.cohort}))
    with pytest.raises(
        ConfigurationError, match=r"^guard is None where the server may lie: guard=FileGuard\(…\) works"
    ):
        client_class(params, 10, credentials=credentials)


def test_a_client_can_insist_on_a_number_of_corrupt_clients_whatever_the_cohort():
    """Ten on a roster of a hundred are a tenth of it, and all of a cohort that the server picked to be alone in."""
    policy = ClientPolicy(corrupt_clients=10)
    small, large = (make_params(n=n, threat=ThreatModel(corrupt=0.1, dropout=0.0, server=ACTIVE)) for n in (11, 100))
    credentials = [
        Credentials(identity_of(10), roster_of({n: identity_of(n) for n in params.cohort})) for params in (small, large)
    ]
    with pytest.raises(ConfigurationError, match=r"threat.corrupt is 0.1 of 11 clients: .* wants 10 .* 0.91 or more"):
        MaskingClient(small, 10, credentials=credentials[0], policy=policy)
    assert MaskingClient(large, 10, credentials=credentials[1], guard=MemoryGuard(), policy=policy)


def test_the_policy_is_asked_before_any_work_that_parameters_ask_for(monkeypatch):
    params = make_params(n=9, server=ACTIVE)
    monkeypatch.setattr(planner, "quorum", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ConfigurationError, match="suite"):
        MaskingClient(params, 10, policy=ClientPolicy(suites=frozenset()))


@pytest.mark.parametrize("clients", [50_000, 10**6])
def test_the_search_for_witnesses_is_short_whatever_is_asked_for(clients):
    tried = list(planner._numbers_of_witnesses(clients))
    assert tried[:255] == list(range(2, 257))
    assert len(tried) < 320
    assert max(tried) <= planner.MOST_WITNESSES
    hard = ThreatModel(corrupt=0.33, dropout=0.3, server=ACTIVE)
    assert planner.quorum(clients, hard).witnesses == clients  # nothing less is found, and everybody will do


def test_one_of_many_claimants_wins(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def claim(_):
        try:
            FileGuard(tmp_path / "claims").claim("nonce", b"x")
        except DisclosureRefused:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(64))) == 1


# -- rosters ----------------------------------------------------------------------------------------------------------


def test_a_roster_survives_being_written_out(tmp_path):
    roster = Roster({n: identity_of(n).public for n in (3, 1, 2)})
    path = tmp_path / "roster.json"
    path.write_text(roster.to_json())
    assert Roster.load(path) == roster
    assert Roster.load(path).digest == roster.digest
    assert list(roster.identities) == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not JSON"),
        ("{}", "not a roster"),
        ("[" * 100_000, "not JSON"),
        ('{"format": "privfl-roster-1", "clients": {"' + "9" * 5000 + '": "AA"}}', "whole numbers work"),
        ('{"format": "privfl-roster-1", "clients": {}}', "names no client"),
        ('{"format": "privfl-roster-1", "clients": {"7": "AA"}}', "client 7 is malformed"),
        ('{"format": "privfl-roster-1", "clients": {"7": "xyz"}}', "client 7 is no hexadecimal"),
        ('{"format": "privfl-roster-1", "clients": {"7": 3}}', "client 7 is malformed"),
        ('{"format": "privfl-roster-1", "clients": {"seven": "AA"}}', "client 'seven'"),
        ('{"format": "privfl-roster-1", "clients": {"07": "AA"}}', "client '07'"),
        ('{"format": "privfl-roster-1", "clients": {"-1": "AA"}}', "client '-1'"),
        (f'{{"format": "privfl-roster-1", "clients": {{"7": "{"01" * 32}", "7": "{"02" * 32}"}}}}', "client 7 stands"),
        (
            f'{{"format": "privfl-roster-1", "clients": {{"7": "{"01" * 32}", "8": "{"01" * 32}"}}}}',
            "clients 7 and 8 have the same identity",
        ),
    ],
)
def test_a_wrong_roster_is_a_sentence_that_names_the_client(text, named):
    with pytest.raises(ConfigurationError, match=named):
        Roster.from_json(text)


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize(
    "weak",
    ["00" * 32, "01" + "00" * 31, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"]
    + ["c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"]
    + [first + "ff" * 30 + "7f" for first in ("ec", "ed", "ee")],
)
def test_identities_under_which_anybody_could_sign_are_refused(weak, sign):
    key = bytes.fromhex(weak)
    key = key[:-1] + bytes([key[-1] | sign])
    with pytest.raises(ConfigurationError, match="small order"):
        Roster({0: identity_of(1).public, 1: key})


def test_a_missing_roster_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Roster.load(tmp_path / "none.json")


def test_identities_survive_pem_and_other_keys_are_refused():
    identity = Identity.generate(OsEntropy())
    assert Identity.from_pem(identity.to_pem()).public == identity.public
    with pytest.raises(ConfigurationError, match="PEM"):
        Identity.from_pem(b"nonsense")
    assert identity.public.hex() in repr(identity)
    assert Identity(Secret(bytes(32))).public != identity.public


def test_a_late_request_of_another_kind_does_not_unmask(uploaded):
    honest = uploaded.request(10)
    assert isinstance(honest, ConsistencyRequest)
    refuses(
        uploaded,
        10,
        uploaded.forge_request(MaskedInputRequest(participants=9, peers=(), sealed=b"")),
        "no place in state Masked",
    )
