"""The protocols as ladders: phases of a server on one side, states of those who answer on the other.

Nothing is written down here twice. What a party does on a request stands in its table of handlers, and in their types
where that leads; what a server asks for, takes, and does next, in the types of its steps. mypy holds the code to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from privfl.ckks.ceremony import CeremonyMember
from privfl.ckks.client import CkksClient
from privfl.ckks.coordinator import AdvertiseStep
from privfl.ckks.member import CommitteeMember
from privfl.ckks.server import UploadStep as CkksUploadStep
from privfl.lockstep.party import LockstepParty, SessionOver
from privfl.lockstep.server import ServerStep
from privfl.masking.client import MaskingClient
from privfl.masking.server import AdvertiseKeysStep
from privfl.plain.client import PlainClient
from privfl.plain.server import UploadStep as PlainUploadStep
from privfl.wire import Message, Role, message_type

Step = type[ServerStep[Any, Any]]
WHO = {Role.CLIENT: "client", Role.COMMITTEE: "member"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What a party does on one request: from a state, to a state."""

    before: str
    request: type[Message]
    answer: type[Message]
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A phase: whom the server asks, and every move that answers."""

    phase: str
    who: str
    request: type[Message]
    answer: type[Message]
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """A session or a ceremony, phase by phase."""

    title: str
    rungs: tuple[Rung, ...]
    result: str

    @property
    def moves(self) -> tuple[Move, ...]:
        """All moves, from the first phase to the last."""
        return tuple(move for rung in self.rungs for move in rung.moves)


def ladder(title: str, first: Step, tables: Mapping[Role, Mapping[tuple[type, type[Message]], Any]]) -> Ladder:
    """Climb from the first step to the result.

    Args:
        title: what it is a ladder of.
        first: the server's first step.
        tables: of each role that answers, its handlers by state and request.

    Raises:
        ValueError: a step asks what nobody answers, or a table has a request for which there is no step.
    """
    rungs, step, used = [], first, set()
    while True:
        request, options = hints(step.request_for)["return"], choices(step)
        moves = tuple(
            Move(before=state.__name__, request=request, answer=step.answer, after=leads_to(handler).__name__)
            for (state, kind), handler in tables[step.role].items()
            if kind is request
        )
        if not moves:
            raise ValueError(f"{title}: nobody answers the {request.__name__} of {step.__name__}")
        used.add((step.role, request))
        rungs.append(Rung(phase=step.phase.value, who=WHO[step.role], request=request, answer=step.answer, moves=moves))
        following = [
            option
            for option in options
            if issubclass(option, ServerStep) and asked(option) in {kind for _, kind in tables[option.role]}
        ]
        if not following:
            break
        # Where one step may follow at once or after another, the other is part of what these tables speak.
        step = next((one for one in following if set(following) - {one} <= set(choices(one))), following[0])
    unused = {(role, kind) for role, table in tables.items() for _, kind in table} - used
    if unused:
        raise ValueError(f"{title}: no step asks for {unused}")
    return Ladder(title=title, rungs=tuple(rungs), result=options[0].__name__)


def hints(function: Any) -> dict[str, Any]:
    """Return a function's types."""
    return get_type_hints(function)


def choices(step: Step) -> tuple[type, ...]:
    """Return what may follow a step: other steps, or the result."""
    outcome = hints(step.close)["return"]
    return get_args(outcome) or (outcome,)


def asked(step: Step) -> type[Message]:
    """Return what a step asks with."""
    request: type[Message] = hints(step.request_for)["return"]
    return request


def leads_to(handler: Any) -> type:
    """Return the state that a handler leaves behind."""
    state, _ = get_args(hints(handler.__func__)["return"])
    found: type = state
    return found


def table_of(kind: type[LockstepParty], **attributes: object) -> Mapping[tuple[type, type[Message]], Any]:
    """Return a party's table of handlers; no session is held, so that no suite's extra is needed."""
    party = object.__new__(kind)
    for name, value in attributes.items():
        setattr(party, name, value)
    return party._handlers()


def all_ladders() -> dict[str, Ladder]:
    """Return every protocol that the library speaks, by the name that pages call it."""
    masking, clients, members = AdvertiseKeysStep, Role.CLIENT, Role.COMMITTEE
    return {
        "plain": ladder("A session of plain", PlainUploadStep, {clients: table_of(PlainClient)}),
        "masking": ladder(
            "A session of masking or kahe, honest-but-curious server",
            masking,
            {clients: table_of(MaskingClient, _witness=None)},
        ),
        "active": ladder(
            "A session of masking or kahe, active server", masking, {clients: table_of(MaskingClient, _witness=True)}
        ),
        "ckks": ladder(
            "A session of ckks",
            CkksUploadStep,
            {clients: table_of(CkksClient), members: table_of(CommitteeMember)},
        ),
        "ceremony": ladder("The ceremony of ckks", AdvertiseStep, {members: table_of(CeremonyMember)}),
    }


def rows(shown: Ladder) -> Iterator[tuple[str, ...]]:
    """Yield a ladder's moves as rows of a table."""
    for rung in shown.rungs:
        for move in rung.moves:
            yield (
                f"`{rung.phase}`",
                f"{rung.who}, `{move.before}`",
                f"`{rung.request.__name__}` {message_type(rung.request):#04x}",
                f"`{rung.answer.__name__}` {message_type(rung.answer):#04x}",
                "over" if move.after == SessionOver.__name__ else f"`{move.after}`",
            )
