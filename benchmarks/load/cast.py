"""Who takes part in a load test, and what the session is about: known to all its processes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from privfl import ServerModel, ThreatModel, VectorSpec, plan_session
from privfl.integrations.consortium import Facts, Greeting
from privfl.primitives.certificates import Authority
from privfl.primitives.signatures import Identity
from privfl.roster import Roster
from privfl.session import Phase
from privfl.simulate import draw_identities, roster_of

BOUND = 2**11 - 1
"""Updates of twelve bits: among 200 clients the modulus of kahe has room for them without any error, so that the sum
can be compared with the exact one."""
TERMS = b"a load test"
KINDS = ("steady", "returning", "away", "slow", "flapping", "liar", "replayer")
MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Cast:
    """Clients by kind.

    Attributes:
        clients: how many there are.
        parameters: of a vector.
        seed: of vectors, kinds and cuts.
        kinds: clients of each kind.
    """

    clients: int
    parameters: int
    seed: int
    kinds: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def of(self, *kinds):
        """Clients of these kinds."""
        return tuple(sorted(number for kind in kinds for number in self.kinds.get(kind, ())))

    def kind_of(self, number):
        """What a client is."""
        return next(kind for kind, numbers in self.kinds.items() if number in numbers)

    @property
    def lies(self):
        """The phase in which each liar lies."""
        phases = (Phase.ADVERTISE_KEYS, Phase.MASKED_INPUT)
        return dict(zip(self.of("liar"), phases, strict=False))

    @property
    def contributors(self):
        """Who belongs into the sum: all but those that stay away and those that lie."""
        gone = self.of("away", "liar")
        return tuple(number for number in range(self.clients) if number not in gone)


def all_steady(clients, parameters, seed):
    """Clients of which none has any trouble."""
    return Cast(clients=clients, parameters=parameters, seed=seed, kinds={"steady": tuple(range(clients))})


def troubled(clients, parameters, seed, cut):
    """Clients of which a share is cut, a third of them for good, and others are slow, flap, lie and repeat."""
    shuffled = [int(number) for number in np.random.default_rng((seed, 0)).permutation(clients)]
    cuts = round(cut * clients)
    counts = {
        "away": cuts // 3,
        "returning": cuts - cuts // 3,
        "slow": max(1, clients // 20),
        "flapping": max(1, clients // 20),
        "liar": 2,
        "replayer": 1,
    }
    kinds, begin = {}, 0
    for kind, count in counts.items():
        kinds[kind] = tuple(sorted(shuffled[begin : begin + count]))
        begin += count
    kinds["steady"] = tuple(sorted(shuffled[begin:]))
    return Cast(clients=clients, parameters=parameters, seed=seed, kinds=kinds)


def vector_of(cast, number):
    """A client's vector: int32, shape (parameters,)."""
    drawn = np.random.default_rng((cast.seed, 1, number))
    return drawn.integers(-BOUND, BOUND + 1, cast.parameters, np.int32)


def exact_sum(cast, numbers):
    """The sum over some clients."""
    total = np.zeros(cast.parameters, np.int64)
    for number in numbers:
        total += vector_of(cast, number)
    return total


def model_of(cast):
    """The model's bytes, four for each parameter."""
    return np.random.default_rng((cast.seed, 2)).bytes(4 * cast.parameters)


def context_of(terms, model, round_number):
    """What vectors are about, as clients and coordinator make it out each for itself: 32 bytes."""
    return hashlib.sha256(terms + round_number.to_bytes(4, "big") + model).digest()


def planned(cast, roster, server=ServerModel.ACTIVE):
    """Parameters of the session: against a server that may lie, with up to 30 % of the clients dropping out."""
    return plan_session(
        "kahe",
        cohort=tuple(range(cast.clients)),
        vector=VectorSpec(length=cast.parameters, bound=BOUND),
        threat=ThreatModel(corrupt=0.1, dropout=0.3, server=server),
        nonce=os.urandom(16),
        context=context_of(TERMS, model_of(cast), 1),
        roster=roster,
    )


PHASES = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK, Phase.UNMASK)
_POLICY = 'minimum_contributors = 3\nsuites = ["kahe"]\n'


def settle(folder, cast):
    """Make everybody's papers and homes in a folder."""
    identities = draw_identities(range(cast.clients))
    roster = roster_of(identities).to_json()
    (folder / "roster.json").write_text(roster, encoding="utf-8")
    authority = Authority.generate("load test")
    (folder / "ca.crt").write_bytes(authority.issued.certificate_pem)
    issued = authority.issue(name="coordinator", days=2, hosts=["127.0.0.1"])
    (folder / "server.crt").write_bytes(issued.certificate_pem)
    (folder / "server.key").write_bytes(issued.key_pem)
    (folder / "spool").mkdir()
    for number, identity in identities.items():
        home = home_of(folder, number)
        home.mkdir(mode=0o700, parents=True)
        (home / "identity.pem").write_bytes(identity.to_pem())
        (home / "roster.json").write_text(roster, encoding="utf-8")
        (home / "policy.toml").write_text(_POLICY, encoding="utf-8")


def home_of(folder, number):
    """A client's own directory."""
    return Path(folder) / "homes" / str(number)


def roster_in(folder):
    """Everybody's identities."""
    return Roster.from_json((folder / "roster.json").read_text(encoding="utf-8"))


def greeting_of(cast, coordinator):
    """What clients are told of the run: among it, the coordinator's public key."""
    facts = Facts(clients=cast.clients, examples=0, classes=2, feature_shape=(1,))
    return Greeting(run=os.urandom(16), job="rounds = 1\n", facts=facts, coordinator=coordinator)


def identity_in(folder, number):
    """A client's own key."""
    return Identity.from_pem((home_of(folder, number) / "identity.pem").read_bytes())
