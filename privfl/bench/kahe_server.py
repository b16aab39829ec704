"""A server's session of `kahe`, and beside each of its works along the model the one that nobody avoids."""

from __future__ import annotations

import statistics
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from privfl.bench.limits import add_upload
from privfl.bench.sessions import PhaseClock, agreed_masking, clients_of
from privfl.bench.turns import Spread, seconds, take_turns
from privfl.kahe.cipher import decrypt
from privfl.kahe.server import EncryptedVectors, KaheServer
from privfl.masking.payload import Payload
from privfl.params import KaheSetting, SessionParams, WireForm
from privfl.session import Aggregate, Phase
from privfl.wire import PartyId

_INBOX = 50
_OPENINGS = 3


class _TimedVectors(EncryptedVectors):
    """Ciphertexts whose sum is opened several times over, in turn with bare decryptions."""

    def __init__(self, params: SessionParams, setting: KaheSetting, workers: int) -> None:
        super().__init__(params, setting, workers)
        self.openings: list[float] = []
        self.decryptions: list[float] = []

    def open(self, session: bytes, contributors: int) -> Aggregate:
        """See `Payload.open`."""
        opened: list[Aggregate] = []
        keys = self.masked.view(np.int32).astype(np.int64)
        taken = take_turns(
            {
                "opening": lambda: opened.append(super(_TimedVectors, self).open(session, contributors)),
                "decryption": lambda: decrypt(
                    self._total, keys, ring=self._ring, scale_bits=self._setting.scale_bits, session=session
                ),
            },
            _OPENINGS,
        )
        self.openings, self.decryptions = taken["opening"], taken["decryption"]
        return opened[-1]


class _TimedServer(KaheServer):
    vectors: _TimedVectors

    def _payload(self, params: SessionParams, workers: int) -> Payload:
        assert isinstance(params.setting, KaheSetting)  # noqa: S101 - `_verified` saw to it; for the type checker
        self.vectors = _TimedVectors(params, params.setting, workers)
        return self.vectors

    def pairs(self, dropped: Collection[int]) -> int:
        """Count pairs of a dropped client and a neighbour that stayed."""
        graph = self._book.graph
        return sum(peer not in dropped for gone in dropped for peer in graph.neighbours(gone))


class ServersSession:
    """A session of `kahe`, played to its end, and what it cost the server.

    Answers wait in memory until some fifty of them are there, as they do at a server, so that neither the server nor
    the bare addition beside it finds them in the cache.

    Args:
        params: of a session of `kahe`.
        vector: int32, shape (m,), which all clients send.
        dropped: who vanishes before the upload.

    Attributes:
        result: the sum.
        uploaded: bytes that each client sent in all phases.
        pairs: of a dropped client and a surviving neighbour.
    """

    def __init__(self, params: SessionParams, vector: npt.NDArray[np.int32], dropped: Collection[int] = ()) -> None:
        self._server, self._clients = _TimedServer(params), clients_of(params)
        self._vector, self._dropped = vector, frozenset(dropped)
        self._words = agreed_masking(params).wire is WireForm.WORDS
        self._clock = PhaseClock()
        self._total = np.zeros(len(vector), np.uint32)
        self._received: list[float] = []
        self._additions: list[float] = []
        self.uploaded = dict.fromkeys(params.cohort, 0)
        self.pairs = 0
        while self._server.phase is not Phase.FINISHED:
            self._play_phase()
        self.result = self._server.result
        self._openings, self._decryptions = self._server.vectors.openings, self._server.vectors.decryptions

    @property
    def survivors(self) -> int:
        """Clients in the sum."""
        return len(self.uploaded) - len(self._dropped)

    @property
    def opening_s(self) -> float:
        """CPU time of reading the sum: the decryption, and what is checked afterwards."""
        return statistics.median(self._openings)

    @property
    def along_the_model_s(self) -> float:
        """CPU time of all work along the model: taking uploads in, and reading the sum."""
        return sum(self._received) + self.opening_s

    @property
    def ratio(self) -> Spread:
        """Work along the model in multiples of bare additions and a bare decryption; for words.

        Taken from pieces of fifty uploads, each with as much of reading the sum as falls to it.
        """
        decryption, work, limit = statistics.median(self._decryptions), [], []
        for start in range(0, len(self._received), _INBOX):
            received, added = (taken[start : start + _INBOX] for taken in (self._received, self._additions))
            share = len(received) / len(self._received)
            work.append(sum(received) + self.opening_s * share)
            limit.append(sum(added) + decryption * share)
        return Spread.of_ratios(work, limit)

    def phase_s(self, phase: Phase) -> float:
        """CPU time of a key phase; of Unmask, what is not reading the sum."""
        reading = sum(self._openings) + sum(self._decryptions) if phase is Phase.UNMASK else 0.0
        return self._clock.spent[phase] - reading

    def _play_phase(self) -> None:
        server, phase = self._server, self._server.phase
        asked = sorted(server.waiting)
        if phase is Phase.MASKED_INPUT:
            asked = [party for party in asked if party.number not in self._dropped]
        for start in range(0, len(asked), _INBOX):
            inbox = {}
            for party in asked[start : start + _INBOX]:
                session, request = self._clients[party.number], self._clock(phase, server.request_for, party)
                if phase is Phase.MASKED_INPUT:
                    session.submit(self._vector)
                inbox[party] = session.respond(request)
            for party, response in inbox.items():
                self._receive(phase, party, response)
        if phase is Phase.UNMASK:
            self.pairs = server.pairs(self._dropped)
        self._clock(phase, server.advance)

    def _receive(self, phase: Phase, party: PartyId, response: bytes) -> None:
        self.uploaded[party.number] += len(response)
        if phase is not Phase.MASKED_INPUT:
            self._clock(phase, self._server.receive, party, response)
            return
        words = np.frombuffer(response, np.uint32)[-len(self._vector) :]
        if self._words and party.number % 2:
            self._additions.append(seconds(add_upload, self._total, words))
        self._received.append(seconds(self._server.receive, party, response))
        if self._words and not party.number % 2:
            self._additions.append(seconds(add_upload, self._total, words))


def key_phase_us(without: ServersSession, beside: ServersSession) -> float:
    """Return what each dropped pair costs in Unmask, µs: beyond what the same survivors cost when nobody drops out.

    Args:
        without: a session that nobody left.
        beside: one that some left.
    """
    usual = without.phase_s(Phase.UNMASK) / without.survivors
    return 1e6 * (beside.phase_s(Phase.UNMASK) - usual * beside.survivors) / beside.pairs
