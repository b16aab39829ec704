"""What others do, to be measured beside the suites; no suite, and not for use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from privfl.bench.peers.float32 import FLOAT32
from privfl.bench.peers.flower import FLOWER
from privfl.bench.peers.metering import PeerSession as PeerSession
from privfl.bench.peers.peer import Peer as Peer
from privfl.bench.peers.tenseal_ckks import NVFLARE, NVFLARE_PUBLIC, TUTORIAL
from privfl.errors import ConfigurationError

PEERS: Final[Mapping[str, tuple[Peer, ...]]] = {
    "float32": (FLOAT32,),
    "flower": (FLOWER,),
    "tenseal": (TUTORIAL,),
    "nvflare": (NVFLARE, NVFLARE_PUBLIC),
}
"""By the word that selects them; importing them imports nothing of what they measure."""


def peers(words: Iterable[str]) -> list[Peer]:
    """Return what words select, each peer once, in their order.

    Raises:
        ConfigurationError: a word selects nothing.

    >>> [peer.name for peer in peers(["nvflare", "float32"])]
    ['tenseal-nvflare', 'tenseal-nvflare-public-key', 'float32-mean']
    """
    chosen: dict[str, Peer] = {}
    for word in words:
        if word not in PEERS:
            raise ConfigurationError(f"--peers holds {word!r}: {', '.join(PEERS)} work")
        chosen |= {peer.name: peer for peer in PEERS[word]}
    return list(chosen.values())


__all__ = ["PEERS", "Peer", "PeerSession", "peers"]
