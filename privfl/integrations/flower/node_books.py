"""What a node spends of its own budget, whatever its server says of privacy."""

from __future__ import annotations

import logging
from typing import ClassVar

from privfl.integrations.flower.messages import Terms
from privfl.integrations.flower.private_terms import PrivateTermsCodec
from privfl.integrations.party_books import Cost, PartyBooks
from privfl.params import SessionParams


class NodeBooks(PartyBooks):
    """A node's ledger; arguments as those of `PartyBooks`."""

    PARTY: ClassVar[str] = "node"
    LOG: ClassVar[logging.Logger] = logging.getLogger("flwr.privfl")

    def cost(self, terms: Terms, codec: object, params: SessionParams, *, corrupt: int) -> Cost:
        """Return what a sum costs the node; nothing where no ledger is kept.

        Args:
            terms: how its contribution becomes a vector.
            codec: what does it.
            params: of the session.
            corrupt: fewest corrupt nodes that its policy wants to be protected from.

        Raises:
            ConfigurationError: the session may have fewer contributors than shares of the noise are made for.
        """
        if isinstance(codec, PrivateTermsCodec):
            return Cost(events=(codec.cost(params, corrupt=corrupt),), noise=codec.facts())
        return self.without_noise(terms.kind)
