"""A lying network and a lying server against every suite.

Hypothesis drives one session: it delivers, reorders, repeats, withholds, corrupts, replays across sessions and forges.
Whatever it does:

1. nothing but `PrivflError` is raised;
2. the result is the sum over exactly the clients whose upload was accepted (shifted by exactly what the network changed
   in the words of an upload: transport integrity is TLS's work), or the round aborts and releases nothing;
3. while the network only delays, repeats, replays, withholds and drops, a phase that was `ready` does not abort;
4. no client tells both shares of one peer, tells anything twice, or tells over fewer than t survivors; no member of a
   committee answers twice for one session, be it restarted in between, or for a set without itself or of too few;
5. whoever has refused once answers nothing more.
"""

import os
from functools import cache

import numpy as np
from harness import Play, committee, make_params, read
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from privfl import (
    DecodeError,
    PartyId,
    Phase,
    PrivflError,
    RemoteProtocolError,
    Role,
    RoundAborted,
    ServerModel,
    WireForm,
    client,
)
from privfl.ckks.messages import Opening, OpenRequest
from privfl.ckks.planner import modulus_of
from privfl.masking import agreement
from privfl.masking.messages import (
    ConsistencyCheck,
    ConsistencyRequest,
    DroppedShare,
    SurvivorShare,
    Unmask,
    UnmaskRequest,
)
from privfl.wire import HEADER_BYTES, message_type

EXAMPLES = int(os.environ.get("PRIVFL_MACHINE_EXAMPLES", "500"))
UPLOADS = (Phase.MASKED_INPUT, Phase.UPLOAD)
NUMBERS = st.sampled_from((10, 11, 12, 13, 14))

LIES_ABOUT_ONE = st.tuples(NUMBERS, NUMBERS, st.booleans(), st.booleans(), st.booleans(), st.booleans())
"""Told to whom, about whom, among the survivors, among the dropped, with the true count, after the true request."""

CHANGED_BYTES = st.tuples(NUMBERS, st.integers(0, 2**16), st.integers(1, 255))
"""In whose upload, how far from its end, which bits."""


