"""The peer: Flower's SecAgg+, one session of it on the complete graph, by Flower's own functions.

The client's stages are called whole. The server's work for one client stands inside the loops of two long stages of
`SecAggPlusWorkflow`; here the bodies of those loops are the same calls in the same order, so that the work for one
client can be timed by itself. Line numbers are those of flwr 1.41.0, in `secaggplus_workflow.py` unless said.
All parameters are the workflow's defaults; node ids are the clients' numbers.

Not counted, in Flower's favour: its records, messages and protocol buffers, apart from the length of an upload.

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

from collections import defaultdict
from importlib import import_module
from unittest import mock

from flwr.app import ConfigRecord
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
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
mod = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")


class FlowerSession:
    """One session; when it is made, keys are agreed and shares are dealt.

    Args:
        clients: how many; each has all others as neighbours and, as always in Flower, holds a share of its own.
        threshold: shares that rebuild a secret. Flower's server combines all that arrive, however few are needed.
    """

    def __init__(self, clients, threshold):
        self.workflow = workflow = SecAggPlusWorkflow(num_shares=clients, reconstruction_threshold=threshold)
        configs = {
            Key.SAMPLE_NUMBER: clients,
            Key.SHARE_NUMBER: clients,
            Key.THRESHOLD: threshold,
            Key.CLIPPING_RANGE: workflow.clipping_range,
            Key.TARGET_RANGE: workflow.quantization_range,
            Key.MOD_RANGE: workflow.modulus_range,
            Key.MAX_WEIGHT: workflow.max_weight,
        }
        self.states = [mod.SecAggPlusState(nid=number) for number in range(clients)]
        setups = [mod._setup(state, ConfigRecord(dict(configs))) for state in self.states]
        self.keys = {number: [setup[Key.PUBLIC_KEY_1], setup[Key.PUBLIC_KEY_2]] for number, setup in enumerate(setups)}
        self.sources, self.ciphertexts = defaultdict(list), defaultdict(list)
        for state in self.states:
            dealt = mod._share_keys(state, ConfigRecord({str(number): keys for number, keys in self.keys.items()}))
            for receiver, ciphertext in zip(dealt[Key.DESTINATION_LIST], dealt[Key.CIPHERTEXT_LIST], strict=True):
                self.sources[receiver].append(state.nid)
                self.ciphertexts[receiver].append(ciphertext)
        self.total = None

    def mask(self, number, parameters, examples):
        """Client: open the shares, weigh, quantise, mask, reduce and serialise: its third stage, whole."""
        configs = ConfigRecord(
            {Key.SOURCE_LIST: self.sources[number], Key.CIPHERTEXT_LIST: self.ciphertexts[number]},
        )
        return mod._collect_masked_vectors(self.states[number], configs, examples, parameters)[Key.MASKED_PARAMETERS]

    def quantised(self, update, examples):
        """Client: what the stage makes of an update before it masks (secaggplus_mod.py, lines 443-461)."""
        workflow = self.workflow
        ratio = round(examples / workflow.max_weight * workflow.quantization_range) / workflow.quantization_range
        return quantize(parameters_multiply([update], ratio), workflow.clipping_range, workflow.quantization_range)

    def receive(self, masked):
        """Server: add one client's vector to the sum (lines 522-527)."""
        vector = [bytes_to_ndarray(array) for array in masked]
        self.total = vector if self.total is None else parameters_addition(self.total, vector)

    def close_uploads(self):
        """Server: reduce the sum, once a session (line 529)."""
        self.total = parameters_mod(self.total, self.workflow.modulus_range)

    def collect_shares(self, active, dropped):
        """Every active client's shares of all others and of itself, by whose secret they are of (lines 588-600)."""
        shares = defaultdict(list)
        for number in active:
            configs = {Key.ACTIVE_NODE_ID_LIST: list(active), Key.DEAD_NODE_ID_LIST: list(dropped)}
            told = mod._unmask(self.states[number], ConfigRecord(configs))
            for owner, share in zip(told[Key.NODE_ID_LIST], told[Key.SHARE_LIST], strict=True):
                shares[owner].append(share)
        return shares

    def unmask_survivor(self, shares):
        """Server: rebuild a survivor's seed and take its private mask away (lines 611-617)."""
        secret = combine_shares(shares)
        mask = pseudo_rand_gen(secret, self.workflow.modulus_range, get_parameters_shape(self.total))
        self.total = parameters_subtraction(self.total, mask)

    def unmask_dropped(self, number, shares):
        """Server: rebuild a dropped client's key and take its masks with all neighbours away (lines 611, 620-638)."""
        secret = combine_shares(shares)
        for neighbour in self.keys.keys() - {number}:
            shared_key = generate_shared_key(bytes_to_private_key(secret), bytes_to_public_key(self.keys[neighbour][0]))
            mask = pseudo_rand_gen(shared_key, self.workflow.modulus_range, get_parameters_shape(self.total))
            combine = parameters_addition if number > neighbour else parameters_subtraction
            self.total = combine(self.total, mask)

    def mean(self, contributors):
        """Server: read the weighted mean, once a session (lines 639-650): right only if all masks are gone."""
        workflow = self.workflow
        units, values = factor_extract(parameters_mod(self.total, workflow.modulus_range))
        (vector,) = dequantize(values, workflow.clipping_range, workflow.quantization_range)
        return (vector - (contributors - 1) * workflow.clipping_range) * (workflow.quantization_range / units)


def parameters_of(update):
    """A client's trained model, in the form in which the stage takes it."""
    return ndarrays_to_parameters([update])


def without_quantisation(quantised):
    """Within this context, `FlowerSession.mask` finds its update quantised already: masking alone is left.

    Nothing below these three functions changes their result in place, so it serves any number of calls.
    """
    return mock.patch.multiple(
        mod,
        parameters_to_ndarrays=lambda _parameters: [],
        parameters_multiply=lambda arrays, _ratio: arrays,
        quantize=lambda _arrays, _clip, _range: quantised,
    )


def upload_bytes(masked):
    """Length of the record that carries a masked vector, as Flower serialises it to send it."""
    return len(ConfigRecord({Key.MASKED_PARAMETERS: masked}).deflate())
