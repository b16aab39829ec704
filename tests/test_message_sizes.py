"""What may leave a client or a member of a committee, and how long: no more than does, and no less.

An auditor compares recorded lengths with `Suite.message_sizes`. So every length that an honest session leads to is
admitted; where the parameters fix it, no other; and where drop-outs decide, no length that they cannot lead to.
"""

from dataclasses import replace
from functools import cache
from itertools import chain, combinations, product

import pytest
from harness import ACTIVE, HONEST, Play, committee, identity_of, make_params, make_vectors, read

from privfl import SUITE_NAMES, ConfigurationError, Phase, Role, ThreatModel, WireForm, simulate, suite
from privfl.lockstep.sizes import MessageSizes
from privfl.masking.graph import draw_witnesses
from privfl.masking.messages import SEALED_BYTES, DroppedShare, ShareKeys, SurvivorShare, Unmask
from privfl.masking.planner import quorum
from privfl.params import CkksSetting
from privfl.wire import SuiteCode, client, encode_message

MIXED = (3, 127, 128, 300, 70_000, 2**32 - 1)
"""Numbers of one, two, three and five bytes."""
SHORT = (3, 127, 128, 256, 70_000)
"""Likewise; and here the padding does not hide which number a client's own is."""
CROWD = (*range(60, 185), 255, 256, 65_535, 65_536, 2**32 - 1)
"""Beyond 128 clients, whose graph is a ring."""
FAR = tuple(range(100_000, 100_160))
"""A ring as well, of numbers that all take five bytes."""
TRUSTING = {"corrupt": 0.0, "dropout": 0.0}
"""Few are enough to open for the others: the more may drop out."""
USUAL = {"corrupt": 0.1, "dropout": 0.1}
SPARSE = {"corrupt": 0.01, "dropout": 0.01}
"""Few neighbours are enough: 4 among so many, and 6 against an active server."""

HELD = [(name, server) for name in SUITE_NAMES for server in (HONEST, ACTIVE) if (name, server) != ("ckks", ACTIVE)]
CLIENT_PHASES = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK, Phase.UNMASK)
BY_NEIGHBOURS = {Phase.SHARE_KEYS, Phase.UNMASK}


@cache
def params_of(name, server, cohort, *, wire=WireForm.WORDS, length=40, signed=False, fractions=None, bound=1000):
    usual = USUAL if (name, server) == ("plain", ACTIVE) else TRUSTING  # nothing weaker suits plain's clients there
    threat = ThreatModel(server=server, **dict(fractions or usual.items()))
    return make_params(
        suite_name=name, cohort=cohort, threat=threat, wire=wire, length=length, signed=signed, bound=bound
    )


def run(params, **options):
    identities = {number: identity_of(number) for number in params.cohort} if params.roster_digest else None
    opened_by = committee() if isinstance(params.setting, CkksSetting) else None
    vectors = make_vectors(params)
    return simulate(params, vectors, record=True, identities=identities, committee=opened_by, **options)


def sizes_of(params):
    return suite(params.suite).message_sizes(params)


def require_admitted(params, simulation):
    """Every message is admitted; none with a clear number behind it, and none of another length where it is fixed."""
    sizes, senders = sizes_of(params), {}
    for message in simulation.messages:
        place = (Role[message.role.upper()], Phase(message.phase))
        one = sizes[place]
        assert one.admits(message.client, message.size_bytes), (message, one.of(message.client))
        assert one.least <= message.size_bytes <= one.most
        for more in (-8, -1, 1, 8):
            assert not one.admits(message.client, message.size_bytes + more)
        if place[1] not in BY_NEIGHBOURS:
            assert one.exact
            assert one.of(message.client) == {message.size_bytes}
        senders.setdefault(place, set()).add(message.client)
    for place, numbers in senders.items():
        assert numbers <= sizes[place].senders
        assert len(numbers) <= sizes[place].most_senders
    if simulation.aggregate is not None:
        assert senders.keys() == sizes.keys()
        for place, one in sizes.items():
            assert len(senders[place]) >= one.fewest_senders


# What leaves is admitted


@pytest.mark.parametrize("wire", WireForm)
@pytest.mark.parametrize(("name", "server"), HELD)
def test_whatever_leaves_is_admitted_whenever_clients_drop_out(name, server, wire):
    params = params_of(name, server, MIXED, wire=wire)
    outcomes = [run(params)]
    outcomes += [run(params, drops={phase: [dropping]}) for phase in CLIENT_PHASES for dropping in (3, 2**32 - 1)]
    staggered = dict(zip(CLIENT_PHASES, ([number] for number in MIXED), strict=False))
    outcomes += [run(params, drops=staggered)]
    for outcome in outcomes:
        require_admitted(params, outcome)
    assert sum(outcome.aggregate is not None for outcome in outcomes) >= 11
    assert not any(outcome.failures for outcome in outcomes)