class Adversary(RuleBasedStateMachine):
    """One session under attack; subclasses name the suite."""

    suite_name: str
    model = ServerModel.HONEST_BUT_CURIOUS
    wire = WireForm.WORDS
    length = 6
    most_honest_phases = 3
    summed = UPLOADS
    """Phases whose vectors the server adds up."""

    def make_params(self, **options):
        return make_params(
            n=5, length=self.length, suite_name=self.suite_name, server=self.model, wire=self.wire, **options
        )

    @initialize(
        minimum=st.integers(2, 4),
        honest_phases=st.integers(0, 4),
        absent=st.sets(NUMBERS, max_size=1),
        last_lies=st.lists(LIES_ABOUT_ONE, max_size=2),
        last_changes=st.lists(CHANGED_BYTES, max_size=1),
    )
    def begin(self, minimum, honest_phases, absent, last_lies, last_changes):
        """The attack begins after some phases that went well: otherwise few examples would come that far."""
        self.params = self.make_params(minimum=minimum)
        self.play = Play(self.params)
        self.foreign = self.of_another_session()
        self.requests = []  # every request ever made, with whom it was for
        self.pending = []  # responses that have not been delivered: (phase, sender, bytes)
        self.delivered = []
        self.accepted = {}  # client: what the network added to its upload, modulo the word
        self.told = {}  # client: set of Unmask responses
        self.signed = {}  # client: set of ConsistencyCheck responses
        self.refused = set()
        self.last_lies = last_lies  # told of the survivors, if the session comes that far
        self.last_changes = last_changes  # made in uploads, likewise
        self.absent = absent  # never answers of its own accord
        self.tampered = False  # whether anybody acted on altered or forged bytes
        for _ in range(min(honest_phases, self.most_honest_phases)):
            self.go_on()

    def teardown(self):
        """Whatever happened, those who are left try to finish."""
        if hasattr(self, "play"):
            while self.going:
                self.attack_once_more()
                self.go_on()
                self.everything_holds()

    def attack_once_more(self):
        if self.play.server.phase in UPLOADS:
            for change in self.last_changes:
                self.corrupt_upload(change)
        elif self.play.server.phase is Phase.UNMASK:
            for lie in self.last_lies:
                self.lie_about_one(*lie)

    def of_another_session(self):
        """An honest exchange: with whom, request, response."""
        other = Play(self.make_params())
        return 10, other.ask(10), other.answer(10)

    # -- whom a number means ------------------------------------------------------------------------------------------

    def aim(self, number):
        """The number of somebody who takes part in this phase."""
        return number

    def party(self, number):
        return client(number)

    def session(self, number):
        return self.play.clients[number]

    # -- what may happen ----------------------------------------------------------------------------------------------

    def respond(self, number, request):
        """Hand a client a request; nothing but PrivflError may come of it."""
        session = self.session(number)
        was_over = number in self.refused
        last = session._last
        try:
            response = session.respond(request)
        except PrivflError as error:
            if isinstance(error, RemoteProtocolError) and not isinstance(error, DecodeError):
                self.refused.add(number)
            return None
        assert not was_over, "a client that had refused answered"
        if last is None or last[1] != response:
            self.note_told(number, request, response)
        return response

    def note_told(self, number, request, response):
        if self.suite_name == "plain" or response[6] != 0x17:
            return
        told = read(response, Unmask)
        kinds = {}
        for entry in told.entries:
            assert entry.number not in kinds, "both shares of one peer"
            kinds[entry.number] = type(entry)
        survivors = [n for n, kind in kinds.items() if kind is SurvivorShare]
        assert len(survivors) >= self.params.masking.threshold
        assert len(survivors) + 1 >= self.params.minimum_contributors
        self.told.setdefault(number, set()).add(response)

    def receive(self, number, response, change=0):
        phase = self.play.server.phase
        was_waiting = self.party(number) in self.play.server.waiting
        try:
            self.play.server.receive(self.party(number), response)
        except PrivflError:
            return
        if was_waiting:
            self.note_accepted(number, phase, change)

    def note_accepted(self, number, phase, change):
        if phase in UPLOADS:
            assert number not in self.accepted
            self.accepted[number] = change

    @property
    def going(self):
        return self.play.server.phase not in {Phase.FINISHED, Phase.ABORTED}

    @precondition(lambda self: self.going)
    @rule(number=NUMBERS)
    def exchange(self, number):
        """An honest request, an honest answer, delivered."""
        number = self.aim(number)
        if self.party(number) not in self.play.server.waiting:
            return
        request = self.play.ask(number)
        self.requests.append((number, request))
        response = self.respond(number, request)
        if response is not None:
            self.delivered.append((number, response))
            self.receive(number, response)

    @precondition(lambda self: self.going)
    @rule()
    def exchange_all(self):
        absent = {self.aim(number) for number in self.absent}
        for party in sorted(self.play.server.waiting):
            if party.number not in absent:
                self.exchange(party.number)

    @precondition(lambda self: self.going)
    @rule(number=NUMBERS)
    def withhold(self, number):
        """The answer is under way and does not arrive yet."""
        number = self.aim(number)
        if self.party(number) not in self.play.server.waiting:
            return
        request = self.play.ask(number)
        self.requests.append((number, request))
        response = self.respond(number, request)
        if response is not None:
            self.pending.append((number, response))

    @precondition(lambda self: self.pending)
    @rule(pick=st.integers(0, 99))
    def deliver_late(self, pick):
        number, response = self.pending.pop(pick % len(self.pending))
        self.delivered.append((number, response))
        self.receive(number, response)

    @precondition(lambda self: self.delivered)
    @rule(pick=st.integers(0, 99), sender=NUMBERS, truthful=st.booleans())
    def deliver_again(self, pick, sender, truthful):
        number, response = self.delivered[pick % len(self.delivered)]
        self.receive(number if truthful else sender, response)

    @precondition(lambda self: self.requests)
    @rule(pick=st.integers(0, 99), receiver=NUMBERS, truthful=st.booleans())
    def replay_request(self, pick, receiver, truthful):
        number, request = self.requests[pick % len(self.requests)]
        self.respond(number if truthful else receiver, request)

    @rule(number=NUMBERS)
    def replay_from_another_session(self, number):
        _, request, response = self.foreign
        if request not in {made for _, made in self.requests}:
            self.respond(number, request)
        self.receive(number, response)

    @precondition(lambda self: self.requests)
    @rule(pick=st.integers(0, 99), position=st.integers(0, 2**16), mask=st.integers(1, 255), cut=st.booleans())
    def corrupt_request(self, pick, position, mask, cut):
        number, request = self.requests[pick % len(self.requests)]
        if self.respond(number, corrupted(request, position, mask, cut=cut)) is not None:
            self.tampered = True

    @precondition(lambda self: self.going)
    @rule(number=NUMBERS, position=st.integers(0, 2**16), mask=st.integers(1, 255), cut=st.booleans())
    def corrupt_response(self, number, position, mask, cut):
        number = self.aim(number)
        if self.party(number) not in self.play.server.waiting:
            return
        request = self.play.ask(number)
        response = self.respond(number, request)
        if response is None:
            return
        frame = corrupted(response, position, mask, cut=cut)
        change = 0
        if self.play.server.phase in self.summed and len(frame) == len(response):
            change = self.difference(response, frame)
        waiting = len(self.play.server.waiting)
        self.receive(number, frame, change)
        self.tampered |= len(self.play.server.waiting) < waiting

    @precondition(lambda self: self.play.server.phase in UPLOADS)
    @rule(change=CHANGED_BYTES)
    def corrupt_upload(self, change):
        """Within the vector, of whatever suite."""
        number, position, mask = change
        self.corrupt_response(number, -1 - position % self.params.ring.vector_bytes(self.length), mask, cut=False)

    def difference(self, response, frame):
        """What a changed upload adds to the sum; 0 for one that no server takes."""
        ring, length = self.params.ring, self.params.vector.length
        tail = ring.vector_bytes(length)
        before = ring.received(memoryview(response)[-tail:], length)
        try:
            return ring.received(memoryview(frame)[-tail:], length) - before
        except DecodeError:
            return 0

    @rule(number=NUMBERS, garbage=st.binary(max_size=200), header=st.booleans())
    def garbage(self, number, garbage, header):
        if header and self.requests:
            garbage = self.requests[-1][1][:HEADER_BYTES] + garbage
        number = self.aim(number)
        self.respond(number, garbage)
        self.receive(number, garbage)

    def lie(self, number, *, contributors, survivors, dropped, truth=None):
        """A forged UnmaskRequest, under the true one's signatures; an answer to it goes to the server."""
        participants = truth.participant_bits if truth else b""
        survived = agreement.to_bits(self.params.cohort, {*survivors, number}) if participants else b""
        forged = UnmaskRequest(
            contributors=contributors,
            survivors=tuple(sorted(survivors)),
            dropped=tuple(sorted(dropped)),
            participant_bits=participants,
            survivor_bits=survived,
            signers=truth.signers if truth else (),
            signatures=truth.signatures if truth else b"",
        )
        response = self.respond(number, self.play.forge_request(forged))
        if response is not None:
            self.tampered = True
            self.receive(number, response)

    @precondition(lambda self: self.suite_name not in {"plain", "ckks"} and self.going)
    @rule(number=NUMBERS, contributors=st.integers(0, 6), survivors=st.sets(NUMBERS), dropped=st.sets(NUMBERS))
    def forge_unmask(self, number, contributors, survivors, dropped):
        """A server that names whom it likes."""
        self.lie(number, contributors=contributors, survivors=survivors, dropped=dropped)

    @precondition(lambda self: self.play.server.phase is Phase.UNMASK)
    @rule(lie=LIES_ABOUT_ONE)
    def forge_unmask_about_one(self, lie):
        self.lie_about_one(*lie)

    def lie_about_one(self, number, victim, survived, dropped, honest_count, after_the_truth):
        """A plausible lie: the true lists, but for what they say of one client."""
        if number not in self.play.server._taking_part:
            return
        if after_the_truth:
            self.exchange(number)
        truth = self.play.request(number)
        survivors = {*truth.survivors} - {victim} | ({victim} if survived else set())
        gone = {*truth.dropped} - {victim} | ({victim} if dropped else set())
        contributors = truth.contributors if honest_count else len(survivors) + 1
        self.lie(number, contributors=contributors, survivors=survivors, dropped=gone, truth=truth)

    @precondition(lambda self: self.going)
    @rule()
    def go_on(self):
        if self.going:
            self.exchange_all()
            self.advance_now()

    @precondition(lambda self: self.going and self.play.server.ready)
    @rule()
    def advance_when_ready(self):
        self.advance_now()

    @precondition(lambda self: self.going and not self.play.server.ready)
    @rule(really=st.integers(0, 9))
    def advance_too_early(self, really):
        if really == 0:
            self.advance_now()

    def advance_now(self):
        phase, ready = self.play.server.phase, self.play.server.ready
        try:
            self.play.server.advance()
        except RoundAborted as error:
            assert self.play.server.phase is Phase.ABORTED
            if ready and not self.tampered:
                raise AssertionError("aborted without need") from error
            return
        assert self.play.server.phase is not phase

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def everything_holds(self):
        self.nobody_tells_twice()
        self.nobody_tells_both_kinds_about_one_peer()
        self.the_result_is_the_sum_over_the_uploads_or_there_is_none()

    def nobody_tells_twice(self):
        assert all(len(answers) == 1 for answers in self.told.values())

    def nobody_tells_both_kinds_about_one_peer(self):
        for answers in self.told.values():
            kinds = {}
            for answer in answers:
                for entry in read(answer, Unmask).entries:
                    kinds.setdefault(entry.number, set()).add(isinstance(entry, DroppedShare))
            assert all(len(kind) == 1 for kind in kinds.values())

    def the_result_is_the_sum_over_the_uploads_or_there_is_none(self):
        server = self.play.server
        if server.phase is Phase.FINISHED:
            expected = self.play.exact_sum(self.accepted).astype(np.int64)
            ring = self.params.ring
            for change in self.accepted.values():
                expected = ring.centred(expected.astype(ring.dtype) + np.asarray(change).astype(ring.dtype))
            assert (server.result.vector == expected).all()
            assert server.result.contributors == len(self.accepted)
            assert len(self.accepted) >= self.params.minimum_contributors
        else:
            try:
                _ = server.result
            except PrivflError:
                return
            raise AssertionError("a result before the end")


