"""How long the answers of a key ceremony may be: for whoever makes room before they come."""

from __future__ import annotations

from privfl.ckks import sharing
from privfl.ckks.ceremony_params import CeremonyParams
from privfl.ckks.messages import COMBINED_BYTES, Advertise, Checks, Commitment, Dealing, KeySignature, TestAnswer
from privfl.ckks.planner import modulus_of
from privfl.lockstep.sizes import MessageSizes, SessionSizes, frame_bytes
from privfl.primitives.aead import TAG_BYTES
from privfl.primitives.signatures import SIGNATURE_BYTES
from privfl.session import Phase
from privfl.wire import Role


def longest_answers(params: CeremonyParams) -> SessionSizes:
    """Return the longest answer of each phase, in bytes.

    Dealings and combinations are so long if every member is there and nobody complains, and shorter otherwise; all
    others have one length.
    """
    modulus, shape = modulus_of(params.epoch), params.epoch.committee
    own = modulus.vector_bytes(modulus.degree)
    sealed = bytes(modulus.vector_bytes(modulus.degree + sharing.COMBINATIONS) + TAG_BYTES)
    signature, key = bytes(SIGNATURE_BYTES), bytes(32)
    longest = {
        Phase.ADVERTISE_KEYS: frame_bytes(Advertise(channel_key=key, signature=signature)),
        Phase.COMMIT: frame_bytes(Commitment(commitment=key)),
        Phase.DEAL: frame_bytes(Dealing(sealed=(sealed,) * (shape.members - 1)), own),
        Phase.CHECK_SHARES: frame_bytes(Checks(combined=(bytes(COMBINED_BYTES),) * shape.members)),
        Phase.TEST_KEY: frame_bytes(TestAnswer(), own),
        Phase.SIGN_KEY: frame_bytes(KeySignature(signature=signature)),
    }
    return {
        (Role.COMMITTEE, phase): MessageSizes.exactly(
            size, range(shape.members), fewest_senders=shape.threshold, most_senders=shape.members
        )
        for phase, size in longest.items()
    }