@pytest.mark.parametrize(("name", "server"), HELD)
def test_whatever_leaves_a_crowd_is_admitted(name, server):
    """Of `ckks`, a hundred: the tests' key is made for no more."""
    fractions = USUAL if name == "plain" else SPARSE
    params = params_of(name, server, CROWD[-100:] if name == "ckks" else CROWD, fractions=tuple(fractions.items()))
    drops = {phase: [params.cohort[31 * place]] for place, phase in enumerate(CLIENT_PHASES[:3])}
    require_admitted(params, run(params, drops=drops))


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_whatever_leaves_the_fewest_clients_is_admitted(name):
    params = params_of(name, HONEST, MIXED[: suite(name).least_clients])
    outcome = run(params)
    assert outcome.aggregate is not None
    require_admitted(params, outcome)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("length", [1, 4096, 4097])
def test_whatever_leaves_a_committee_is_admitted(length, signed):
    params = params_of("ckks", HONEST, MIXED, length=length, signed=signed)
    for absent in ({}, {Phase.CONVENE: [0, 4]}, {Phase.CONVENE: [0, 1, 2]}, {Phase.OPEN: [0]}):
        require_admitted(params, run(params, absent_members=absent))


def test_only_as_many_members_as_open_a_sum_may_answer_for_it():
    sizes = sizes_of(params_of("ckks", HONEST, MIXED))
    convened, opened = sizes[Role.COMMITTEE, Phase.CONVENE], sizes[Role.COMMITTEE, Phase.OPEN]
    assert convened.senders == opened.senders == set(range(5))
    assert (convened.fewest_senders, convened.most_senders) == (3, 5)
    assert (opened.fewest_senders, opened.most_senders) == (3, 3)


def test_signatures_of_sets_leave_witnesses_only():
    params = params_of("masking", ACTIVE, CROWD, fractions=tuple(SPARSE.items()))
    wanted = quorum(len(CROWD), params.threat)
    signed = sizes_of(params)[Role.CLIENT, Phase.CONSISTENCY_CHECK]
    assert signed.senders == draw_witnesses(CROWD, wanted.witnesses, params.keys_digest) < set(CROWD)
    stranger = next(number for number in CROWD if number not in signed.senders)
    assert signed.of(stranger) == set()
    assert not signed.admits(stranger, signed.most)
    assert (signed.fewest_senders, signed.most_senders) == (wanted.signatures, wanted.witnesses)


def test_a_sum_against_an_active_server_has_as_many_contributors_as_clients_insist_on():
    """Whatever minimum the parameters state: two beside the corrupt."""
    threat = ThreatModel(server=ACTIVE, corrupt=0.1, dropout=0.01)
    params = make_params(cohort=tuple(range(1000)), threat=threat, minimum=2)
    assert params.masking.threshold + 1 < 102
    for phase in CLIENT_PHASES[:3]:
        assert sizes_of(params)[Role.CLIENT, phase].fewest_senders == 102
    assert sizes_of(replace(params, minimum_contributors=150))[Role.CLIENT, Phase.SHARE_KEYS].fewest_senders == 150


@pytest.mark.parametrize(("name", "server"), HELD)
def test_whoever_is_not_invited_sends_nothing(name, server):
    for (role, _), one in sizes_of(params_of(name, server, MIXED)).items():
        assert one.senders <= set(MIXED if role is Role.CLIENT else range(5))
        assert not one.admits(4 if role is Role.CLIENT else 5, one.least)


def test_phases_are_the_suites_own():
    def phases(name, server=HONEST):
        return {(role.name, phase.value) for role, phase in sizes_of(params_of(name, server, MIXED))}

    keyed = {("CLIENT", phase) for phase in ("AdvertiseKeys", "ShareKeys", "MaskedInput", "Unmask")}
    assert phases("plain") == phases("plain", ACTIVE) == {("CLIENT", "Upload")}
    assert phases("masking") == phases("kahe") == keyed
    assert phases("masking", ACTIVE) == phases("kahe", ACTIVE) == keyed | {("CLIENT", "ConsistencyCheck")}
    assert phases("ckks") == {("CLIENT", "Upload"), ("COMMITTEE", "Convene"), ("COMMITTEE", "Open")}