def corrupted(frame, position, mask, *, cut):
    position %= len(frame)
    if cut:
        return frame[:position]
    return frame[:position] + bytes([frame[position] ^ mask]) + frame[position + 1 :]


class MaskingAdversary(Adversary):
    suite_name = "masking"


class ActiveAdversary(Adversary):
    suite_name = "masking"
    model = ServerModel.ACTIVE
    most_honest_phases = 4

    def note_told(self, number, request, response):
        super().note_told(number, request, response)
        if response[6] == message_type(ConsistencyCheck):
            self.signed.setdefault(number, set()).add(response)

    def attack_once_more(self):
        super().attack_once_more()
        if self.play.server.phase is Phase.CONSISTENCY_CHECK:
            for number, victim, survived, *_, after_the_truth in self.last_lies[1:]:
                if after_the_truth:
                    self.exchange(number)
                self.show_another_set(number, set(self.accepted) - {victim} | ({victim} if survived else set()), None)

    @precondition(lambda self: self.play.server.phase is Phase.CONSISTENCY_CHECK)
    @rule(number=NUMBERS, members=st.sets(NUMBERS), participants=st.none() | st.sets(NUMBERS))
    def show_another_set(self, number, members, participants):
        """A second set of survivors, plausible or not; a signature of it goes to the server, who must not take it."""
        cohort, truth = self.params.cohort, self.play.request(min(self.play.server._taking_part)).participants
        request = ConsistencyRequest(
            participants=truth if participants is None else agreement.to_bits(cohort, participants | members),
            survivors=agreement.to_bits(cohort, members),
        )
        response = self.respond(number, self.play.forge_request(request))
        if response is not None:
            self.tampered = True
            self.receive(number, response)

    @invariant()
    def everything_holds(self):
        super().everything_holds()
        self.nobody_signs_two_sets()
        self.all_who_tell_tell_of_the_same_survivors()

    def nobody_signs_two_sets(self):
        assert all(len(signatures) == 1 for signatures in self.signed.values())

    def all_who_tell_tell_of_the_same_survivors(self):
        told = set()
        for number, answers in self.told.items():
            for answer in answers:
                entries = read(answer, Unmask).entries
                survivors = frozenset(entry.number for entry in entries if isinstance(entry, SurvivorShare))
                told.add(survivors | {number})
        assert len(told) <= 1


