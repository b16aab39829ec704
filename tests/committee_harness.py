"""A committee among distant clients, played by hand: one of its members is a participant, the others are in memory."""

import os

from consortium_harness import (
    CKKS_POLICY,
    COMMITTEE,
    MODEL,
    SEATS,
    TERMS,
    THREAT,
    TinyWork,
    context_of,
    make_participant,
)
from harness import epoch, identity_of, make_params, make_vectors

from privfl import ClientPolicy, Credentials, Phase, suite
from privfl.ckks.ceremony import CeremonyMember
from privfl.ckks.ceremony_params import CeremonyParams
from privfl.ckks.coordinator import CeremonyCoordinator
from privfl.ckks.member import CommitteeMember, take_into_use
from privfl.guard import MemoryGuard
from privfl.integrations.consortium import Step
from privfl.integrations.consortium.messages import CEREMONY, Part, model_digest
from privfl.simulate import roster_of
from privfl.wire import PartyId, Role
from privfl.wire import client as client_named

CLIENTS = 7
ROSTER = roster_of({number: identity_of(number) for number in range(CLIENTS)})


def seat(number):
    """Name the member with that number."""
    return PartyId(Role.COMMITTEE, number)


def small_epoch(**options):
    """What three members make a key for, of whom two open a sum."""
    return epoch(**{"members": len(SEATS), "threshold": 2} | options)


def ceremony_params(made_for=None, roster=COMMITTEE):
    return CeremonyParams(epoch=made_for or small_epoch(), roster=roster, nonce=os.urandom(16))


def ckks_params(key, *, round_number=1, length=16, **options):
    return make_params(
        CLIENTS,
        length,
        "ckks",
        **{
            "context": context_of(TERMS, MODEL, round_number),
            "cohort": tuple(range(CLIENTS)),
            "threat": THREAT,
            "key": key,
            "signed": True,
            "minimum": 4,
        }
        | options,
    )


def ckks_client(params, number, key):
    return suite("ckks").client(
        params,
        number,
        policy=ClientPolicy(suites=frozenset({"ckks"})),
        credentials=Credentials(identity_of(number), ROSTER) if params.roster_digest else None,
        committee=key,
    )


class Chair:
    """A member of the committee that is a participant: client 0, in seat 1.

    Args:
        folder: its home.
        openings: of keys.
        options: of its home.
    """

    number, seat, round = 0, 1, 1

    def __init__(self, folder, *, openings=10, work=None, **options):
        self.folder, self.options = folder, {"policy": CKKS_POLICY} | options
        self.work = work or TinyWork()
        self.epoch = small_epoch(openings=openings)
        self.params = self.server = self.key = None
        self.others, self.guard = {}, MemoryGuard()
        self.kept = {}

    def fresh(self, **options):
        """A process that has just been started."""
        return make_participant(self.folder, self.number, self.work, **self.options | options)

    # A ceremony, or a session.

    def begin_ceremony(self, params=None):
        self.params = params or ceremony_params(self.epoch)
        self.server = CeremonyCoordinator(self.params)
        self.others = {
            seat(number): CeremonyMember(self.params, number, identity=identity_of(client))
            for number, client in enumerate(SEATS)
            if number != self.seat
        }
        return self

    def make_key(self, participant):
        """Hold a ceremony from its first phase to its key."""
        self.begin_ceremony().to(Phase.FINISHED, participant)
        return self.end_ceremony()

    def end_ceremony(self):
        self.key = self.server.result
        self.kept = {party: member.key for party, member in self.others.items()}
        for key in self.kept.values():
            take_into_use(key, self.guard)
        return self

    def begin_session(self, params=None, *, round_number=1):
        self.params, self.round = params or ckks_params(self.key, round_number=round_number), round_number
        self.server = suite("ckks").server(self.params, roster=ROSTER, committee=self.key)
        self.vectors = make_vectors(self.params)
        self.work._vector = self.vectors[self.number]
        self.others = {party: CommitteeMember(self.params, key, guard=self.guard) for party, key in self.kept.items()}
        for number in range(CLIENTS):
            if number != self.number:
                session = ckks_client(self.params, number, self.key)
                session.submit(self.vectors[number])
                self.others[client_named(number)] = session
        return self

    # What the participant is asked.

    @property
    def part(self):
        if isinstance(self.params, CeremonyParams):
            return Part.CEREMONY
        return Part.CLIENT if self.server.phase is Phase.UPLOAD else Part.MEMBER

    @property
    def party(self):
        return client_named(self.number) if self.part is Part.CLIENT else seat(self.seat)

    def step(self, **changes):
        return self.step_of(self.server.request_for(self.party), **changes)

    def step_of(self, request, **changes):
        ceremony = self.part is Part.CEREMONY
        usual = {
            "round": self.round,
            "kind": CEREMONY if ceremony else "train",
            "session": self.params.nonce,
            "phase": self.server.phase,
            "params": self.params.to_bytes(),
            "terms": b"" if ceremony else TERMS,
            "model": model_digest(b"" if ceremony else MODEL),
            "model_bytes": 0 if ceremony else len(MODEL),
            "request": request,
            "most_bytes": 1 << 30,
            "part": self.part,
            "committee": self.key.to_bytes() if self.part is Part.CLIENT else b"",
        }
        return Step(**usual | changes)

    def asked(self):
        """Whether the participant is asked in this phase."""
        return self.party in self.server.waiting

    def answer(self, participant):
        return participant.answer(self.step(), lambda _digest, _size: MODEL) if self.asked() else None

    def receive(self, answer):
        """The server takes the participant's answer and the others', and goes on."""
        if answer is not None:
            self.server.receive(self.party, answer)
        for party in sorted(self.server.waiting):
            if party in self.others:
                self.server.receive(party, self.others[party].respond(self.server.request_for(party)))
        self.server.advance()

    def to(self, phase, participant):
        """Play on until that phase waits for answers."""
        while self.server.phase is not phase:
            self.receive(self.answer(participant))
        return self

    def finish(self, participant):
        return self.to(Phase.FINISHED, participant).server.result

    def shares(self):
        folder = self.folder / "shares"
        return sorted(folder.iterdir()) if folder.exists() else []
