"""What a run says of one round: a line of `metrics.jsonl`, which reports are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundMetrics:
    """One line of `metrics.jsonl`.

    Attributes:
        round: from 1.
        suite: how updates were summed.
        cohort: clients invited.
        contributors: clients in the sum; 0 if the round aborted.
        dropped: clients invited and not in the sum.
        vanished: contributors that fell silent after their upload, and were unmasked from shares.
        aborted: whether nothing was released.
        aborted_because: why; None if a sum was released.
        accuracy: held out, at the server, after the round.
        loss: likewise; None where it is not finite (JSON has no such numbers).
        local_accuracy: of the local models on their own data, through the secure sum; None if the round aborted.
        local_loss: likewise.
        epsilon: ε of all that was charged so far; None without differential privacy, or where it is infinite.
        epsilon_rdp: the second opinion.
        clip: C of the round; None without differential privacy.
        upload_bytes: from all clients.
        download_bytes: to all clients, protocol messages only.
        plain_upload_bytes: what `plain` would have uploaded: the same vectors, run through it.
        plain_seconds: what `plain` took for it.
        seconds: the whole round, training included.
        secure_seconds: the aggregation.
        client_seconds: protocol CPU of a client, on average.
        server_seconds: protocol CPU of the server.
        committee_seconds: protocol CPU of all members of the committee, a key ceremony included; 0.0 without one.
        committee_bytes: from and to all members, likewise.
        saturated_fraction: coordinates clipped, of all contributors' coordinates; None where that is not sent.
        suggested_clip: a clip under which few would have been, or None if few were.
        dropped_because: reasons for which clients of the cohort dropped out, each with their numbers, where there is
            more to say than that they were silent; with `fedbuff` also those lost before they joined a buffer.
        simulated_seconds: what the round took on the simulated fleet's clock; None without one.
        simulated_clock: that clock when the round was over.
        staleness: mean number of moves by which the updates of a buffer are behind; None outside `fedbuff`.
        staleness_most: the largest.
        learning_rate: of the clients, in this round.
        federated_accuracy: of the model, on what clients hold out, all examples together, through a secure sum of its
            own; None where it was not measured.
        federated_loss: likewise.
        worst_client_accuracy: what every client of it reaches, to the width of a band.
        client_accuracy_quantiles: quantile to what the others reach, likewise.
        client_accuracy_histogram: clients in each band of accuracy.
        mean_client_accuracy: mean of the clients' accuracies: every client weighs the same.
        std_client_accuracy: their standard deviation.
        evaluated_clients: clients in it.
        evaluation_bytes: from and to all clients, for it; 0 without one.
        evaluation_seconds: what it took.
        evaluation_failed: reasons for which clients are not in it, each with their numbers.
        evaluation_aborted_because: why it found nothing; None if it did, or was not due.
        coordinates: of an update that each client sent.
        float32_bytes: what the whole updates of those that were to upload would have weighed, four bytes a parameter.
        encoding_clip: magnitude at which the encoding cut coordinates; None where updates are clipped in norm.
        best_round: whose model is the best so far by `evaluation.select`; None before anything was measured.
    """

    round: int
    suite: str
    cohort: int
    contributors: int
    dropped: int
    vanished: int = 0
    aborted: bool
    aborted_because: str | None = None
    accuracy: float
    loss: float | None
    local_accuracy: float | None
    local_loss: float | None
    epsilon: float | None
    upload_bytes: int
    download_bytes: int
    plain_upload_bytes: int
    plain_seconds: float
    seconds: float
    secure_seconds: float
    client_seconds: float
    server_seconds: float
    committee_seconds: float = 0.0
    committee_bytes: int = 0
    saturated_fraction: float | None
    suggested_clip: float | None = None
    epsilon_rdp: float | None = None
    clip: float | None = None
    dropped_because: Mapping[str, Sequence[int]] = field(default_factory=dict)
    simulated_seconds: float | None = None
    simulated_clock: float | None = None
    staleness: float | None = None
    staleness_most: int | None = None
    learning_rate: float | None = None
    federated_accuracy: float | None = None
    federated_loss: float | None = None
    worst_client_accuracy: float | None = None
    client_accuracy_quantiles: Mapping[str, float] | None = None
    client_accuracy_histogram: Sequence[int] | None = None
    mean_client_accuracy: float | None = None
    std_client_accuracy: float | None = None
    evaluated_clients: int | None = None
    evaluation_bytes: int = 0
    evaluation_seconds: float = 0.0
    evaluation_failed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    evaluation_aborted_because: str | None = None
    coordinates: int | None = None
    float32_bytes: int = 0
    encoding_clip: float | None = None
    best_round: int | None = None
