"""Every domain-separation label of the library, in one place, so that no two uses can share one."""

from __future__ import annotations

from enum import Enum


class Label(Enum):
    """What a derived key or a digest is for; the value enters the derivation."""

    PARAMS = b"privfl/v1/params"
    CONTEXT = b"privfl/v1/context"
    SESSION = b"privfl/v1/session"
    MERKLE_LEAF = b"privfl/v1/merkle-leaf"
    MERKLE_ABSENT = b"privfl/v1/merkle-absent"
    MERKLE_SERVER = b"privfl/v1/merkle-server"
    MERKLE_NODE = b"privfl/v1/merkle-node"
    ROSTER = b"privfl/v1/roster"
    GUARD_CLAIM = b"privfl/v1/guard-claim"
    SLEEP = b"privfl/v1/sleep"
    MASKING_ADVERTISEMENT = b"privfl/v1/masking/advertisement"
    MASKING_SURVIVORS = b"privfl/v1/masking/survivors"
    MASKING_GRAPH = b"privfl/v1/masking/graph"
    MASKING_WITNESSES = b"privfl/v1/masking/witnesses"
    MASKING_CHANNEL = b"privfl/v1/masking/channel"
    MASKING_PAIR = b"privfl/v1/masking/pair"
    MASKING_PAIR_MASK = b"privfl/v1/masking/pair-mask"
    MASKING_CONFIRM = b"privfl/v1/masking/confirm"
    MASKING_SELF = b"privfl/v1/masking/self"
    KAHE_PUBLIC = b"privfl/v1/kahe/public"
    MASKING_SELF_COMMITMENT = b"privfl/v1/masking/self-commitment"
    CKKS_CEREMONY = b"privfl/v1/ckks/ceremony"
    CKKS_ADVERTISEMENT = b"privfl/v1/ckks/advertisement"
    CKKS_COMMITMENT = b"privfl/v1/ckks/commitment"
    CKKS_COMMON = b"privfl/v1/ckks/common"
    CKKS_CHANNEL = b"privfl/v1/ckks/channel"
    CKKS_CHALLENGE = b"privfl/v1/ckks/challenge"
    CKKS_TEST = b"privfl/v1/ckks/test"
    CKKS_KEY = b"privfl/v1/ckks/key"
    CKKS_PAIR = b"privfl/v1/ckks/pair"
    CKKS_PAIR_MASK = b"privfl/v1/ckks/pair-mask"
    CKKS_OPENING = b"privfl/v1/ckks/opening"
    CKKS_UPLOAD = b"privfl/v1/ckks/upload"
    CKKS_MEMBER = b"privfl/v1/ckks/member"
