"""The key ceremony: members of a committee make a key that none of them has.

Theory of operation. The coordinator carries messages; it may be the server of the later sessions.

1. *AdvertiseKeys*: fresh X25519 keys, signed under the roster's identities. The ceremony's id is a digest of all of
   them, and the common polynomial a follows from the id.
2. *Commit*: each member draws a ternary s_i and e_i, and commits to b_i = −a·s_i + e_i.
3. *Deal*: all commitments being known, each shows b_i: nobody can choose a part that depends on the others' (a rogue
   last member would choose the joint key). With it go Shamir shares of s_i for the other holders, sealed.
4. *CheckShares*: each opens what was dealt to it, checks every b_i against its commitment, and publishes blinded
   combinations of its shares, or a complaint.
5. *TestKey*: from everybody's combinations each sees which dealings lie on polynomials of degree t − 1. Their dealers
   are the qualified members; the joint key is the sum of their parts, a member's share the sum of their shares. Every
   qualified member answers for a known ciphertext.
6. *SignKey*: each sees that the answers open what is known, and signs the key.

Whoever falls silent up to CheckShares is left out. In TestKey every qualified member is needed, and a silent one ends
the ceremony: a new one costs little. In SignKey as many have to answer as open a sum; who does not has no key.

The coordinator is trusted with the messages, as the server is with those of a session: that all members are shown the
same, and that the key opens what is known, is its word. What a lie of its could do stands in `docs/ckks.md`.

References:
    Pedersen, EUROCRYPT 1991 (joint keys from dealings); Mouchet, Troncoso-Pastoriza, Bossuat, Hubaux, PoPETs 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from privfl.ckks import sharing
from privfl.ckks.agreement import (
    body_limit_bytes,
    ceremony_id,
    check_advertisement,
    combined_bytes,
    commitment_to,
    names_share,
    number_bytes,
    qualified_dealers,
    statement_of,
)
from privfl.ckks.answer import answer
from privfl.ckks.ceremony_params import CeremonyParams
from privfl.ckks.ceremony_states import (
    Advertised,
    Checked,
    Committed,
    Dealt,
    Secrets,
    State,
    Tested,
    Waiting,
    read,
    write,
)
from privfl.ckks.cipher import ERRORS
from privfl.ckks.key import MemberKey, common_polynomial
from privfl.ckks.keytest import KeyTest
from privfl.ckks.messages import (
    Advertise,
    AdvertiseRequest,
    CheckRequest,
    Checks,
    Commitment,
    CommitRequest,
    Dealing,
    DealRequest,
    KeySignature,
    SignRequest,
    TestAnswer,
    TestRequest,
)
from privfl.ckks.modulus import PRIMES, Residues
from privfl.ckks.planner import modulus_of
from privfl.ckks.seal import seal_ring
from privfl.errors import ConfigurationError, DecodeError, DisclosureRefused, LocalProtocolError
from privfl.guard import StateGuard
from privfl.lockstep.party import Handler, Incoming, SessionOver
from privfl.lockstep.waking import SleepingParty, open_resting, seal_resting
from privfl.primitives import aead
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.keys import KeyPair, derive
from privfl.primitives.labels import Label
from privfl.primitives.sampling import TERNARY, sampler
from privfl.primitives.secret import Secret
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import digest
from privfl.roster import Roster
from privfl.wire import SERVER, Message, PartyId, Role, SuiteCode

_PAIR_BYTES = 32
_MAGIC: Final = b"PVFC\x01"


class _Slept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    params: bytes
    number: int
    last: tuple[bytes, bytes | None] | None
    state: bytes


class CeremonyMember(SleepingParty):
    """A member's side of a key ceremony.

    Args:
        params: what was agreed.
        number: the member.
        identity: its signing key, as the roster lists it.
        entropy: source of secrets; the operating system unless given.
        guard: for a member that sleeps between requests; durable, and shared by all processes that might wake it.

    Raises:
        ConfigurationError: the roster lists another identity for it, or has expired.
        MissingExtra: TenSEAL is not installed.

    Guarantees:
        1. A part of the key is shown only after all parts are committed to.
        2. A part, dealing or set of members that is not as the commitments and combinations that it was shown say is
           not signed.
        3. Shares leave sealed for their holders; of others' shares, only combinations leave, blinded once.
        4. Of all members that are woken from one state, in whatever processes, at most one answers; none is woken from
           a state that has answered.

    Assumes:
        Everyone follows the protocol; the coordinator and fewer members than the threshold may pool what they know.
    """

    _suite = SuiteCode.CKKS

    def __init__(
        self,
        params: CeremonyParams,
        number: int,
        *,
        identity: Identity,
        entropy: Entropy | None = None,
        guard: StateGuard | None = None,
    ) -> None:
        params.roster.require_current()
        if params.roster.identities.get(number) != identity.public:
            raise ConfigurationError(f"the roster lists another identity for member {number} than the one given")
        self._params = params
        self._modulus = modulus_of(params.epoch)
        seal_ring(self._modulus)  # a member without it says so before it takes part
        self._identity = identity
        self._entropy = entropy or OsEntropy()
        self._key: MemberKey | None = None
        super().__init__(
            PartyId(Role.COMMITTEE, number),
            state=Waiting(),
            body_limit_bytes=body_limit_bytes(params),
            remember_response=True,
            guard=guard,
        )

    @classmethod
    def from_bytes(
        cls,
        raw: bytes,
        *,
        key: bytes,
        guard: StateGuard,
        roster: Roster,
        identity: Identity,
        entropy: Entropy | None = None,
    ) -> CeremonyMember:
        """Wake a member that `to_bytes` put to sleep.

        Args:
            raw: what `to_bytes` returned.
            key: the same 32 bytes.
            guard: durable, and shared by all processes that might wake this member.
            roster: as in the ceremony's parameters; it does not sleep with the member, nor does the identity.
            identity: as for the constructor.
            entropy: likewise.

        Raises:
            DecodeError: another key, altered bytes, or another version.
            DisclosureRefused: this state has answered already, in whatever process.
            ConfigurationError: the key is not 32 bytes, or roster or identity are others.
        """
        slept = open_resting(raw, key, _Slept, magic=_MAGIC, label=Label.CKKS_SLEEP)
        params = CeremonyParams.from_bytes(slept.params, roster)
        member = cls(params, slept.number, identity=identity, entropy=entropy, guard=guard)
        try:
            state = read(slept.state, member._modulus)
        except (ValueError, DecodeError) as error:
            raise DecodeError(f"a member at rest of another version: {error}") from None
        member._wake(state, slept.last)
        return member

    def _agreed(self) -> bytes:
        return self._params.digest

    def _sealed(self, state: State, key: bytes) -> bytes:
        slept = _Slept(
            params=self._params.to_bytes(),
            number=self.party.number,
            last=self._last,
            state=write(state, self._modulus),
        )
        return seal_resting(slept, key, magic=_MAGIC, label=Label.CKKS_SLEEP)

    @property
    def key(self) -> MemberKey:
        """What this member keeps, once it has signed: to be saved before the signature leaves.

        It is not part of what sleeps: a member that has signed is over.

        Raises:
            LocalProtocolError: it has not.
        """
        if self._key is None:
            raise LocalProtocolError(f"{self.party} has no key yet: the ceremony is not over")
        return self._key

    def _handlers(self) -> Mapping[tuple[type, type[Message]], Handler]:
        return {
            (Waiting, AdvertiseRequest): self._advertise,
            (Advertised, CommitRequest): self._commit,
            (Committed, DealRequest): self._deal,
            (Dealt, CheckRequest): self._check,
            (Checked, TestRequest): self._test,
            (Tested, SignRequest): self._sign,
        }

    def _tail_bytes_of(self) -> Mapping[type[Message], int]:
        return {SignRequest: self._modulus.vector_bytes(self._modulus.degree)}

    def _read_tail(self, kind: type[Message], tail: memoryview) -> Residues | None:
        return self._modulus.unpack(tail, self._modulus.degree) if kind is SignRequest else None

    def _advertise(self, _state: Waiting, incoming: Incoming) -> tuple[Advertised, bytes]:
        if incoming.session != self._params.digest:
            raise DisclosureRefused("a request for another ceremony", peer=SERVER)
        channel = KeyPair.generate(self._entropy)
        signature = self._identity.sign(
            Label.CKKS_ADVERTISEMENT, self._params.digest, number_bytes(self.party.number), channel.public
        )
        message = Advertise(channel_key=channel.public, signature=signature)
        return Advertised(channel), self._frame(message, incoming.session).finish()

    def _commit(self, state: Advertised, incoming: Incoming) -> tuple[Committed, bytes]:
        message = incoming.message
        assert isinstance(message, CommitRequest)  # noqa: S101 - by the table; for the type checker
        peers = dict(zip(message.members, message.keys, strict=True))
        if peers.get(self.party.number) != state.channel.public or len(peers) < self._threshold:
            raise DisclosureRefused("keys without this member's, or of too few members", peer=SERVER)
        for member, key, signature in zip(message.members, message.keys, message.signatures, strict=True):
            check_advertisement(self._params, member, key, signature)
        session = ceremony_id(self._params, peers)
        if incoming.session != session:
            raise DisclosureRefused("a request for another ceremony", peer=SERVER)
        degree = self._modulus.degree
        secret = self._modulus.residues_of(sampler(TERNARY, self._entropy, degree).draw(degree))
        errors = sampler(ERRORS, self._entropy, degree).draw(degree)
        common = common_polynomial(self._modulus, session)
        own = seal_ring(self._modulus).multiply(common[:, None], secret)[:, 0]
        self._modulus.negate(own)
        self._modulus.add(own, self._modulus.residues_of(errors))
        secrets = Secrets(session=session, channel=state.channel, peers=peers, own=own)
        commitment = commitment_to(session, self.party.number, self._modulus.packed(own))
        return Committed(secrets=secrets, secret=secret), self._frame(
            Commitment(commitment=commitment), session
        ).finish()

    def _deal(self, state: Committed, incoming: Incoming) -> tuple[Dealt, bytes]:
        message, secrets = incoming.message, state.secrets
        assert isinstance(message, DealRequest)  # noqa: S101 - by the table; for the type checker
        me, own = self.party.number, self._modulus.packed(secrets.own)
        commitments = dict(zip(message.members, message.commitments, strict=True))
        self._require_session(incoming, secrets)
        if (
            not commitments.keys() <= secrets.peers.keys()
            or len(commitments) < self._threshold
            or commitments.get(me) != commitment_to(secrets.session, me, own)
        ):
            raise DisclosureRefused("commitments without this member's, of strangers, or of too few", peer=SERVER)
        blinds = sharing.uniform_residues(self._modulus, sharing.COMBINATIONS, self._entropy)
        shares = sharing.deal(
            self._modulus,
            np.concatenate([state.secret, blinds], axis=1),
            holders=message.members,
            threshold=self._threshold,
            entropy=self._entropy,
        )
        by_holder = dict(zip(message.members, shares, strict=True))
        kept = by_holder.pop(me)
        sealed = tuple(self._seal(secrets, holder, share) for holder, share in by_holder.items())
        frame = self._frame(Dealing(sealed=sealed), secrets.session, tail_bytes=len(own))
        frame.write_bytes(own)
        return Dealt(secrets=secrets, commitments=commitments, kept=kept), frame.finish()

    def _check(self, state: Dealt, incoming: Incoming) -> tuple[Checked, bytes]:
        message, secrets, me = incoming.message, state.secrets, self.party.number
        assert isinstance(message, CheckRequest)  # noqa: S101 - by the table; for the type checker
        self._require_session(incoming, secrets)
        holders = sorted(state.commitments)
        parts = dict(zip(message.dealers, message.parts, strict=True))
        if me not in parts or not parts.keys() <= state.commitments.keys() or len(parts) < self._threshold:
            raise DisclosureRefused("dealings without this member's, of strangers, or of too few", peer=SERVER)
        if parts[me] != self._modulus.packed(secrets.own):
            raise DisclosureRefused("another part of the key than this member's own", peer=SERVER)
        for dealer, part in parts.items():
            if commitment_to(secrets.session, dealer, part) != state.commitments[dealer]:
                raise DisclosureRefused(f"a part of the key that member {dealer} did not commit to", peer=SERVER)
            if not self._is_part(part):
                raise DisclosureRefused(f"a part of the key of member {dealer} that is no polynomial", peer=SERVER)
        shares = {me: state.kept}
        for dealer, digests, sealed in zip(message.dealers, message.digests, message.sealed, strict=True):
            if dealer == me:
                continue
            place = [holder for holder in holders if holder != dealer].index(me)
            if names_share(digests, sealed, place):
                share = self._open(secrets, dealer, sealed)
                if share is not None:
                    shares[dealer] = share
        # Drawn after the dealing: over every part and every sealed share.
        challenge = digest(Label.CKKS_CHALLENGE, secrets.session, *message.parts, *message.digests)
        said = tuple(
            combined_bytes(sharing.combine(self._modulus, shares[dealer], challenge=challenge))
            if dealer in shares
            else b""
            for dealer in message.dealers
        )
        checked = Checked(secrets=secrets, parts=parts, shares=shares, said=said)
        return checked, self._frame(Checks(combined=said), secrets.session).finish()

    def _test(self, state: Checked, incoming: Incoming) -> tuple[Tested, bytes]:
        message, secrets, me = incoming.message, state.secrets, self.party.number
        assert isinstance(message, TestRequest)  # noqa: S101 - by the table; for the type checker
        self._require_session(incoming, secrets)
        said = dict(zip(message.members, message.combined, strict=True))
        if said.get(me) != state.said or not said.keys() <= state.parts.keys():
            raise DisclosureRefused("combinations without this member's, or of strangers", peer=SERVER)
        qualified = qualified_dealers(self._params, sorted(state.parts), said)
        if me not in qualified:
            raise DisclosureRefused(
                "the others' combinations do not confirm this member's dealing: it takes no part in the key",
                peer=SERVER,
            )
        statement = statement_of(self._params, secrets.session, {dealer: state.parts[dealer] for dealer in qualified})
        share = np.zeros((PRIMES, self._modulus.degree), np.int64)
        for dealer in qualified:
            self._modulus.add(share, state.shares[dealer][:, : -sharing.COMBINATIONS])
        pairs = {
            peer: derive(
                secrets.channel.agree(secrets.peers[peer]),
                salt=secrets.session,
                label=Label.CKKS_PAIR,
                ends=(min(me, peer), max(me, peer)),
                length=_PAIR_BYTES,
            )
            for peer in qualified
            if peer != me
        }
        key = MemberKey(statement=statement, number=me, share=share, pairs=pairs)
        test = KeyTest(statement)
        part = answer(
            key,
            test.common,
            opening=test.opening,
            members=qualified,
            length=self._modulus.degree,
            entropy=self._entropy,
        )
        raw = self._modulus.packed(part)
        frame = self._frame(TestAnswer(), secrets.session, tail_bytes=len(raw))
        frame.write_bytes(raw)
        return Tested(key), frame.finish()

    def _sign(self, state: Tested, incoming: Incoming) -> tuple[SessionOver, bytes]:
        statement = state.key.statement
        if incoming.session != statement.ceremony:
            raise DisclosureRefused("a request for another ceremony", peer=SERVER)
        if not KeyTest(statement).passes(incoming.vector):
            raise DisclosureRefused("the key does not open what is known: a member lied about its dealing", peer=SERVER)
        signature = self._identity.sign(Label.CKKS_KEY, statement.digest)
        self._key = state.key
        return SessionOver("the key is signed"), self._frame(
            KeySignature(signature=signature), incoming.session
        ).finish()

    @property
    def _threshold(self) -> int:
        return self._params.epoch.committee.threshold

    def _require_session(self, incoming: Incoming, secrets: Secrets) -> None:
        if incoming.session != secrets.session:
            raise DisclosureRefused("a request for another ceremony", peer=SERVER)

    def _is_part(self, raw: bytes) -> bool:
        """Whether bytes are a polynomial's residues as they travel."""
        if len(raw) != self._modulus.vector_bytes(self._modulus.degree):
            return False
        try:
            self._modulus.unpack(raw, self._modulus.degree)
        except DecodeError:
            return False
        return True

    def _seal(self, secrets: Secrets, holder: int, share: Residues) -> bytes:
        me = self.party.number
        context = secrets.session + number_bytes(me) + number_bytes(holder)
        return aead.seal_once(
            self._channel_key(secrets, holder, dealer=me, holder=holder), self._modulus.packed(share), context
        )

    def _open(self, secrets: Secrets, dealer: int, sealed: bytes) -> Residues | None:
        """Open a share; None if it does not open, or is none."""
        me = self.party.number
        context = secrets.session + number_bytes(dealer) + number_bytes(me)
        length = self._modulus.degree + sharing.COMBINATIONS
        try:
            raw = aead.open_once(self._channel_key(secrets, dealer, dealer=dealer, holder=me), sealed, context)
            return self._modulus.unpack(raw, length) if len(raw) == self._modulus.vector_bytes(length) else None
        except DecodeError:
            return None

    def _channel_key(self, secrets: Secrets, peer: int, *, dealer: int, holder: int) -> Secret:
        # One key for each direction, and one dealing in each.
        return derive(
            secrets.channel.agree(secrets.peers[peer]),
            salt=secrets.session,
            label=Label.CKKS_CHANNEL,
            ends=(dealer, holder),
            length=aead.KEY_BYTES,
        )
