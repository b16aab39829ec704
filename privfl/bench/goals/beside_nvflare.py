"""`ckks` with a committee beside CKKS as NVFlare sets it up, where all clients hold one key."""

from __future__ import annotations

from collections.abc import Mapping

from privfl.bench.goals.goal import Reading
from privfl.bench.peers.tenseal_ckks import NVFLARE
from privfl.bench.sessions import BOUND, codec_of, inputs, make, plan_with_committee
from privfl.bench.turns import Spread, take_turns
from privfl.wire import client

CLIENTS = 10


def ckks_client(*, quick: bool) -> Mapping[str, Reading]:
    """Time clients from their update to their upload, in turn with NVFlare's, and compare the uploads.

    Raises:
        MissingExtra: TenSEAL is not installed.
    """
    parameters, rounds = (20_000, 3) if quick else (1_000_000, CLIENTS)
    values = inputs(parameters) / BOUND
    codec, key = codec_of(values), NVFLARE.keys()
    params, committee = plan_with_committee(CLIENTS, codec.length)
    server, sessions = make(params, committee)
    requests = iter([(sessions[number], server.request_for(client(number))) for number in params.cohort])
    sent: dict[str, bytes] = {}

    def ours() -> None:
        session, request = next(requests)
        session.submit(codec.encode({"update": values}, weight=1.0).vector)
        sent["ours"] = session.respond(request)

    def theirs() -> None:
        sent["theirs"] = key.client(values)

    theirs()
    taken = take_turns({"ours": ours, "theirs": theirs, "opening": lambda: key.decrypt(sent["theirs"])}, rounds)
    whole = [upload + opening for upload, opening in zip(taken["theirs"], taken["opening"], strict=True)]
    spent = {name: 1e9 * Spread.of(times).median / parameters for name, times in taken.items()}
    ratio = len(sent["theirs"]) / len(sent["ours"])
    return {
        "bytes": Reading(
            spread=Spread.of([ratio]),
            detail=f"a client's upload of {parameters:,} parameters of 16 bits, a parameter: "
            f"{len(sent['ours']) / parameters:.2f} bytes under ckks, {len(sent['theirs']) / parameters:.2f} under "
            "NVFlare's parameters; what the committee sends and is sent is not in it, and does not depend on how many "
            "clients there are.",
        ),
        "cpu": Reading(
            spread=Spread.of_ratios(taken["theirs"], taken["ours"]),
            detail=f"from the update to the upload, {parameters:,} parameters, {rounds} rounds: {spent['ours']:.0f} ns "
            f"a parameter under ckks, {spent['theirs']:.0f} under NVFlare's parameters and the secret key; with the "
            f"decryption of the sum, which clients of NVFlare make beside, "
            f"{Spread.of_ratios(whole, taken['ours']).median:.1f} times as much.",
        ),
    }
