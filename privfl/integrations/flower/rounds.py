"""The rounds of a wrapped strategy: from the messages that it would send to the replies that it is given."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from privfl.encoding.update import WeightedMean
from privfl.errors import ConfigurationError, PrivflError, RoundAborted
from privfl.integrations.flower.holding import KEY_PHASES, LOG, Held, SecureSum, printable
from privfl.integrations.flower.messages import Kind
from privfl.integrations.flower.model import Setting, context_of, model_digest, moved
from privfl.integrations.flower.office import Office
from privfl.integrations.flower.planning import Plans
from privfl.integrations.flower.post import Post
from privfl.integrations.flower.records import RoundRecord
from privfl.integrations.flower.terms import Encoding
from privfl.primitives.signatures import Identity
from privfl.session import Phase

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.key import CommitteeKey

_FAILED: Final = 6
"""`Error.code` of a node that is not in the sum."""
_LOST: Final = "took no part in the sum"


@dataclass(slots=True, kw_only=True)
class _UnderWay:
    """A round whose messages are with the nodes.

    Attributes:
        summed: its session.
        ahead: sessions of later rounds whose keys are made with its messages.
        instructions: node to the message that it was sent, or would have been.
        model: what nodes train on; None in evaluation.
        post: carries messages.
        message_type: of the round's messages.
        begun: when they were made.
        evaluated: what stands for the model in an evaluation.
    """

    summed: SecureSum
    ahead: tuple[SecureSum, ...]
    instructions: Mapping[int, Message] = field(repr=False)
    model: ArrayRecord | None = field(repr=False)
    post: Post = field(repr=False)
    message_type: str
    begun: float
    evaluated: bytes | None

    def asked_of(self, node: int) -> list[SecureSum]:
        """Return the sessions that wait for a node, in the order of the steps."""
        return [one for one in (self.summed, *self.ahead) if node in one.waiting]


@dataclass(frozen=True, slots=True)
class _Call:
    """How nodes are reached while a round is configured."""

    post: Post
    grid: Grid
    message_type: str

    def exchange(self, one: Held) -> None:
        """Ask all nodes that something waits for, and close its phase."""
        self.post.exchange([one], self.message_type)


class Rounds:
    """Holds the sessions of a run, a round at a time, and makes the keys of later ones with the messages of each.

    Args:
        plans: what sums are to be.
        arrays_key: name of the record of arrays in the replies that the strategy is given.
        evaluates: whether an evaluation is to be expected before there was one.
        phase_timeout: seconds that nodes have for a phase that needs no training.
        train_timeout: seconds that nodes have for training or evaluation.
        identity: key that requests are signed with, or None.
        run_config: of the run, as the nodes' apps see it.

    Attributes:
        records: how every sum went.
        last: number of the last round, if it is known: no keys are made for a later one.
    """

    def __init__(
        self,
        plans: Plans,
        *,
        arrays_key: str,
        evaluates: bool,
        phase_timeout: float,
        train_timeout: float,
        identity: Identity | None,
        run_config: Mapping[str, object],
    ) -> None:
        self.records: list[RoundRecord] = []
        self._run_config = dict(run_config)
        self._plans = plans
        self._arrays_key = arrays_key
        self._evaluates = evaluates
        self._phase_timeout, self._train_timeout = phase_timeout, train_timeout
        self._identity = identity
        self.begin(None)

    def begin(self, last: int | None) -> None:
        """Forget the nodes of an earlier start, and their sessions: it may have been another run's.

        Args:
            last: number of the last round, if it is known.
        """
        self.last = last
        self._office: Office | None = None
        self._numbers: dict[int, int] = {}
        self._ahead: dict[str, SecureSum] = {}
        self._under_way: dict[str, _UnderWay] = {}
        self._evaluated: tuple[int, ...] | None = None  # nodes of the latest evaluation; None before the first
        self._models_evaluated: set[bytes | None] = set()

    def configure(self, kind: Kind, number: int, messages: Sequence[Message], grid: Grid) -> list[Message]:
        """Return the messages that ask for the vectors of a round, and with them for keys of later ones.

        Args:
            kind: of what.
            number: the round.
            messages: as the strategy would send them.
            grid: Flower's.

        Raises:
            ConfigurationError: no session can be held with these nodes, or the strategy shows them different things.
        """
        if kind == "evaluate":
            self._evaluated = tuple(message.metadata.dst_node_id for message in messages)
        if not messages:
            return []
        originals = {message.metadata.dst_node_id: message for message in messages}
        message_type = messages[0].metadata.message_type
        content = _one_content(messages)
        model = _one_model(content) if kind == "train" else None
        terms = self._plans.terms_of(kind, number, model)
        codec = self._plans.codec(terms, model)
        setting = Setting.of(messages[0], run=grid.run.run_id, run_config=self._run_config)
        context = context_of(content, terms, setting)
        evaluated = model_digest(content) if kind == "evaluate" else None
        if evaluated in self._models_evaluated:
            LOG.info("privfl: this model has been evaluated, and no node evaluates one twice in a run")
            return []
        post = Post(grid, timeout=self._phase_timeout, identity=self._identity)
        numbers = self._numbered(tuple(originals), post, message_type)
        try:
            summed = self._ready(kind, numbers, codec, context=context, call=_Call(post, grid, message_type))
        except RoundAborted as error:  # no committee has a key
            self._lost(kind, number, numbers, str(error))
            return []
        summed.bind(context, terms)
        under_way = _UnderWay(
            summed=summed,
            ahead=self._sums_ahead(numbers, codec, number) if kind == "train" else (),
            instructions=originals,
            model=model,
            post=post,
            message_type=message_type,
            begun=time.perf_counter(),
            evaluated=evaluated,
        )
        sent = {}
        for node in originals:
            asked = under_way.asked_of(node)
            if asked:
                # Who missed the keys of this round is asked for those of the next alone: it joins then.
                shown = RecordDict(dict(content.items()) if summed in asked else {})
                post.put(shown, node, asked)
                sent[node] = Message(shown, node, message_type, ttl=self._train_timeout, group_id=setting.group)
        self.records.append(summed.record)
        under_way.instructions = originals | sent
        self._under_way[kind] = under_way
        return list(sent.values())

    def open(self, kind: Kind, replies: Iterable[Message]) -> tuple[ArrayRecord | None, list[Message]]:
        """Close a round's sum; return the model that was trained on, and the replies that the strategy is given."""
        under_way = self._under_way.pop(kind, None)
        if under_way is None:  # nothing was configured
            return None, list(replies)
        summed, failed = under_way.summed, self._received(under_way, replies)
        self._charge(summed)
        while not summed.over:
            sharing = [one for one in under_way.ahead if not one.over and one.phase in KEY_PHASES]
            under_way.post.exchange([summed, *sharing], under_way.message_type)
        if self._office is not None and self._plans.suite_of(kind).has_committee:
            asked = Phase.OPEN.value in summed.record.seconds
            self._office.over(convened=asked, opened=summed.record.aborted is None)
        self._ahead |= {one.record.kind: one for one in under_way.ahead}
        mean = self._mean(under_way)
        contributors = summed.contributors if mean is not None else frozenset[int]()
        lost = [node for node in under_way.instructions if node not in contributors]
        given = [] if mean is None else self._replies(under_way, mean)
        return under_way.model, [*given, *(failed.get(node) or _failure(under_way, node) for node in lost)]

    def _received(self, under_way: _UnderWay, replies: Iterable[Message]) -> dict[int, Message]:
        """Give the nodes' replies to the sessions that asked, and close their phases; return failed replies by node."""
        summed, failed = under_way.summed, dict[int, Message]()
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():
                failed[node] = reply
                if node in summed.numbers:
                    summed.record.refusals[node] = printable(str(reply.error.reason))
            elif node in under_way.instructions:
                under_way.post.accept(node, under_way.asked_of(node), reply)
        seconds = time.perf_counter() - under_way.begun
        for one in (summed, *under_way.ahead):
            if not one.over:
                one.record.seconds[one.phase.value] = seconds
            one.close()
        if under_way.evaluated is not None and summed.contributors:
            self._models_evaluated.add(under_way.evaluated)
        return failed

    def _charge(self, summed: SecureSum) -> None:
        """Charge a sum whose vectors are in, before anything is asked that opens it.

        Raises:
            BudgetSpent, LedgerError: it is not charged; it is given up, and never opened.
        """
        private = self._plans.private
        if private is None or summed.record.aborted is not None:
            return
        try:
            private.charge(summed.record.round, summed.params, len(summed.contributors))
        except PrivflError as error:
            summed.abort(str(error))
            raise

    def _mean(self, under_way: _UnderWay) -> WeightedMean | None:
        """Read the mean from a round's sum; None if nothing is released."""
        summed = under_way.summed
        aggregate = summed.summed()
        if aggregate is None or summed.terms is None:
            return None
        try:
            codec = self._plans.codec(summed.terms, under_way.model, error_std=aggregate.error_std)
            return codec.decode(aggregate, context=summed.params.context)
        except RoundAborted as error:
            summed.abort(str(error))
            return None

    def _replies(self, under_way: _UnderWay, mean: WeightedMean) -> list[Message]:
        """Return a reply for each contributor: what the strategy makes of them all is the mean."""
        nodes, weighted_by = sorted(under_way.summed.contributors), self._plans.training.weighted_by
        records: dict[str, ArrayRecord | MetricRecord | ConfigRecord] = {
            "metrics": MetricRecord({**mean.means, weighted_by: mean.weight / len(nodes)})
        }
        if under_way.model is not None:
            records[self._arrays_key] = moved(under_way.model, mean.arrays)
        return [Message(RecordDict(dict(records)), reply_to=under_way.instructions[node]) for node in nodes]

    # Sessions.

    def _ready(
        self, kind: Kind, numbers: Mapping[int, int], codec: Encoding, *, context: bytes, call: _Call
    ) -> SecureSum:
        """Return a session that may ask for vectors: one that was prepared, if it suits these nodes, or a new one.

        Raises:
            RoundAborted: there is no key of a committee, and none could be made.
        """
        prepared = self._ahead.pop(kind, None)
        if prepared is not None and _suits(prepared, numbers, codec):
            _make_keys(prepared, call)
            if not prepared.over:
                return prepared
        key, members = (
            self._committee_key(numbers, codec, call) if self._plans.suite_of(kind).has_committee else (None, {})
        )
        summed = self._plans.session(kind, numbers, codec, context=context, committee=key, members=members)
        _make_keys(summed, call)
        return summed

    def _committee_key(
        self, numbers: Mapping[int, int], codec: Encoding, call: _Call
    ) -> tuple[CommitteeKey, Mapping[int, int]]:
        roster = self._plans.committee_roster
        assert roster is not None  # noqa: S101 - `Plans` has seen to it; for the type checker
        self._office = self._office or Office(roster)

        nodes = list(call.grid.get_node_ids())

        def enrol() -> dict[int, int]:
            return call.post.enrol(nodes, roster, call.message_type, committee=True)

        begun = len(self._office.records)
        try:
            key = self._office.key(self._plans.epoch(numbers, codec), nodes=nodes, enrol=enrol, exchange=call.exchange)
        finally:
            self.records += self._office.records[begun:]
        return key, self._office.members

    def _lost(self, kind: Kind, number: int, numbers: Mapping[int, int], why: str) -> None:
        suite = self._plans.suite_of(kind).name
        self.records.append(
            RoundRecord(round=number, kind=kind, suite=suite, cohort=tuple(sorted(numbers)), aborted=why)
        )
        LOG.warning("privfl releases nothing in round %d (%s): %s", number, kind, why)

    def _sums_ahead(self, numbers: Mapping[int, int], codec: Encoding, number: int) -> tuple[SecureSum, ...]:
        """Return the sessions whose keys are made with this round's messages; who will be asked then is a guess."""
        ahead = []
        if self._plans.has_keys("train") and number != self.last:
            ahead.append(self._plans.session("train", numbers, codec, context=b""))
        evaluated = self._evaluated
        if evaluated is None and self._evaluates:
            evaluated = tuple(numbers)
        if self._plans.has_keys("evaluate") and evaluated and set(evaluated) <= numbers.keys():
            metrics = self._plans.codec(self._plans.evaluation, None)
            nodes = {node: numbers[node] for node in evaluated}
            ahead.append(self._plans.session("evaluate", nodes, metrics, context=b""))
        return tuple(ahead)

    def _numbered(self, nodes: tuple[int, ...], post: Post, message_type: str) -> dict[int, int]:
        """Return the nodes' numbers: as they prove them where the server may lie, else in the order of first calls."""
        new, roster = [node for node in nodes if node not in self._numbers], self._plans.roster
        if new and self._plans.active and roster is not None:
            found = post.enrol(new, roster, message_type)
            # A node that was started again has another id: who has proved a number last is who has it.
            kept = {node: number for node, number in self._numbers.items() if number not in found.values()}
            self._numbers = kept | found
        elif new:
            first = len(self._numbers)
            self._numbers |= {node: first + place for place, node in enumerate(sorted(new))}
        return {node: self._numbers[node] for node in nodes if node in self._numbers}