class PackedAdversary(Adversary):
    suite_name = "masking"
    wire = WireForm.PACKED
    length = 70


class KaheAdversary(Adversary):
    """A changed ciphertext shifts the sum by as much, to within rounding; a changed key makes it noise within range."""

    suite_name = "kahe"

    def difference(self, response, frame):
        """None where more than the ciphertext was changed."""
        hidden = self.params.ring.vector_bytes(self.length)
        return super().difference(response, frame) if response[:-hidden] == frame[:-hidden] else None

    def the_result_is_the_sum_over_the_uploads_or_there_is_none(self):
        server, ring, changes = self.play.server, self.params.ring, list(self.accepted.values())
        if server.phase is not Phase.FINISHED:
            super().the_result_is_the_sum_over_the_uploads_or_there_is_none()
            return
        vector, scale = server.result.vector, 1 << self.params.setting.scale_bits
        assert server.result.contributors == len(self.accepted) >= self.params.minimum_contributors
        assert np.abs(vector).max() <= len(self.accepted) * self.params.vector.bound
        if any(change is None for change in changes):
            return
        excess = (vector - self.play.exact_sum(self.accepted)) * scale
        for change in changes:
            excess = ring.centred(excess.astype(ring.dtype) - np.asarray(change).astype(ring.dtype))
        assert np.abs(excess).max() < (scale if any(map(np.any, changes)) else 1)


