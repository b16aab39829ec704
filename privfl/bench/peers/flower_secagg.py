"""The peer's functions: Flower's SecAgg+, one session of it on a ring of neighbours, by Flower's own functions.

The client's stages are called whole. The server's work for one client stands inside the loops of its long stages, in
`SecAggPlusWorkflow`; here the bodies of those loops are the same calls in the same order, so that the work for one
client can be timed by itself. Line numbers are those of flwr 1.41.0, in `secaggplus_workflow.py` unless said.
All parameters are the workflow's defaults (lines 167-170); node ids are the clients' numbers.

Not counted, in Flower's favour: the time that its records, messages and protocol buffers take, and what its strategy
does with the mean, which it is given once for every client (lines 652-667); of bytes, envelopes, the model that goes
out with the third stage, what a client says beside the masked vector, and that real node ids have up to 20 digits.

What a comparison should say besides the costs (flwr 1.41.0):

- Masks come from numpy's Mersenne Twister under a seed of 32 bits, whatever the key's length: `pseudo_rand_gen` folds
  the seed by XOR (common/secure_aggregation/secaggplus_utils.py, lines 87-92). A pairwise seed is base64 text
  (common/secure_aggregation/crypto/symmetric_encryption.py, line 43), whose bytes have no highest bit: 28 bits are
  left. privfl expands AES-128 in counter mode under a key of 128 bits.
- A client tells the shares of whatever peers the server names, and does not look whether one of them is named both as
  active and as dropped: then both of its shares are told (client/mod/secure_aggregation/secaggplus_mod.py, lines
  500-513). privfl's clients refuse.
- The number of a client's examples, and its metrics, travel in clear beside the masked vector: of the client's answer
  only the arrays are emptied (secaggplus_mod.py, lines 167-174), and the workflow reads the rest (lines 533-539).
  In privfl's vector both are masked coordinates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.bench.peers.flower_ring import WORKS, ring
from privfl.errors import ConfigurationError, MissingExtra

try:
    import flwr.app  # noqa: F401 - to say which extra is missing
except ModuleNotFoundError:
    raise MissingExtra("flower", "flwr") from None

_STAGES: Final = ("SecAggPlusState", "_setup", "_share_keys", "_collect_masked_vectors", "_unmask")


def _without(lacking: str) -> ConfigurationError:
    """Say that what is installed cannot be called as this module calls it."""
    return ConfigurationError(f"flwr {version('flwr')} cannot be measured ({lacking}): {WORKS} works")


try:
    from flwr.app import ConfigRecord
    from flwr.common import Parameters, bytes_to_ndarray, ndarrays_to_parameters
    from flwr.common.secure_aggregation.crypto.shamir import combine_shares
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
    from flwr.common.secure_aggregation.ndarrays_arithmetic import (
        factor_extract,
        get_parameters_shape,
        parameters_addition,
        parameters_mod,
        parameters_multiply,
        parameters_subtraction,
    )
    from flwr.common.secure_aggregation.quantization import dequantize, quantize
    from flwr.common.secure_aggregation.secaggplus_constants import Key
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
    from flwr.server.workflow import SecAggPlusWorkflow
    from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key

    # By its name: as an attribute of its package, it is hidden behind the function of the same name.
    mod: Final = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")
except ImportError as error:
    raise _without(str(error)) from error
for _stage in _STAGES:
    if not hasattr(mod, _stage):
        raise _without(f"no {_stage} in {mod.__name__}")

Configs = dict[str, Any]
Vectors = list[npt.NDArray[Any]]


class FlowerSession:
    """One session.

    Args:
        clients: how many; each holds, as always in Flower, a share of its own.
        threshold: shares that rebuild a secret. Flower's server combines all that arrive, however few are needed.
        num_shares: a client's shares, its own included; the rest are for its neighbours on the ring (all others, if
            not given).
    """

    def __init__(self, clients: int, threshold: int, num_shares: int | None = None) -> None:
        shares = clients if num_shares is None else num_shares
        self.workflow = SecAggPlusWorkflow(num_shares=shares, reconstruction_threshold=threshold)
        self.neighbours = ring(clients, shares)
        self._agreed: Configs = {
            Key.SAMPLE_NUMBER: clients,
            Key.SHARE_NUMBER: shares,
            Key.THRESHOLD: threshold,
            Key.CLIPPING_RANGE: self.workflow.clipping_range,
            Key.TARGET_RANGE: self.workflow.quantization_range,
            Key.MOD_RANGE: self.workflow.modulus_range,
            Key.MAX_WEIGHT: self.workflow.max_weight,
        }
        self.states = [mod.SecAggPlusState(nid=number) for number in range(clients)]
        self.keys: dict[int, list[bytes]] = {}
        self.sources: defaultdict[int, list[int]] = defaultdict(list)
        self.ciphertexts: defaultdict[int, list[bytes]] = defaultdict(list)
        self.total: Vectors = []

    @classmethod
    def opened(cls, clients: int, threshold: int, num_shares: int | None = None) -> FlowerSession:
        """Return a session whose keys are agreed and whose shares are dealt."""
        session = cls(clients, threshold, num_shares)
        for number in range(clients):
            session.take_keys(number, session.set_up(number))
        for number in range(clients):
            session.forward(number, session.share_keys(number))
        return session

    # What the server asks (lines 332-341, 409-412, 480-484, 556-561).

    def setup_request(self) -> Configs:
        """Return what every client is told first."""
        return self._agreed

    def keys_request(self, number: int) -> Configs:
        """Return the public keys of a client and its neighbours."""
        return {str(neighbour): self.keys[neighbour] for neighbour in self.neighbours[number]}

    def shares_request(self, number: int) -> Configs:
        """Return the shares that are for a client."""
        return {Key.CIPHERTEXT_LIST: self.ciphertexts[number], Key.SOURCE_LIST: self.sources[number]}

    def unmask_request(self, number: int, active: Collection[int], dropped: Collection[int]) -> Configs:
        """Return whose shares a client is to tell."""
        neighbours = self.neighbours[number]
        return {
            Key.ACTIVE_NODE_ID_LIST: list(neighbours.intersection(active)),
            Key.DEAD_NODE_ID_LIST: list(neighbours.intersection(dropped)),
        }

    # The client's four stages, whole.

    def set_up(self, number: int) -> Configs:
        """Client: make two pairs of keys."""
        answer: Configs = mod._setup(self.states[number], ConfigRecord(self.setup_request()))  # noqa: SLF001
        return answer

    def share_keys(self, number: int) -> Configs:
        """Client: share its secrets, and encrypt the shares."""
        answer: Configs = mod._share_keys(self.states[number], ConfigRecord(self.keys_request(number)))  # noqa: SLF001
        return answer

    def mask(self, number: int, parameters: Parameters, examples: int) -> list[bytes]:
        """Client: open the shares, weigh, quantise, mask, reduce and serialise."""
        configs = ConfigRecord(self.shares_request(number))
        answer = mod._collect_masked_vectors(self.states[number], configs, examples, parameters)  # noqa: SLF001
        masked: list[bytes] = answer[Key.MASKED_PARAMETERS]
        return masked

    def tell_shares(self, number: int, active: Collection[int], dropped: Collection[int]) -> Configs:
        """Client: tell the shares that are asked for."""
        configs = ConfigRecord(self.unmask_request(number, active, dropped))
        answer: Configs = mod._unmask(self.states[number], configs)  # noqa: SLF001
        return answer

    def quantised(self, update: npt.NDArray[np.float32], examples: int) -> Vectors:
        """Client: what the third stage makes of an update before it masks (secaggplus_mod.py, lines 443-461)."""
        workflow = self.workflow
        ratio = round(examples / workflow.max_weight * workflow.quantization_range) / workflow.quantization_range
        return list(
            quantize(parameters_multiply([update], ratio), workflow.clipping_range, workflow.quantization_range)
        )

    # The server's work for one client, and once a session.

    def take_keys(self, number: int, answer: Configs) -> None:
        """Server: keep a client's public keys (lines 395-398)."""
        self.keys[number] = [answer[Key.PUBLIC_KEY_1], answer[Key.PUBLIC_KEY_2]]

    def forward(self, number: int, answer: Configs) -> None:
        """Server: put a client's shares where their receivers find them (lines 452-465)."""
        for receiver, ciphertext in zip(answer[Key.DESTINATION_LIST], answer[Key.CIPHERTEXT_LIST], strict=True):
            self.ciphertexts[receiver].append(ciphertext)
            self.sources[receiver].append(number)

    def receive(self, masked: Iterable[bytes]) -> None:
        """Server: add one client's vector to the sum (lines 522-527)."""
        vector = [bytes_to_ndarray(array) for array in masked]
        self.total = parameters_addition(self.total, vector) if self.total else vector

    def close_uploads(self) -> None:
        """Server: reduce the sum, once a session (line 529)."""
        self.total = parameters_mod(self.total, self.workflow.modulus_range)

    def take_shares(self, shares: defaultdict[int, list[bytes]], told: Configs) -> None:
        """Server: put what a client told with whose secrets it is of (lines 596-600)."""
        for owner, share in zip(told[Key.NODE_ID_LIST], told[Key.SHARE_LIST], strict=True):
            shares[owner].append(share)

    def collect_shares(self, active: Collection[int], dropped: Collection[int]) -> Mapping[int, list[bytes]]:
        """Every active client's shares of its neighbours and of itself, by whose secret they are of."""
        shares: defaultdict[int, list[bytes]] = defaultdict(list)
        for number in active:
            self.take_shares(shares, self.tell_shares(number, active, dropped))
        return shares

    def unmask_survivor(self, shares: list[bytes]) -> None:
        """Server: rebuild a survivor's seed and take its private mask away (lines 611-617)."""
        secret = combine_shares(shares)
        mask = pseudo_rand_gen(secret, self.workflow.modulus_range, get_parameters_shape(self.total))
        self.total = parameters_subtraction(self.total, list(mask))

    def unmask_dropped(self, number: int, shares: list[bytes]) -> None:
        """Server: rebuild a dropped client's key and take its masks with all neighbours away (lines 611, 620-638)."""
        secret = combine_shares(shares)
        for neighbour in self.neighbours[number] - {number}:
            shared_key = generate_shared_key(bytes_to_private_key(secret), bytes_to_public_key(self.keys[neighbour][0]))
            mask = pseudo_rand_gen(shared_key, self.workflow.modulus_range, get_parameters_shape(self.total))
            combine = parameters_addition if number > neighbour else parameters_subtraction
            self.total = combine(self.total, list(mask))

    def mean(self, contributors: int) -> npt.NDArray[np.float64]:
        """Server: read the weighted mean, once a session (lines 639-650): right only if all masks are gone."""
        workflow = self.workflow
        units, values = factor_extract(parameters_mod(self.total, workflow.modulus_range))
        (vector,) = dequantize(values, workflow.clipping_range, workflow.quantization_range)
        vector += -(contributors - 1) * workflow.clipping_range
        vector *= workflow.quantization_range / units
        return np.asarray(vector, np.float64)


def parameters_of(update: npt.NDArray[np.float32]) -> Parameters:
    """A client's trained model, in the form in which the stage takes it."""
    return ndarrays_to_parameters([update])


def record_bytes(items: Mapping[str, Any], stage: str | None = None) -> int:
    """Length of a record as Flower serialises it to send it; of a request, with the stage that it says."""
    return len(ConfigRecord(dict(items) if stage is None else {Key.STAGE: stage, **items}).deflate())


def masked_record(masked: list[bytes]) -> Configs:
    """Return what a client sends of a masked vector."""
    return {Key.MASKED_PARAMETERS: masked}
