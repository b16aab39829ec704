"""Sessions in which everybody keeps to the protocol, whoever drops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from known_answers.recording import Recording, seeded
from privfl import Phase, ServerModel
from privfl.params import WireForm


def drops(
    silent: dict[Phase, set[int]], text: str, *, return_after: bool = False, **agreement: Any
) -> Callable[[str], dict[str, Any]]:
    """A scenario: those clients answer nothing from that phase on, or in it alone, everybody else everything.

    A context that is to come does so at the last moment.
    """

    def play(name: str) -> dict[str, Any]:
        recording, gone = Recording(name, text, **agreement), set[int]()
        while recording.cast.server.phase is not Phase.FINISHED:
            gone = silent.get(recording.cast.server.phase, set()) | (set() if return_after else gone)
            if agreement.get("late") and recording.cast.server.phase is Phase.MASKED_INPUT:
                recording.bind(seeded(name, "context"))
            recording.step(silent=gone)
        return recording.finish()

    return play


ACTIVE = ServerModel.ACTIVE
KAHE: dict[str, Any] = {"suite_name": "kahe", "length": 3}

SCENARIOS: dict[str, Callable[[str], dict[str, Any]]] = {
    "plain": drops(
        {Phase.UPLOAD: {12}}, "plain: four clients, of whom one is silent; vectors in clear", suite_name="plain"
    ),
    "masking": drops({}, "masking, honest-but-curious server: complete graph of four, nobody drops"),
    "masking_packed": drops(
        {Phase.MASKED_INPUT: {12}},
        "masking: vectors packed into 13 bits a coordinate; one client drops before MaskedInput",
        wire=WireForm.PACKED,
    ),
    "masking_wide": drops(
        {Phase.MASKED_INPUT: {12}},
        "masking: a bound that takes a ring of 64 bits; one client drops before MaskedInput",
        bound=2**31 - 1,
    ),
    "masking_packed_wide": drops(
        {},
        "masking: a bound whose sums would fill 34 bits, and so take 35, packed from words of 64",
        bound=2**31 - 1,
        wire=WireForm.PACKED,
    ),
    "masking_dropped_advertise_keys": drops(
        {Phase.ADVERTISE_KEYS: {12}}, "masking: one client of five never advertises keys: it is absent", n=5
    ),
    "masking_dropped_share_keys": drops(
        {Phase.SHARE_KEYS: {12}},
        "masking: one client of five advertises keys and shares none: nobody masks with it",
        n=5,
    ),
    "masking_dropped_masked_input": drops(
        {Phase.MASKED_INPUT: {12}},
        "masking: one client of five drops after ShareKeys: its neighbours tell the seeds that they share with it",
        n=5,
    ),
    "masking_dropped_unmask": drops(
        {Phase.UNMASK: {12}},
        "masking: one client of five drops after its upload: its vector counts, its self mask is rebuilt from shares",
        n=5,
    ),
    "masking_dropped_in_every_phase": drops(
        {Phase.ADVERTISE_KEYS: {10}, Phase.SHARE_KEYS: {11}, Phase.MASKED_INPUT: {12}, Phase.UNMASK: {13}},
        "masking: one of seven drops in each phase; the mask between 12 and 13 is derived from 12's rebuilt mask key",
        n=7,
    ),
    "masking_late_context": drops(
        {Phase.MASKED_INPUT: {12}, Phase.UNMASK: {13}},
        "masking: the context comes when vectors are due; one client of seven drops then, another before Unmask",
        n=7,
        late=True,
    ),
    "active": drops(
        {}, "masking, active server: four clients sign keys and, all of them witnesses, both sets", server=ACTIVE
    ),
    "active_dropped_advertise_keys": drops(
        {Phase.ADVERTISE_KEYS: {12}},
        "masking, active server: one client of five never advertises keys: an absent leaf stands in its place",
        n=5,
        server=ACTIVE,
    ),
    "active_dropped_masked_input": drops(
        {Phase.MASKED_INPUT: {12}},
        "masking, active server: one witness of five drops after ShareKeys: the four others are the quorum",
        n=5,
        server=ACTIVE,
    ),
    "active_dropped_consistency_check": drops(
        {Phase.CONSISTENCY_CHECK: {12}},
        "masking, active server: one witness of five vanishes after its upload, before it signs: its vector counts",
        n=5,
        server=ACTIVE,
    ),
    "active_dropped_unmask": drops(
        {Phase.UNMASK: {12}},
        "masking, active server: one witness of five vanishes after it signed: its signature and its vector count",
        n=5,
        server=ACTIVE,
    ),
    "active_dropped_in_every_phase": drops(
        {
            Phase.ADVERTISE_KEYS: {10},
            Phase.SHARE_KEYS: {11},
            Phase.MASKED_INPUT: {12},
            Phase.CONSISTENCY_CHECK: {13},
            Phase.UNMASK: {14},
        },
        "masking, active server: one of eleven drops in each phase; seven witnesses are left to sign: just the quorum",
        n=11,
        server=ACTIVE,
    ),
    "active_silent_in_consistency_check": drops(
        {Phase.CONSISTENCY_CHECK: {10}},
        "masking, active server: one witness of five signs nothing, and unmasks what the four others signed",
        return_after=True,
        n=5,
        server=ACTIVE,
    ),
    "kahe": drops({}, "kahe, honest-but-curious server: four clients of three coordinates each", **KAHE),
    "kahe_two_polynomials": drops(
        {Phase.MASKED_INPUT: {12}},
        "kahe: vectors that end within the second polynomial; one client drops before MaskedInput",
        **KAHE | {"length": 2500},
    ),
    "kahe_packed_dropped_in_every_phase": drops(
        {Phase.ADVERTISE_KEYS: {10}, Phase.SHARE_KEYS: {11}, Phase.MASKED_INPUT: {12}, Phase.UNMASK: {13}},
        "kahe: 2,500 coordinates packed into 23 bits each; one of seven clients drops in each phase",
        n=7,
        wire=WireForm.PACKED,
        **KAHE | {"length": 2500},
    ),
    "kahe_rounded": drops(
        {},
        "kahe: a bound that leaves room for Δ = 2^6 only: some coordinates of the sum are off by one",
        n=5,
        minimum=5,
        **KAHE | {"length": 300, "bound": 6_000_000},
    ),
    "kahe_active": drops({}, "kahe, active server: four clients of three coordinates each", server=ACTIVE, **KAHE),
    "kahe_active_late_context": drops(
        {Phase.MASKED_INPUT: {12}},
        "kahe, active server: the context comes when vectors are due; one witness of five drops then",
        n=5,
        server=ACTIVE,
        late=True,
        **KAHE,
    ),
    "kahe_active_packed_dropped_masked_input": drops(
        {Phase.MASKED_INPUT: {12}},
        "kahe, active server: 2,500 coordinates, packed; one witness of five drops after ShareKeys",
        n=5,
        server=ACTIVE,
        wire=WireForm.PACKED,
        **KAHE | {"length": 2500},
    ),
}


def scripts() -> dict[str, dict[str, Any]]:
    """All scripts of honest sessions."""
    return {name: play(name) for name, play in SCENARIOS.items()}