class ActiveKaheAdversary(KaheAdversary, ActiveAdversary):
    wire = WireForm.PACKED
    length = 70


class PlainAdversary(Adversary):
    suite_name = "plain"


MEMBERS, THRESHOLD = 3, 2


@cache
def opened_by_a_committee():
    """Another session under the same key: a member's exchange in which it answers for a sum."""
    play = Play(make_params(suite_name="ckks", key=committee(members=MEMBERS, threshold=THRESHOLD).key)).to(Phase.OPEN)
    return 0, play.ask(0), play.answer(0)


class CkksAdversary(Adversary):
    """A changed c₀ or answer shifts the sum by as much, to within rounding; a changed c₁ makes it noise within range.

    Numbers below `MEMBERS` are those of the committee, who may be restarted at any time from their keys and books.
    """

    suite_name = "ckks"
    summed = (Phase.UPLOAD, Phase.OPEN)

    def __init__(self):
        super().__init__()
        self.shifts = []  # what the network added to answers
        self.noisy = False  # whether a member answered what the server did not ask

    @initialize(
        minimum=st.integers(2, 4),
        honest_phases=st.integers(0, 4),
        absent=st.sets(NUMBERS, max_size=1),
        last_lies=st.just([]) | st.lists(LIES_ABOUT_ONE, min_size=1, max_size=2),
        last_changes=st.lists(CHANGED_BYTES, max_size=1),
    )
    def begin(self, **drawn):
        """As elsewhere, but that members are lied to in every second session."""
        super().begin(**drawn)

    def make_params(self, **options):
        return super().make_params(key=committee(members=MEMBERS, threshold=THRESHOLD).key, **options)

    def of_another_session(self):
        return opened_by_a_committee()

    def aim(self, number):
        return number % MEMBERS if self.play.convened else number

    def party(self, number):
        return PartyId(Role.COMMITTEE, number) if number < MEMBERS else client(number)

    def session(self, number):
        return (self.play.members if number < MEMBERS else self.play.clients)[number]

    @property
    def modulus(self):
        return modulus_of(self.params.setting.epoch)

    @property
    def opened_bytes(self):
        return self.modulus.vector_bytes(self.length)

    def note_told(self, number, request, response):
        if response[6] != message_type(Opening):
            return
        asked = read(request, OpenRequest, tail_bytes=self.modulus.vector_bytes(self.modulus.degree))
        assert number in asked.members
        assert len(asked.members) >= THRESHOLD
        assert asked.contributors >= self.params.minimum_contributors
        self.noisy |= request != self.play.requests.get((Phase.OPEN, number))
        self.told.setdefault(number, set()).add(response)

    def nobody_tells_both_kinds_about_one_peer(self):
        """There are no shares of clients' secrets here."""

    def note_accepted(self, number, phase, change):
        super().note_accepted(number, phase, change)
        if phase is Phase.OPEN:
            self.shifts.append(change)

    def difference(self, response, frame):
        """None where c₁ was changed."""
        size = self.opened_bytes
        if response[:-size] != frame[:-size]:
            return None
        try:
            before, after = (self.modulus.unpack(raw[-size:], self.length) for raw in (response, frame))
        except DecodeError:
            return 0
        (first, second), (low, high) = self.modulus.primes, (after - before).astype(object)
        return low + first * ((high - low) * pow(first, -1, second) % second)

    @rule(member=st.integers(0, MEMBERS - 1))
    def restart(self, member):
        self.play.members[member] = self.play.fresh_member(member)
        self.refused.discard(member)

    @precondition(lambda self: self.play.server.phase is Phase.OPEN)
    @rule(
        member=st.integers(0, MEMBERS - 1),
        contributors=st.integers(1, 6),
        members=st.sets(st.integers(0, MEMBERS)),
        other=st.booleans(),
        after_the_truth=st.booleans(),
    )
    def forge_opening(self, member, contributors, members, other, after_the_truth):
        """A server that names whom it likes, or shows another sum."""
        if after_the_truth:
            self.exchange(member)
        shown = bytes(self.play.server._step._shown)
        forged = self.play.forge_request(
            OpenRequest(contributors=contributors, members=tuple(sorted(members))),
            tail=bytes([shown[0] ^ other]) + shown[1:],
        )
        response = self.respond(member, forged)
        if response is not None:
            self.tampered = True
            self.receive(member, response)

    def advance_now(self):
        super().advance_now()
        if self.play.server.phase is Phase.OPEN:
            for _, victim, _, count_of_one, other, after_the_truth in self.last_lies:
                contributors = 1 if count_of_one else len(self.accepted)
                everybody = set(range(MEMBERS))
                for member in range(MEMBERS):
                    # One after the other is told of itself alone, of all others, and of everybody.
                    members = ({member}, everybody - {member}, everybody)[(victim + member) % 3]
                    if after_the_truth:
                        self.exchange(member)
                        self.restart(member)
                        self.respond(member, self.play.requests.get((Phase.CONVENE, member), b""))
                    self.forge_opening(member, contributors, members, other, after_the_truth=False)

    def the_result_is_the_sum_over_the_uploads_or_there_is_none(self):
        server, changes = self.play.server, [*self.accepted.values(), *self.shifts]
        if server.phase is not Phase.FINISHED:
            super().the_result_is_the_sum_over_the_uploads_or_there_is_none()
            return
        vector, scale = server.result.vector, 1 << self.params.setting.scale_bits
        assert server.result.contributors == len(self.accepted) >= self.params.minimum_contributors
        assert np.abs(vector).max() <= len(self.accepted) * self.params.vector.bound
        if self.noisy or any(change is None for change in changes):
            return
        assert server.result.error_std == 0
        excess = (vector - self.play.exact_sum(self.accepted)).astype(object) * scale - sum(changes)
        whole = self.modulus.product
        excess = (excess + whole // 2) % whole - whole // 2
        assert np.abs(excess).max() < (scale if any(map(np.any, changes)) else 1)


TestMaskingUnderAttack = MaskingAdversary.TestCase
TestMaskingUnderAttack.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
TestActiveMaskingUnderAttack = ActiveAdversary.TestCase
TestActiveMaskingUnderAttack.settings = settings(max_examples=EXAMPLES // 2, stateful_step_count=30)
TestPackedMaskingUnderAttack = PackedAdversary.TestCase
TestPackedMaskingUnderAttack.settings = settings(max_examples=EXAMPLES // 4, stateful_step_count=30)
TestKaheUnderAttack = KaheAdversary.TestCase
TestKaheUnderAttack.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
TestActiveKaheUnderAttack = ActiveKaheAdversary.TestCase
TestActiveKaheUnderAttack.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
TestPlainUnderAttack = PlainAdversary.TestCase
TestPlainUnderAttack.settings = settings(max_examples=EXAMPLES // 8, stateful_step_count=20)
TestCkksUnderAttack = CkksAdversary.TestCase
TestCkksUnderAttack.settings = settings(max_examples=EXAMPLES // 5, stateful_step_count=30)