def test_lengths_follow_from_the_parameters():
    """Written down by hand: header 48, struct, padding to 16, vector."""
    sizes = {place[1]: one for place, one in sizes_of(params_of("masking", ACTIVE, MIXED)).items()}
    assert sizes[Phase.ADVERTISE_KEYS].least == 48 + 154 + 6
    assert sizes[Phase.MASKED_INPUT].least == 48 + 2 + 14 + 4 * 40
    assert sizes[Phase.CONSISTENCY_CHECK].least == 48 + 68 + 12
    plain = sizes_of(params_of("plain", HONEST, MIXED, bound=2**31 - 1))
    assert plain[Role.CLIENT, Phase.UPLOAD].least == 48 + 2 + 14 + 8 * 40


# Nothing more is admitted


def subsets(numbers, fewest=0):
    return chain.from_iterable(combinations(numbers, count) for count in range(fewest, len(numbers) + 1))


def framed(message):
    return len(encode_message(message, suite=SuiteCode.MASKING, session=bytes(32), sender=client(3)).finish())


def entry(number, *, told, dropped):
    share = bytes(32) if told else b""
    if dropped:
        return DroppedShare(number=number, share=share, pair_seed=bytes(16))
    return SurvivorShare(number=number, share=share)


@pytest.mark.parametrize("cohort", [MIXED, SHORT])
@pytest.mark.parametrize("server", [HONEST, ACTIVE])
def test_lengths_that_depend_on_neighbours_are_those_of_all_that_can_be_said(server, cohort):
    """Every choice of neighbours, of drop-outs and of shares that could not be read, as a message."""
    params = params_of("masking", server, cohort)
    threshold, fewest = params.masking.threshold, fewest_neighbours(params)
    sizes = sizes_of(params)
    for number in cohort:
        others = [other for other in cohort if other != number]
        shared = {
            framed(
                ShareKeys(
                    commitment=bytes(32),
                    peers=peers,
                    sealed=bytes(SEALED_BYTES * len(peers)),
                    confirmations=bytes(16 * len(peers)),
                )
            )
            for peers in subsets(others, fewest)
        }
        assert sizes[Role.CLIENT, Phase.SHARE_KEYS].of(number) == shared
        unmasked = {
            framed(
                Unmask(
                    self_seed=bytes(32),
                    entries=tuple(entry(peer, told=peer in told, dropped=peer not in alive) for peer in peers),
                )
            )
            for peers in subsets(others, fewest)
            for alive, told in product(subsets(peers, fewest), subsets(peers, threshold))
        }
        assert sizes[Role.CLIENT, Phase.UNMASK].of(number) == unmasked


