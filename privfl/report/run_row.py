"""One round of a run, as its report takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """One round.

    Attributes:
        round: its number, from 1.
        suite: the suite it ran under.
        cohort: clients asked.
        contributors: clients whose update is in the sum.
        dropped: clients that fell out.
        vanished: contributors that fell silent after their upload.
        aborted: whether nothing was released; accuracy and loss are then those of the round before.
        accuracy: on held-out examples at the server, after the round, 0 to 1.
        loss: likewise; may be NaN.
        local_accuracy: the clients' own, averaged through the secure sum; None where not collected.
        local_loss: likewise.
        upload_bytes: all clients together.
        download_bytes: all clients together.
        plain_upload_bytes: the same vectors through `plain`, measured in the same run; 0 where not measured.
        plain_seconds: likewise.
        seconds: the whole round, training included.
        secure_seconds: aggregation alone, all clients and the server.
        client_seconds: CPU of one client in the aggregation, mean.
        server_seconds: CPU of the server in the aggregation.
        saturated_fraction: share of coordinates that were clipped, 0 to 1; None where not collected.
        epsilon: privacy spent up to and including this round; None without differential privacy, or where it is
            infinite.
        epsilon_rdp: the second opinion on it; likewise.
        clip: norm to which updates or gradients were clipped; None without differential privacy.
        committee_seconds: CPU of all members of the committee, ceremonies of its key included.
        committee_bytes: from and to all members, likewise.
        dropped_because: reasons for which clients fell out or silent, each with their numbers.
        simulated_seconds: what the round took on the fleet's clock; None where there is none.
        simulated_clock: that clock when the round was over; likewise.
        staleness: mean number of server steps that the updates of a buffer are behind; None without buffers.
        staleness_most: the largest.
        learning_rate: of the clients; None where it is not known.
        federated_accuracy: on what clients hold out, all examples together; None where clients evaluated nothing.
        federated_loss: likewise; None as well where it is not finite.
        worst_client_accuracy: what every client reaches at least: the lower edge of a band.
        client_accuracy_quantiles: quantile, as text, to what the clients above it reach at least.
        client_accuracy_histogram: clients in each band of accuracy; the bands are equally wide, from 0 to 1.
        mean_client_accuracy: every client weighs the same.
        std_client_accuracy: standard deviation of the clients' accuracies.
        evaluated_clients: clients in it.
        evaluation_bytes: from and to all clients, for it.
        evaluation_seconds: what it took.
        evaluation_failed: reasons for which clients are not in it, each with their numbers.
        evaluation_aborted_because: why it found nothing; None if it did, or was not due.
    """

    round: int
    suite: str
    cohort: int
    contributors: int
    dropped: int
    vanished: int = 0
    aborted: bool
    accuracy: float
    loss: float
    local_accuracy: float | None
    local_loss: float | None
    upload_bytes: int
    download_bytes: int
    plain_upload_bytes: int
    plain_seconds: float
    seconds: float
    secure_seconds: float
    client_seconds: float
    server_seconds: float
    saturated_fraction: float | None
    epsilon: float | None
    epsilon_rdp: float | None = None
    clip: float | None = None
    committee_seconds: float = 0.0
    committee_bytes: int = 0
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
