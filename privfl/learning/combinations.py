"""Keys of a job that are each right by themselves, and do not go together: said before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from privfl.compression.compressor import Keep
from privfl.dp.clip import Clipping
from privfl.encoding.counts import CountCode
from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.update import largest_error
from privfl.errors import ConfigurationError
from privfl.learning.cohort_job import Sampling
from privfl.learning.encoding_job import Rounding
from privfl.learning.feasibility import keys_of_absence
from privfl.learning.fleet_job import FleetJob, Work
from privfl.learning.privacy_job import PrivacyMode
from privfl.suites import suite

if TYPE_CHECKING:
    from privfl.learning.job import Job

_MOST_TRIED: Final = 50


def refuse_what_does_not_fit(job: Job) -> None:
    """Check the keys of a job against each other.

    Raises:
        ConfigurationError: two of them do not go together; names both, and what works.
    """
    if job.fleet is not None:
        job.fleet.check_population(job.data.clients)
    job.strategy.schedule.check_rounds(job.rounds)
    for why in chain(
        _of_buffers(job),
        _of_cohorts(job),
        _of_over_selection(job),
        _of_evaluation(job),
        _of_privacy(job),
        _of_compression(job),
    ):
        raise ConfigurationError(why)


def _of_buffers(job: Job) -> Iterator[str]:
    buffering, clients = job.strategy.buffering(), job.data.clients
    if buffering is None:
        return
    if job.privacy.amplification:
        yield (
            "privacy.amplification is true with strategy.name 'fedbuff', whose buffers are filled by who has trained "
            "and not by a secret draw: leave it out, or take strategy.name = 'fedavg' with cohort.sampling = 'poisson' "
            "and a cohort.probability, such as 0.5"
        )
    unused = [f"cohort.{one.name}" for one in fields(job.cohort) if getattr(job.cohort, one.name) != one.default]
    unused = [key for key in unused if key != "cohort.minimum"]
    if unused:
        yield (
            f"{' and '.join(unused)} {'is' if len(unused) == 1 else 'are'} set with strategy.name 'fedbuff', whose "
            f"clients come when they have trained, so that nobody invites a cohort, or waits for one: leave "
            f"{'it' if len(unused) == 1 else 'them'} out, and give strategy.buffer and strategy.concurrency"
        )
    if _too_few_at_all(job):
        return
    buffer, concurrency = buffering.buffer, job.strategy.concurrency or 0
    if buffer > clients:
        works = _nearest(job, clients) or clients
        yield f"strategy.buffer is {buffer}, and data.clients is {clients}, each once in a buffer: {works} works"
    if concurrency > clients:
        yield f"strategy.concurrency is {concurrency}: up to {clients} works, because data.clients is {clients}"
    fewest, other = job.fewest_contributors(buffer), _nearest(job, buffer)
    if buffer < fewest:
        yield (
            f"strategy.buffer is {buffer}, and no sum is opened over fewer than {fewest} contributors (cohort.minimum, "
            f"threat): {other or fewest} works"
        )
    if other not in {buffer, None}:  # where nothing is near, the job itself says why
        yield (
            f"strategy.buffer is {buffer}, for which suite {job.suite!r} has no setting under this threat model: "
            f"{other} works"
        )


def _of_cohorts(job: Job) -> Iterator[str]:
    cohort = job.cohort
    if cohort.sampling is Sampling.LOSS and job.privacy.adds_noise:
        yield (
            f"cohort.sampling is 'loss' in privacy.mode {job.privacy.mode.value!r}: what clients do because of their "
            f"losses tells of their examples, and no noise covers it; 'uniform' or 'available' works"
        )
    if cohort.sampling is Sampling.LOSS and not job.evaluation.federated:
        yield (
            "cohort.sampling is 'loss' without the mean loss that clients compare their own with: take "
            "evaluation.federated = true"
        )
    if cohort.sampling is Sampling.SPEED and _equally_fast(job.timed or FleetJob(), job.data.clients):
        yield (
            "cohort.sampling is 'speed' where all clients are equally fast, so that nobody is preferred: "
            "fleet.speed_spread = 0.5 works, or cohort.sampling = 'available'"
        )


def _of_over_selection(job: Job) -> Iterator[str]:
    goal, invited, chosen, threat = job.goal, job.cohort_size, suite(job.suite), job.threat
    if goal is None or _too_few_at_all(job):
        return
    said = f"cohort.over_selection is {job.cohort.over_selection:g}"
    lost, fails, fewest = 1 - goal / invited, job.failures.rate, job.fewest_contributors(invited)
    bears = threat.dropout + 1e-9 if chosen.protects and not chosen.has_committee else math.inf
    if goal >= fewest and lost + fails <= bears:
        return
    works = _smaller_share(job, bears - fails)
    less = "leave it out" if works is None else f"cohort.over_selection = {works:g} works"
    if goal < fewest:
        yield (
            f"{said}: a round goes on when {goal} of {invited} clients have uploaded, and a sum takes {fewest}; {less}"
        )
    dropout = math.ceil(100 * (lost + fails) - 1e-8) / 100
    failing = f" beside failures.rate {fails:g}" if fails else ""
    more = f"threat.dropout = {dropout:g} works, or " if _withstands(job, dropout) else ""
    yield (
        f"{said}, which gives up {lost:.3g} of those invited{failing}, where threat.dropout is {threat.dropout:g}: "
        f"{more}{less}"
    )


def _of_evaluation(job: Job) -> Iterator[str]:
    evaluation = job.evaluation
    if not evaluation.federated:
        return
    if job.privacy.adds_noise:
        yield (
            f"evaluation.federated is true in privacy.mode {job.privacy.mode.value!r}: what clients find would be a "
            f"release of its own, that no noise covers and no budget pays for; leave it out: the server's held-out "
            f"examples judge the model"
        )
    size, clients, as_many = job.evaluators, job.data.clients, job.cohort_size
    if _too_few_at_all(job):
        return
    if size > clients:
        yield f"evaluation.size is {size}, and data.clients is {clients}: {_nearest(job, clients) or as_many} works"
    fewest, other = job.fewest_contributors(size), _nearest(job, size) or as_many
    if size < fewest:
        yield (
            f"evaluation.size is {size}, and no sum is opened over fewer than {fewest} contributors (cohort.minimum, "
            f"threat): {other} works"
        )
    if size not in {other, as_many} and _has_a_setting(job, as_many):  # else the job itself says why
        given = f"evaluation.size is {'' if evaluation.size else 'all '}{size} clients"
        yield (
            f"{given}, for whom suite {job.suite!r} has no setting under this threat model: evaluation.size = {other} "
            f"works"
        )


def _of_privacy(job: Job) -> Iterator[str]:
    privacy, fleet = job.privacy, job.timed
    if privacy.amplification and fleet is not None and (fleet.loses_clients or job.cohort.deadline_s is not None):
        key = "cohort.deadline_s"
        if job.cohort.deadline_s is None:
            key = keys_of_absence(fleet) or "fleet.battery_examples"
        yield (
            f"privacy.amplification is true with {key}, which keeps some clients out more than others: a cohort is "
            f"secret where all join alike; leave out one or the other"
        )
    if privacy.mode is not PrivacyMode.EXAMPLE:
        return
    if job.strategy.local_training().proximal:
        yield (
            "strategy.proximal is set in privacy.mode 'example', whose steps are clipped gradients and noise alone, "
            "which an audit can check: leave it out, and take strategy.name = 'fedavg' where it is 'fedprox'"
        )
    if fleet is not None and fleet.work is not Work.WHOLE:
        yield (
            f"fleet.work is {fleet.work.value!r} in privacy.mode 'example', whose noise is made for the same batches "
            f"and steps everywhere: 'whole' works"
        )


def _of_compression(job: Job) -> Iterator[str]:
    compression, encoding, privacy = job.compression, job.encoding, job.privacy
    if compression.keep is Keep.MAGNITUDE and job.strategy.buffering() is not None:
        yield (
            "compression.keep is 'magnitude' with strategy.name 'fedbuff', whose clients have different models and "
            "would leave out different coordinates: 'random' works"
        )
    if privacy.adds_noise and encoding.adaptive:
        yield (
            f"encoding.adaptive is true in privacy.mode {privacy.mode.value!r}, where a clip may follow from noised "
            f"sums alone: leave it out"
            + ("; privacy.adaptive makes privacy.clip follow the updates" if privacy.of_clients else "")
        )
    if not privacy.of_clients:
        return
    if encoding.rounding is not Rounding.NEAREST:
        yield (
            f"encoding.rounding is {encoding.rounding.value!r} in privacy.mode {privacy.mode.value!r}, which rounds by "
            f"chance in any case, within a bound that its noise is made for: leave it out"
        )
    if compression.rotate:
        yield (
            f"compression.rotate is true in privacy.mode {privacy.mode.value!r}, which rotates in any case: leave it "
            f"out"
        )
    if compression.keep is not Keep.ALL and privacy.clipping is Clipping.PER_LAYER:
        yield (
            f"privacy.clipping is 'per-layer' with compression.keep {compression.keep.value!r}, of whose coordinates "
            f"it is not told which layer they are of: 'flat' works"
        )
    if compression.feedback and privacy.amplification:
        yield (
            "compression.feedback is set with privacy.amplification, which takes clients that remember nothing of "
            "earlier rounds: leave out one or the other"
        )


def _too_few_at_all(job: Job) -> bool:
    """Whether no session can be held among all clients, which the job says by itself."""
    return job.data.clients < max(job.least_cohort, job.cohort.minimum or 0)


def _nearest(job: Job, size: int) -> int | None:
    """Return the size of a session, nearest to this one, that suits suite, threat model and minimum, if one is near."""
    clients = job.data.clients
    around = chain.from_iterable((size + step, size - step) for step in range(clients))
    possible = (one for one in around if 1 <= one <= clients and one >= job.fewest_contributors(one))
    return next((one for one in islice(possible, _MOST_TRIED) if _has_a_setting(job, one)), None)


def _smaller_share(job: Job, bears: float) -> float | None:
    """Return the largest over-selection below the job's, in hundredths, that gives up no more than is borne."""
    goal = job.goal or 0
    for hundredths in range(math.ceil(100 * job.cohort.over_selection) - 1, 0, -1):
        invited = replace(job.cohort, over_selection=hundredths / 100).invited or goal
        if 1 - goal / invited <= bears and job.fewest_contributors(invited) <= goal and _has_a_setting(job, invited):
            return hundredths / 100
    return None


def _equally_fast(fleet: FleetJob, clients: int) -> bool:
    slow, apart = round(fleet.slow_fraction * clients), sum(len(entry.clients) for entry in fleet.client)
    slowdowns = {entry.slowdown for entry in fleet.client} | ({1.0} if apart < clients else set())
    drawn_alike = not fleet.speed_spread and (fleet.slow_factor == 1 or slow in {0, clients})
    return drawn_alike and len(slowdowns) == 1


def _has_a_setting(job: Job, clients: int) -> bool:
    """Whether sessions of so many clients can be held, and tell counts."""
    try:
        error = largest_error(suite(job.suite).error_std(job.setting(clients=clients), clients))
        CountCode(1, FixedPoint(clip=1.0, bits=job.encoding.bits).bound, "examples", error)
    except ConfigurationError:
        return False
    return True


def _withstands(job: Job, dropout: float) -> bool:
    """Whether the job works with another `threat.dropout`."""
    try:
        replace(job, threat=replace(job.threat, dropout=dropout))
    except ConfigurationError:
        return False
    return True