def fewest_neighbours(params):
    """Of everybody, in these tests' complete graphs: the threshold for one corrupt client."""
    return {HONEST: 2, ACTIVE: len(params.cohort) // 2 + 1}[params.threat.server]


def leaving(outcome, phase, number):
    sizes = [one.size_bytes for one in outcome.messages if (one.phase, one.client) == (phase, number)]
    assert len(sizes) <= 1
    return sizes[0] if sizes else None


@pytest.mark.parametrize("server", [HONEST, ACTIVE])
@pytest.mark.parametrize("number", MIXED)
def test_the_shortest_and_the_longest_leave_in_some_session(number, server):
    """Silence of those with the longest numbers, from the first phase on; of some, once their keys are shared."""
    params = params_of("masking", server, MIXED)
    sizes = sizes_of(params)
    shared, unmasked = (sizes[Role.CLIENT, phase].of(number) for phase in (Phase.SHARE_KEYS, Phase.UNMASK))
    others = [other for other in MIXED if other != number]
    gone = others[fewest_neighbours(params) :]

    few = run(params, drops={Phase.ADVERTISE_KEYS: gone})
    assert leaving(few, "ShareKeys", number) == min(shared)
    assert leaving(few, "Unmask", number) == min(unmasked)
    many = run(params, drops={Phase.MASKED_INPUT: gone})
    assert leaving(many, "ShareKeys", number) == max(shared)
    assert leaving(many, "Unmask", number) == max(unmasked)
    # One more would have been too many.
    gone = others[fewest_neighbours(params) - 1 :]
    assert leaving(run(params, drops={Phase.ADVERTISE_KEYS: gone}), "ShareKeys", number) is None
    assert leaving(run(params, drops={Phase.MASKED_INPUT: gone}), "Unmask", number) is None


@cache
def params_for_all():
    """Nobody may be missing."""
    return make_params(cohort=MIXED, threat=ThreatModel(**TRUSTING), minimum=len(MIXED))


def test_where_nobody_may_be_missing_lengths_are_exact():
    params = params_for_all()
    sizes = sizes_of(params)
    outcome = run(params)
    for number in MIXED:
        assert sizes[Role.CLIENT, Phase.SHARE_KEYS].of(number) == {leaving(outcome, "ShareKeys", number)}
        # Neighbours that seal rubbish leave shares out: up to three of five, 32 bytes each.
        full = leaving(outcome, "Unmask", number)
        assert sizes[Role.CLIENT, Phase.UNMASK].of(number) == {full - 32 * untold for untold in range(4)}


def test_a_share_that_could_not_be_read_shortens_what_is_told_by_an_admitted_length():
    play = Play(params_for_all()).to(Phase.SHARE_KEYS)
    for number in MIXED:
        answer = play.answer(number)
        if number == 300:
            honest = read(answer, ShareKeys)
            rubbish = ShareKeys(
                commitment=honest.commitment,
                peers=honest.peers,
                sealed=bytes(len(honest.sealed)),
                confirmations=honest.confirmations,
            )
            answer = play.forge_response(number, rubbish)
        play.server.receive(client(number), answer)
    play.server.advance()
    play.to(Phase.UNMASK)
    told = len(play.answer(3))
    unmasked = sizes_of(play.params)[Role.CLIENT, Phase.UNMASK]
    assert unmasked.admits(3, told)
    assert told == leaving(run(play.params), "Unmask", 3) - 32


def test_the_shortest_and_the_longest_leave_somebody_on_a_ring():
    """Of 160 clients 45 are silent, and of the rest somebody has just 2 of 4 neighbours.

    Of 4,000 simulated rings 26.8 had on average (standard deviation 4.7, fewest 11): nobody is a chance below 10^-7.
    """
    params = make_params(cohort=FAR, threat=ThreatModel(**SPARSE), minimum=3, length=3)
    assert (params.masking.degree, params.masking.threshold) == (4, 2)
    shared, unmasked = (sizes_of(params)[Role.CLIENT, phase] for phase in (Phase.SHARE_KEYS, Phase.UNMASK))
    assert len(shared.by_sender) == 1

    sparse = run(params, drops={Phase.ADVERTISE_KEYS: FAR[::4] + FAR[1:10:2]})
    require_admitted(params, sparse)
    assert min(leaving(sparse, "ShareKeys", number) or shared.most for number in FAR) == shared.least
    assert min(leaving(sparse, "Unmask", number) or unmasked.most for number in FAR) == unmasked.least

    play = Play(params).to(Phase.MASKED_INPUT)
    assert {len(play.responses[Phase.SHARE_KEYS, number]) for number in FAR} == {shared.most}
    around = play.server._step._book.graph.neighbours(FAR[0])
    play.step(silent=around[:2])
    assert len(play.answer(FAR[0])) == unmasked.most


# Other suites


@pytest.mark.parametrize("length", [1, 40, 1000, 4096, 5000])
@pytest.mark.parametrize("wire", WireForm)
@pytest.mark.parametrize(("name", "server"), [held for held in HELD if held[0] != "plain"])
def test_a_plain_upload_is_none_of_what_other_suites_send(name, server, wire, length):
    """But under `masking` in words, which are as many as plain's: there the phase alone tells them apart."""
    plain = sizes_of(params_of("plain", HONEST, MIXED, length=length))[Role.CLIENT, Phase.UPLOAD].least
    sizes = sizes_of(params_of(name, server, MIXED, wire=wire, length=length))
    upload = sizes[Role.CLIENT, Phase.UPLOAD if name == "ckks" else Phase.MASKED_INPUT]
    alike = (name, wire) == ("masking", WireForm.WORDS)
    assert all(upload.admits(number, plain) == alike for number in MIXED)
    assert name == "ckks" or (Role.CLIENT, Phase.UPLOAD) not in sizes


@pytest.mark.parametrize("name", SUITE_NAMES)
def test_parameters_under_which_no_session_is_held_have_no_sizes(name):
    for other in SUITE_NAMES:
        if other != name:
            with pytest.raises(ConfigurationError, match=f"parameters of suite '{other}' where '{name}' is needed"):
                suite(name).message_sizes(params_of(other, HONEST, MIXED))
    if name == "masking":
        with pytest.raises(ConfigurationError, match="threshold"):
            sizes_of(make_params(cohort=MIXED, threshold=1))


def test_groups_answer_for_their_own_members_only():
    sizes = MessageSizes(
        by_sender=((frozenset({1, 2}), frozenset({64})), (frozenset({3}), frozenset({64, 80}))),
        fewest_senders=2,
        most_senders=3,
    )
    assert (sizes.least, sizes.most, sizes.exact, sizes.senders) == (64, 80, False, {1, 2, 3})
    assert sizes.admits(3, 80)
    assert not sizes.admits(1, 80)
    assert not sizes.admits(4, 64)