def _make_keys(summed: SecureSum, call: _Call) -> None:
    while not summed.over and summed.phase in KEY_PHASES:
        call.exchange(summed)


def _suits(prepared: SecureSum, numbers: Mapping[int, int], codec: Encoding) -> bool:
    """Whether a session that was prepared is one for these nodes.

    Nodes that were not there when it was prepared do not spoil it: most are gone, and the others join with the next.
    """
    there = prepared.waiting
    return (
        not prepared.over
        and prepared.params.vector == codec.vector
        and numbers.keys() <= prepared.numbers.keys()
        and there <= numbers.keys()
        and len(there) >= prepared.params.minimum_contributors
    )


def _one_content(messages: Sequence[Message]) -> RecordDict:
    """Return what all nodes are shown.

    Raises:
        ConfigurationError: the strategy shows them different things.
    """
    first, of_type = messages[0].content, messages[0].metadata.message_type
    if any(message.metadata.message_type != of_type for message in messages):
        raise ConfigurationError("the strategy sends messages of different types in one round: one type works")
    if any(message.content is not first and message.content != first for message in messages):
        raise ConfigurationError(
            "the strategy sends different records to different nodes, whose masks would not cancel: send the same to "
            "all, and let each node find its part by its node_config"
        )
    return first


def _one_model(content: RecordDict) -> ArrayRecord:
    if len(content.array_records) != 1:
        raise ConfigurationError(
            f"the strategy sends {len(content.array_records)} ArrayRecords for training: exactly one, the model, works"
        )
    model: ArrayRecord = next(iter(content.array_records.values()))
    return model


def _failure(under_way: _UnderWay, node: int) -> Message:
    why = under_way.summed.record.aborted or under_way.summed.record.refusals.get(node, _LOST)
    return Message(Error(_FAILED, why), reply_to=under_way.instructions[node])
