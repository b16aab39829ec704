"""The goals."""

from __future__ import annotations

from typing import Final

from privfl.bench.goals.beside_nvflare import ckks_client
from privfl.bench.goals.goal import Goal
from privfl.bench.goals.memory import SMALL_BYTES, server_memory
from privfl.bench.goals.small_work import CLIENTS, protocol_work, upload_bytes
from privfl.bench.goals.vector_work import DROPOUTS, figure_of, kahe_client, kahe_key_phase, kahe_server, one_mask

_TIMES: Final = "×"
_NS: Final = "ns a parameter"
_TENSEAL: Final = ("tenseal", "ckks")
_NOTED_BITS: Final = (CLIENTS * (2**16 - 1) + 1 - 1).bit_length()  # ⌈log₂(n·(2^16 − 1) + 1)⌉


def goals() -> list[Goal]:
    """Return all goals, in the order in which they are told."""
    return [
        Goal(
            key="masking-one-mask",
            what="One mask costs at most 1.25 times the bare loop that expands AES-CTR and adds it.",
            unit=_TIMES,
            limit=1.25,
            measure=one_mask,
            figure="ratio",
        ),
        Goal(
            key="kahe-client-10-ns",
            what="A client of kahe spends at most 10 ns of CPU a parameter, from its update to its upload.",
            unit=_NS,
            limit=10,
            measure=kahe_client,
            figure="ns",
        ),
        Goal(
            key="kahe-client-8-ns",
            what="A client of kahe spends at most 8 ns of CPU a parameter, from its update to its upload.",
            unit=_NS,
            limit=8,
            measure=kahe_client,
            figure="ns",
        ),
        Goal(
            key="kahe-client-transforms",
            what="A client of kahe spends at most twice what the Fourier transforms alone take.",
            unit=_TIMES,
            limit=2,
            measure=kahe_client,
            figure="ratio",
        ),
        *(
            Goal(
                key=f"kahe-server-dropout-{round(100 * dropout)}",
                what=f"With {dropout:.0%} drop-outs, the server of kahe spends along the model at most 1.15 times what "
                "bare additions of the uploads and one decryption take.",
                unit=_TIMES,
                limit=1.15,
                measure=kahe_server,
                figure=figure_of(dropout),
            )
            for dropout in DROPOUTS
        ),
        Goal(
            key="kahe-key-phase",
            what="A dropped client costs the server of kahe at most 15 µs for each neighbour that stayed.",
            unit="µs a pair",
            limit=15,
            measure=kahe_key_phase,
            figure="us",
        ),
        Goal(
            key="masking-upload-packed",
            what="A packed upload of masking takes at most 1.05 times the bits that the sum of 1,000 updates needs, "
            "everything included.",
            unit="bits a parameter",
            limit=1.05 * _NOTED_BITS,
            measure=upload_bytes,
            figure="masking packed",
        ),
        Goal(
            key="kahe-upload-words",
            what="An upload of kahe in words takes at most 4.05 bytes a parameter with 1,000 clients, everything "
            "included.",
            unit="bytes a parameter",
            limit=4.05,
            measure=upload_bytes,
            figure="kahe words",
        ),
        Goal(
            key="kahe-upload-packed",
            what="A packed upload of kahe takes at most 3.7 bytes a parameter with 1,000 clients, everything included.",
            unit="bytes a parameter",
            limit=3.7,
            measure=upload_bytes,
            figure="kahe packed",
        ),
        *(
            Goal(
                key=f"ckks-{figure}-{limit:g}",
                what=f"NVFlare's set-up of CKKS takes a client at least {limit:g} times the {words} that ckks with a "
                "committee takes.",
                unit=_TIMES,
                limit=limit,
                at_least=True,
                measure=ckks_client,
                figure=figure,
                needs=_TENSEAL,
            )
            for figure, words, limit in (
                ("bytes", "bytes", 2.5),
                ("bytes", "bytes", 3.0),
                ("cpu", "CPU", 2.0),
                ("cpu", "CPU", 3.0),
            )
        ),
        Goal(
            key="server-memory",
            what="While messages arrive, a server holds no more than the accumulator, one message, and "
            f"{SMALL_BYTES} bytes for each client and neighbour.",
            unit=f"{_TIMES} what it may hold",
            limit=1,
            measure=server_memory,
            figure="receiving",
        ),
        Goal(
            key="server-memory-growth",
            what=f"A further client adds at most {SMALL_BYTES} bytes for each of its neighbours to the server's peak, "
            "whatever the model's length.",
            unit="bytes a client and neighbour",
            limit=SMALL_BYTES,
            measure=server_memory,
            figure="growth",
        ),
        *(
            Goal(
                key=f"{suite}-client-protocol",
                what=f"A client of {suite} spends at most 5 ms of CPU a round beside its vector, with 10 clients.",
                unit="ms",
                limit=5,
                measure=protocol_work,
                figure=suite,
            )
            for suite in ("masking", "kahe")
        ),
    ]
