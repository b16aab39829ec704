"""A node's seat on the committee that opens sums of `ckks`: in the ceremony that makes its key, and in sessions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privfl.errors import ConfigurationError, DisclosureRefused, LocalProtocolError
from privfl.guard import make_folder
from privfl.integrations.flower.home import NodeHome, NodePolicy
from privfl.integrations.flower.keeping import Kept, Shelf
from privfl.integrations.flower.messages import CeremonyStep, MemberStep
from privfl.params import CkksSetting, SessionParams
from privfl.primitives.signatures import Identity
from privfl.roster import Roster

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.ceremony import CeremonyMember
    from privfl.ckks.key import CommitteeKey
    from privfl.ckks.member import CommitteeMember

_FOLDER: Final = "committee"


class Seat:
    """What a node does as a member of the committee.

    Args:
        home: its directory: its shares of keys, and its books.
        policy: what it insists on.
        identity: its own.
        roster: the committee that it trusts.
        shelf: where it sleeps between messages.

    Guarantees:
        1. A share of a key is on disk, sealed, and its books are opened, before its holder's signature leaves.
    """

    def __init__(self, home: NodeHome, policy: NodePolicy, identity: Identity, roster: Roster, shelf: Shelf) -> None:
        if "ckks" not in policy.session.suites:
            raise DisclosureRefused("suite 'ckks' is not allowed by this node's policy (suites)")
        self._home = home
        self._identity = identity
        self._policy = policy
        self._roster = roster
        self._shelf = shelf

    def ceremony(self, step: CeremonyStep, request: bytes) -> bytes:
        """Answer a request of a key ceremony.

        Raises:
            ConfigurationError: the ceremony is not one of this node's committee.
            DisclosureRefused: it is not one that this node is in, or has answered this already.
        """
        from privfl.ckks.member import take_into_use  # noqa: PLC0415 - suites load when used

        member = self._ceremony_member(step)
        response = member.respond(request)
        try:
            key = member.key
        except LocalProtocolError:  # the ceremony goes on
            self._shelf.add(Kept(session=step.session, sealed=member.to_bytes(self._home.key), of_committee=True))
            return response
        path = self._path(key.statement.digest)
        make_folder(path.parent, private=True)
        key.save(path, self._home.key)
        take_into_use(key, self._home.guard)
        return response

    def opening(self, step: MemberStep, request: bytes) -> bytes:
        """Answer a request of a session.

        Raises:
            ConfigurationError: the session's key is not held here, or the session does not suit the policy.
            DisclosureRefused: it must not be answered, or was.
        """
        member = self._session_member(step)
        response = member.respond(request)
        with suppress(LocalProtocolError):  # it has opened the sum
            self._shelf.add(Kept(session=step.session, sealed=member.to_bytes(self._home.key), of_committee=True))
        return response

    def _ceremony_member(self, step: CeremonyStep) -> CeremonyMember:
        from privfl.ckks.ceremony import CeremonyMember  # noqa: PLC0415 - suites load when used
        from privfl.ckks.ceremony_params import CeremonyParams  # noqa: PLC0415 - likewise

        guard = self._home.guard
        if not step.params:
            sealed = self._shelf.take(step.session, of_committee=True)
            return CeremonyMember.from_bytes(
                sealed, key=self._home.key, guard=guard, roster=self._roster, identity=self._identity
            )
        params = CeremonyParams.from_bytes(step.params, self._roster)
        if params.nonce != step.session:
            raise ConfigurationError("a ceremony that is called otherwise than by its nonce")
        return CeremonyMember(params, step.number, identity=self._identity, guard=guard)

    def _session_member(self, step: MemberStep) -> CommitteeMember:
        from privfl.ckks.key import MemberKey  # noqa: PLC0415 - suites load when used
        from privfl.ckks.member import CommitteeMember  # noqa: PLC0415 - likewise

        params = SessionParams.from_bytes(step.params)
        setting = params.setting
        if not isinstance(setting, CkksSetting) or params.nonce != step.session:
            raise ConfigurationError(
                "a session that is not one of this suite, or is called otherwise than by its nonce"
            )
        self._policy.check(params)
        path = self._path(setting.key)
        if not path.exists():
            raise ConfigurationError("the session's parameters name a committee's key that this node has no share of")
        key = MemberKey.load(path, self._home.key)
        guard, minimum = self._home.guard, self._policy.session.minimum_contributors
        if not self._shelf.holds(step.session, of_committee=True):
            return CommitteeMember(params, key, guard=guard, minimum_contributors=minimum, remember_response=False)
        member = CommitteeMember.from_bytes(
            self._shelf.take(step.session, of_committee=True),
            key=self._home.key,
            member_key=key,
            guard=guard,
            minimum_contributors=minimum,
            remember_response=False,
        )
        if member.params != params:
            raise DisclosureRefused("other parameters than those that this member was convened for")
        return member

    def _path(self, digest: bytes) -> Path:
        return self._home.folder / _FOLDER / f"{digest.hex()}.key"


def read_key(raw: bytes, roster: Roster | None) -> CommitteeKey:
    """Read a committee's public key, which the committee that a node trusts must have signed.

    Raises:
        ConfigurationError: the node knows no committee, or another signed.
        DecodeError: not a committee's key.
    """
    from privfl.ckks.key import CommitteeKey  # noqa: PLC0415 - suites load when used

    if roster is None:
        raise ConfigurationError(
            "suite 'ckks' needs the roster of the committee that opens sums: put committee.json into this node's "
            "directory (privfl-home)"
        )
    return CommitteeKey.from_bytes(raw, roster)
