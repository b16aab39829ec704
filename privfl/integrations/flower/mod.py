"""The mod: what stands between Flower and a node's app, so that nothing of the node leaves in clear."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from flwr.app import Context, Error, Message, RecordDict

from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError, DecodeError, DisclosureRefused, PrivflError
from privfl.integrations.flower import carrying
from privfl.integrations.flower.home import Home, NodeHome, NodePolicy, home_of, stricter
from privfl.integrations.flower.messages import Answer, ClientStep, EnrolStep, Request, Step, StepAnswer, Terms
from privfl.integrations.flower.model import NOTHING, Setting, context_of, difference, learned, model_digest
from privfl.integrations.flower.node import UNTOLD, Node
from privfl.integrations.flower.terms import Encoding, codec_of
from privfl.integrations.party_books import Cost
from privfl.params import ServerModel
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy, ClientSession

App = Callable[[Message, Context], Message]

_LOG: Final = logging.getLogger("flwr.privfl")
_REFUSED: Final = 6
"""`Error.code` of a refusal: what Flower calls a failed precondition of a mod."""
_RAISED: Final = 2
"""`Error.code` of an app that raised."""
_ACTIVE: Final = frozenset({ServerModel.ACTIVE})
_KEPT: Final = "this node sends no contribution: its log says why"


class SecureAggregationMod:
    """Answers the phases of secure aggregation for a node, and protects what the node's app replies.

    First among `mods`: those behind it (clipping, say) see messages as the server's strategy made them.

    Args:
        policy: what the node insists on; its own `policy.toml` can make it stricter, and nothing can loosen it.
        server: Ed25519 public key that requests must be signed with, 32 bytes; None: any server's are answered.
        credentials: identity and roster, if the node's directory has none.
        committee: roster of the committee that may open sums of `ckks`, if the node's directory has none.
        home: where nodes' directories are made that the SuperNodes were not told (`privfl-home`), or a function of
            Flower's context that says a node's.
        clear: types of messages that reach the app unprotected and are answered in clear, such as {"query"}.
        workers: threads for long vectors.

    Guarantees:
        1. Of what the app replies, nothing leaves in clear: no array, count, metric or other record, nor what it
           raises. Arrays, weight and the metrics that were agreed on enter the secure sum; the rest stays with the
           node.
        2. A message without protection is refused, unless its type is in `clear` of both policies.
        3. What the vector is bound to is what the node was shown: model, configuration, terms and run.
        4. What is refused is refused whatever the server says, with a reason in the log and in the answer. The app is
           not called for what signature, policy, terms or the session's state rule out.
    """

    def __init__(
        self,
        policy: ClientPolicy | None = None,
        *,
        server: bytes | None = None,
        credentials: Credentials | None = None,
        committee: Roster | None = None,
        home: Home | None = None,
        clear: Collection[str] = (),
        workers: int = 1,
    ) -> None:
        self._policy = NodePolicy(session=policy or ClientPolicy(), server=server, clear=frozenset(clear))
        self._credentials = credentials
        self._committee = committee
        self._home = home
        self._workers = workers

    def __call__(self, message: Message, context: Context, call_next: App) -> Message:
        """Answer a message (Flower's signature of a mod)."""
        try:
            node = self._node(context)
        except Exception as error:  # noqa: BLE001 - whatever it is, Flower would tell the server, in its own words
            # Paths and settings of the node are its own business.
            _LOG.error("privfl cannot answer for this node: %s", error, exc_info=not isinstance(error, PrivflError))
            return Message(Error(_REFUSED, UNTOLD), reply_to=message)
        try:
            carried = carrying.take(message.content)
            if carried is None:
                _check_clear(message, node.policy)
                request, work = None, []
            else:
                node.check_server(carried)
                request = carried.read(Request)
                work = self._work(node, request, carried, message, context)
        except PrivflError as error:
            _LOG.error("privfl refuses a %s message: %s", message.metadata.message_type, error)
            return Message(Error(_REFUSED, node.told(error)), reply_to=message)
        except Exception:  # noqa: BLE001 - likewise
            _LOG.exception("privfl cannot answer a %s message", message.metadata.message_type)
            return Message(Error(_REFUSED, UNTOLD), reply_to=message)
        if request is None:
            return call_next(message, context)
        asked = [one for one in work if one.asked is not None]
        reply = _called(call_next, message, context) if asked else None
        answer = [one.finish(node, reply) for one in work]
        node.close()
        return _message(answer, message)

    def _node(self, context: Context) -> Node:
        folder, named = home_of(context, self._home)
        home = NodeHome.open(folder, named=named)
        policy = stricter(self._policy, home.policy) if home.policy else self._policy
        if home.credentials and (home.policy is None or home.policy.session.servers is None):
            # Who has an identity to sign with is not talked into a session without signatures, by no app either.
            policy = stricter(policy, replace(policy, session=replace(policy.session, servers=_ACTIVE)))
        return Node(
            home,
            policy,
            credentials=home.credentials or self._credentials,
            committee=home.committee or self._committee,
            context=context,
            workers=self._workers,
        )

    def _work(
        self, node: Node, request: Request, carried: carrying.Carried, message: Message, context: Context
    ) -> list[_Work]:
        """Answer all that does not need the app, and make the rest ready."""
        steps = request.steps
        said = [b"" if isinstance(step, EnrolStep) else step.request for step in steps]
        requests = carrying.joined(said, carried.long)
        if sum(isinstance(step, ClientStep) and step.terms is not None for step in steps) > 1:
            raise DisclosureRefused("two sums of one reply: a node's contribution enters one")
        return [_answered(node, step, raw, message, context) for step, raw in zip(steps, requests, strict=True)]


@dataclass(slots=True, kw_only=True)
class _Asked:
    """A vector that a session waits for: what it will be made of."""

    session: ClientSession
    request: bytes
    terms: Terms
    codec: Encoding
    cost: Cost
    before: dict[str, npt.NDArray[Any]]
    model: bytes

    def vector(self, reply: Message) -> npt.NDArray[np.int32]:
        """Make it from the app's reply.

        Raises:
            ConfigurationError: the reply is not as agreed.
        """
        content = reply.content
        metrics = _only(content.metric_records, "MetricRecord")
        update = (
            difference(_only(content.array_records, "ArrayRecord"), self.before)
            if self.before
            else {"nothing": np.zeros(1, np.float32)}
        )
        agreed = {name for name, _ in self.terms.metrics} | {self.terms.weighted_by}
        left = sorted(set(metrics) - agreed) + sorted(content.config_records)
        if left:
            _LOG.warning("privfl keeps with this node what was not agreed on for sums: %s", ", ".join(left))
        return self.codec.encode(update, metrics, context=self.session.params.context)


@dataclass(slots=True, kw_only=True)
class _Work:
    """A step's answer, or what is needed for it."""

    response: bytes = b""
    why: str = ""
    asked: _Asked | None = field(default=None, repr=False)

    def finish(self, node: Node, reply: Message | None) -> StepAnswer:
        """Return the answer, whose response may be long."""
        if self.asked is not None:
            self._upload(node, self.asked, reply)
        return StepAnswer(response=self.response, why=self.why)

    def _upload(self, node: Node, asked: _Asked, reply: Any) -> None:
        # The app has been called, so that whatever goes wrong now may follow from its answer: the server is told one
        # and the same, or it could ask until the words told it what the answer was.
        self.why = _KEPT
        try:
            if reply.has_error():
                _LOG.error("privfl sends no contribution: the app answered with error %d", reply.error.code)
                return
            vector = asked.vector(reply)
            node.books.charge(asked.session.params, asked.cost)
            if asked.terms.kind == "evaluate":
                node.evaluated(asked.model)
            asked.session.submit(vector)
            self.response = asked.session.respond(asked.request)
            node.keep(asked.session)
        except PrivflError as error:
            _LOG.error("privfl sends no contribution: %s", error)
        except Exception:  # noqa: BLE001 - whatever the app's answer is, it is the node's
            _LOG.exception("privfl sends no contribution")
        else:
            self.why = ""


def _answered(node: Node, step: Step, request: bytes, message: Message, context: Context) -> _Work:
    session = None
    try:
        if isinstance(step, EnrolStep):
            return _enrolled(node, step)
        if not isinstance(step, ClientStep):
            return _Work(response=node.member(step, request))
        session = node.open(step, request)
        if step.terms is not None:
            return _Work(asked=_asked(node, session, request, step, message=message, context=context))
        response = session.respond(request)
        node.keep(session)
    except PrivflError as error:
        if session is not None and isinstance(error, DecodeError):
            node.keep(session)  # it has not moved
        _LOG.error("privfl refuses a request: %s", error)
        return _Work(why=node.told(error))
    return _Work(response=response)


def _enrolled(node: Node, step: EnrolStep) -> _Work:
    try:
        return _Work(response=node.enrol(step))
    except ConfigurationError as error:
        # Most nodes are no members of a committee: that is no refusal.
        _LOG.log(logging.INFO if step.committee else logging.ERROR, "privfl: %s", error)
        return _Work(why=node.told(error))


def _asked(
    node: Node, session: ClientSession, request: bytes, step: ClientStep, *, message: Message, context: Context
) -> _Asked:
    """Bind a session to what the node is shown, and see that its vector can be made, and will be taken."""
    kind, terms = message.metadata.message_type.split(".")[0], step.terms
    assert terms is not None  # noqa: S101 - the caller has seen to it; for the type checker
    if terms.kind != kind:
        raise DisclosureRefused(f"terms of {terms.kind!r} in a message of type {kind!r}")
    before = learned(_only(message.content.array_records, "ArrayRecord")) if terms.kind == "train" else {}
    codec = codec_of(terms, Layout.of(before) if before else NOTHING)
    if codec.vector != session.params.vector:
        raise ConfigurationError("the session's vector is not the one that model and terms make")
    setting = Setting.of(message, run=context.run_id, run_config=context.run_config)
    bound_to = context_of(message.content, terms, setting)
    if step.context != bound_to:
        raise DisclosureRefused(
            "this node was shown another model, configuration or run configuration than the server says (the wrapper "
            "in the server's app needs run_config=context.run_config)"
        )
    model = model_digest(message.content) if terms.kind == "evaluate" else b""
    if model:
        node.check_not_evaluated(model)
    cost = node.books.cost(terms, codec, session.params, corrupt=node.policy.session.corrupt_clients)
    node.books.require_room(cost)
    session.bind(bound_to)
    session.check_upload(request)
    node.check_terms(terms)  # last: they are claimed, and only a request that will be answered may fix them
    return _Asked(session=session, request=request, terms=terms, codec=codec, cost=cost, before=before, model=model)


def _called(call_next: App, message: Message, context: Context) -> Message:
    """Call the app; if it raises, only its log says what: Flower would tell the server, in the app's words."""
    try:
        return call_next(message, context)
    except Exception:  # noqa: BLE001 - whatever it is, it is the node's
        _LOG.exception("privfl sends no contribution: the app raised")
        return Message(Error(_RAISED, "raised"), reply_to=message)


def _check_clear(message: Message, policy: NodePolicy) -> None:
    kind = message.metadata.message_type
    if not {kind, kind.split(".")[0]} & policy.clear:
        raise DisclosureRefused(
            f"a {kind} message without protection: the server's strategy is not wrapped in SecureAggregation, or was "
            f"told to leave this out; clear={{{kind!r}}} of the mod would answer it in clear"
        )


def _only(records: Any, kind: str) -> Any:
    if len(records) != 1:
        raise ConfigurationError(f"{len(records)} records of type {kind}: exactly one works")
    return next(iter(records.values()))


def _message(answers: list[StepAnswer], message: Message) -> Message:
    responses, long = carrying.split([one.response for one in answers])
    said = Answer(
        steps=tuple(
            StepAnswer(response=response, why=one.why) for one, response in zip(answers, responses, strict=True)
        )
    )
    content = RecordDict()
    carrying.put(content, said, long)
    return Message(content, reply_to=message)
