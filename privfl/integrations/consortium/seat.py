"""A client's seat on the committee that opens sums of `ckks`: in ceremonies that make its key, and in sessions.

```
HOME/
  shares/KEY    the member's share of the committee's key, sealed; there is one at most
```

A share is there from before its holder's signature leaves until its key's openings are spent, another key is made, or
the run is over.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from privfl.errors import ConfigurationError, DisclosureRefused, LocalProtocolError
from privfl.guard import make_folder, to_disk
from privfl.integrations.home import PartyHome
from privfl.integrations.policy import OwnerPolicy
from privfl.params import CkksSetting, SessionParams

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.ceremony import CeremonyMember
    from privfl.ckks.ceremony_params import CeremonyParams
    from privfl.ckks.key import CommitteeKey
    from privfl.ckks.member import CommitteeMember

_FOLDER: Final = "shares"
_SUITE: Final = "ckks"


class Seat:
    """What a client does as a member of the committee.

    Args:
        home: its directory: its identity, the committee that it trusts, its claims, and its share.
        policy: what its owner insists on.

    Guarantees:
        1. A share of a key is on disk, sealed, and its books are opened, before its holder's signature leaves.
        2. A share serves sessions that the policy allows, under the key that their parameters name, and no others.
        3. A share is removed when its key's openings are spent, or another key is made.
    """

    def __init__(self, home: PartyHome, policy: OwnerPolicy) -> None:
        self._home = home
        self._policy = policy
        self._folder = home.folder / _FOLDER

    def ceremony_params(self, raw: bytes) -> CeremonyParams:
        """Read the parameters of a ceremony, which must be one of the committee that this client trusts.

        Raises:
            DecodeError: they are none.
            ConfigurationError: they are another committee's, or this client knows none.
            DisclosureRefused: the policy does not allow the suite.
        """
        from privfl.ckks.ceremony_params import CeremonyParams  # noqa: PLC0415 - suites load when used

        if _SUITE not in self._policy.session.suites:
            raise DisclosureRefused(f"suite {_SUITE!r} is not allowed by this client's policy (suites)")
        if self._home.committee is None:
            raise ConfigurationError(_missing("this client has no seat on a committee"))
        return CeremonyParams.from_bytes(raw, self._home.committee)

    def member(self, params: SessionParams | CeremonyParams, asleep: bytes | None) -> CommitteeMember | CeremonyMember:
        """Begin to help to open a sum, or to make a key; or go on with it.

        Args:
            params: of the session, or of the ceremony.
            asleep: what is kept of it; None: nothing was asked yet.

        Raises:
            ConfigurationError: this client has no seat on the committee, or no share of the key; or the session does
                not suit the policy.
            DisclosureRefused: this state has answered already, or the share's books are not here.
        """
        return self._in_session(params, asleep) if isinstance(params, SessionParams) else self._maker(params, asleep)

    def _maker(self, params: CeremonyParams, asleep: bytes | None) -> CeremonyMember:
        from privfl.ckks.ceremony import CeremonyMember  # noqa: PLC0415 - suites load when used

        identity, guard = self._home.identity, self._home.guard
        numbers = [number for number, key in params.roster.identities.items() if identity and key == identity.public]
        if identity is None or not numbers:
            raise ConfigurationError("this client has no seat on the committee: its identity is not in committee.json")
        if asleep is None:
            return CeremonyMember(params, numbers[0], identity=identity, guard=guard)
        return CeremonyMember.from_bytes(
            asleep, key=self._home.key, guard=guard, roster=params.roster, identity=identity
        )

    def _in_session(self, params: SessionParams, asleep: bytes | None) -> CommitteeMember:
        from privfl.ckks.key import MemberKey  # noqa: PLC0415 - suites load when used
        from privfl.ckks.member import CommitteeMember  # noqa: PLC0415 - likewise

        setting, home = params.setting, self._home
        if not isinstance(setting, CkksSetting):
            raise ConfigurationError(f"a session of suite {params.suite!r}, which no committee opens")
        path = self._path(setting.key)
        if not path.exists():
            raise ConfigurationError(
                "the session's parameters name a committee's key that this client has no share of: it was not there "
                "when the key was made, or the key's time is over"
            )
        key, minimum = MemberKey.load(path, home.key), self._policy.session.minimum_contributors
        if asleep is None:
            return CommitteeMember(params, key, guard=home.guard, minimum_contributors=minimum, remember_response=False)
        return CommitteeMember.from_bytes(
            asleep,
            key=home.key,
            member_key=key,
            guard=home.guard,
            minimum_contributors=minimum,
            remember_response=False,
        )

    def keep(self, member: CommitteeMember | CeremonyMember) -> None:
        """Keep the share of a key that this member has just made, if it has, in the place of any other.

        Raises:
            ConfigurationError: it cannot be written.
        """
        from privfl.ckks.ceremony import CeremonyMember  # noqa: PLC0415 - suites load when used
        from privfl.ckks.member import take_into_use  # noqa: PLC0415 - likewise

        if not isinstance(member, CeremonyMember):
            return
        try:
            key = member.key
        except LocalProtocolError:  # the ceremony goes on
            return
        path = self._path(key.statement.digest)
        try:
            make_folder(self._folder, private=True)
        except OSError as error:
            raise ConfigurationError(f"{self._folder} cannot be made: {error.strerror}") from None
        key.save(path, self._home.key)
        take_into_use(key, self._home.guard)
        self.forget_all_but(path.name)

    def forget_if_spent(self, params: SessionParams) -> None:
        """Remove the share that a session took, if its key's openings are spent."""
        from privfl.ckks.key import MemberKey  # noqa: PLC0415 - suites load when used
        from privfl.ckks.member import remaining_openings  # noqa: PLC0415 - likewise

        path = self._path(params.setting.key) if isinstance(params.setting, CkksSetting) else None
        if path is not None and path.exists():
            key = MemberKey.load(path, self._home.key)
            if not remaining_openings(key, self._home.guard):
                self.forget_all_but("")

    def forget_all_but(self, name: str) -> None:
        """Remove all shares but the one in that file."""
        with contextlib.suppress(OSError):
            for path in list(self._folder.iterdir()):
                if path.name != name:
                    path.unlink(missing_ok=True)
            to_disk(self._folder)

    def _path(self, digest: bytes) -> Path:
        return self._folder / f"{digest.hex()}.key"


def read_key(raw: bytes, home: PartyHome) -> CommitteeKey:
    """Read a committee's public key, which the committee that a client trusts must have signed.

    Raises:
        ConfigurationError: the client knows no committee, or another signed.
        DecodeError: not a committee's key.
    """
    from privfl.ckks.key import CommitteeKey  # noqa: PLC0415 - suites load when used

    if home.committee is None:
        raise ConfigurationError(_missing(f"suite {_SUITE!r} needs the roster of the committee that opens sums"))
    return CommitteeKey.from_bytes(raw, home.committee)


def _missing(why: str) -> str:
    return f"{why}: put committee.json, as the consortium agreed on it, into this client's directory (--home)"
