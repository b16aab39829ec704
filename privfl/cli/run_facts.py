"""What a run was: its promise, its strategy and the parameters of its sessions, in words for its report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from privfl import __version__
from privfl.compression.compressor import Keep
from privfl.kahe.ring import N
from privfl.learning.compression_job import CompressionJob
from privfl.learning.encoding_job import EncodingJob, Rounding
from privfl.learning.evaluation_job import Measure
from privfl.learning.int8 import Int8Evaluation
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.rounds import BEST, FederatedRun
from privfl.learning.schedule_job import ScheduleKind
from privfl.learning.strategy_job import Optimiser, ScheduleJob, StrategyJob
from privfl.masking import planner
from privfl.params import CkksSetting, KaheSetting, ServerModel, SessionParams
from privfl.report.formats import format_bytes, format_number, format_percent
from privfl.suites import suite


def promise(run: FederatedRun) -> str:
    """What the suite promises against its server, and on what that rests."""
    setting = run.params.masking
    noise = ", noise included," if run.job.privacy.mode is PrivacyMode.CLIENT_DISTRIBUTED else ""
    if isinstance(run.params.setting, CkksSetting):
        shape = run.params.setting.epoch.committee
        return (
            f"If everyone follows the protocol, the server learns the sum of the updates, a little noise over it, and "
            f"nothing else. To open one client's update it would need {shape.threshold} of the {shape.members} members "
            f"of the committee. This rests on the hardness of ring learning with errors as well."
        )
    if setting is None:
        return suite(run.job.suite).security_note
    degree, threshold = setting.degree, setting.threshold
    lattice = " This rests on the hardness of ring learning with errors as well." if run.job.suite == "kahe" else ""
    if run.params.threat.server is ServerModel.ACTIVE:
        quorum = planner.quorum(len(run.params.cohort), run.params.threat)
        return (
            f"Even a server that lies learns the sum of the updates{noise} and nothing else. To open one client's "
            f"update it would need the help of {threshold} of that client's {degree} neighbours, or of "
            f"{2 * quorum.signatures - quorum.witnesses} of the {quorum.witnesses} witnesses.{lattice}"
        )
    return (
        f"A server that follows the protocol learns the sum of the updates{noise} and nothing else. To open one "
        f"client's update it would need the help of {threshold} of that client's {degree} neighbours.{lattice}"
    )


def _minimum(params: SessionParams) -> str:
    """Fewest contributors as agreed, and as many as it takes to open their masks where that is more."""
    agreed, masking = params.minimum_contributors, params.masking
    if masking is None or masking.degree < len(params.cohort) - 1 or masking.threshold < agreed:
        return str(agreed)
    return f"{agreed}; {masking.threshold + 1} to open their masks"


def run_facts(run: FederatedRun) -> tuple[tuple[str, str], ...]:
    """Names and values: strategy, session, versions."""
    params = run.params
    threat = params.threat
    facts = [
        *_strategy_facts(run.job.strategy, run.job.data.clients),
        *_best_facts(run),
        *([] if (int8 := run.evaluate_int8()) is None else [("as 8-bit integers", int8_words(int8))]),
        ("server", threat.server.value),
        ("may collude with it", f"{threat.corrupt:g} of the clients"),
        ("may drop out", f"{threat.dropout:g} of the clients"),
        ("minimum contributors", _minimum(params)),
    ]
    steps = "quantisation steps"
    if run.guarantee is not None and run.guarantee.integers is not None:
        steps = "whole numbers"
    else:
        facts.append(("quantisation", quantisation_words(run.job.encoding)))
    if run.job.compression.compresses:
        facts.append(("compression", compression_words(run.job.compression)))
    if not isinstance(params.setting, CkksSetting):
        facts.append(("ring", f"{params.ring.bits} bits{', packed' if params.ring.packed else ''}"))
    if params.masking is not None:
        facts += [
            ("neighbours of a client", str(params.masking.degree)),
            ("threshold", str(params.masking.threshold)),
        ]
    if isinstance(params.setting, KaheSetting):
        clients = len(params.cohort)
        std = suite(run.job.suite).error_std(params.setting, clients)
        facts += [
            ("one-time keys", f"{N:,} coefficients, ciphertexts modulo 2^{params.setting.modulus_bits}"),
            ("error of a sum", f"{std:.3g} {steps} (standard deviation)" if std else "none: exact"),
        ]
    if isinstance(params.setting, CkksSetting):
        epoch, std = params.setting.epoch, suite(run.job.suite).error_std(params.setting, len(params.cohort))
        facts += [
            ("committee", f"{epoch.committee.threshold} of {epoch.committee.members} members open a sum"),
            ("ciphertexts", f"N = {epoch.degree:,}, two primes of {epoch.modulus_bits} bits"),
            ("openings under one key", f"{epoch.committee.openings} by each member, then the committee makes another"),
            (
                "what opened sums tell of the key",
                f"{epoch.statistical_bits} bits (a distance of 2^−{epoch.statistical_bits // 2 + 3})",
            ),
            ("error of a sum", f"{std:.3g} {steps} (standard deviation)" if std else "none: exact"),
        ]
    facts += [("privfl", __version__), ("Python", platform.python_version())]
    for package in ("numpy", "cryptography", "torch", "tenseal", "dp-accounting", "opacus"):
        try:
            facts.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return tuple(facts)


def quantisation_words(encoding: EncodingJob) -> str:
    """How coordinates become whole numbers.

    >>> quantisation_words(EncodingJob(bits=8, clip=0.5, rounding=Rounding.STOCHASTIC))
    '8 bits over ±0.5, rounded by chance'
    """
    follows = ", which follows the updates" if encoding.adaptive else ""
    chance = ", rounded by chance" if encoding.rounding is Rounding.STOCHASTIC else ""
    return f"{encoding.bits} bits over ±{encoding.clip:g}{follows}{chance}"


def int8_words(int8: Int8Evaluation) -> str:
    """How a model does with weights of 8-bit integers, and what it weighs."""
    small, whole = format_bytes(int8.size_bytes), format_bytes(int8.float32_bytes)
    return f"held-out accuracy {int8.evaluation.accuracy:.4f}, {small} instead of {whole}"


def compression_words(compression: CompressionJob) -> str:
    """What of an update travels.

    >>> compression_words(CompressionJob(keep=Keep.RANDOM, fraction=0.2, feedback=1.0))
    'a random 20 % of the coordinates, the rest kept for later'
    """
    words = {
        Keep.ALL: "all coordinates",
        Keep.RANDOM: f"a random {compression.fraction * 100:g} % of the coordinates",
        Keep.MAGNITUDE: f"{compression.fraction * 100:g} % of the coordinates, where the model is largest",
    }[compression.keep]
    if compression.feedback:
        share = "" if compression.feedback == 1 else f"{compression.feedback * 100:g} % of "
        words += f", {share}the rest kept for later"
    return words + (", rotated" if compression.rotate else "")


def strategy_words(strategy: StrategyJob, clients: int) -> str:
    """A strategy by its name, and by what sets it apart, among so many clients.

    >>> strategy_words(StrategyJob(name="fedprox"), 10)
    'fedprox, μ = 0.01'
    """
    words = [strategy.kind.value]
    proximal = strategy.local_training().proximal
    if proximal:
        words.append(f"μ = {proximal:g}")
    buffering = strategy.buffering()
    if buffering is not None:
        words += [
            f"buffers of {buffering.buffer}",
            f"up to {min(buffering.concurrency, clients)} clients at work",
            f"updates τ steps behind weigh (1 + τ)^−{buffering.staleness_exponent:g}",
        ]
        if buffering.max_staleness is not None:
            words.append(f"none of more than {buffering.max_staleness} steps")
    return ", ".join(words)


def schedule_words(schedule: ScheduleJob) -> str:
    """How the learning rate changes.

    >>> schedule_words(ScheduleJob(kind=ScheduleKind.COSINE, warmup=2))
    '2 rounds of warm-up, then cosine down to 0'
    """
    warmup = f"{schedule.warmup} round{'s'[: schedule.warmup != 1]} of warm-up, then " if schedule.warmup else ""
    match schedule.kind:
        case ScheduleKind.STEP:
            often = "round" if schedule.every == 1 else f"{schedule.every} rounds"
            return f"{warmup}step: times {schedule.factor:g} every {often}"
        case ScheduleKind.EXPONENTIAL:
            return f"{warmup}exponential: times {schedule.factor:g} every round"
        case ScheduleKind.COSINE:
            least = f"{schedule.minimum:g} of it" if schedule.minimum else "0"
            return f"{warmup}cosine down to {least}"
        case ScheduleKind.CONSTANT:
            return f"{warmup}constant"


def _strategy_facts(strategy: StrategyJob, clients: int) -> tuple[tuple[str, str], ...]:
    """The strategy; the server's optimiser and the schedule where they are not the plain ones."""
    facts = [("strategy", strategy_words(strategy, clients))]
    step, schedule = strategy.server_step(), strategy.schedule
    if step.optimiser is not Optimiser.SGD or step.learning_rate != 1:
        numbers = {
            "η": step.learning_rate,
            "β₁": step.momentum,
            "β₂": step.second_momentum,
            "τ": step.adaptivity,
        }
        told = ", ".join(f"{name} = {value:g}" for name, value in numbers.items() if value)
        facts.append(("server optimiser", f"{step.optimiser.value}, {told}"))
    if schedule.kind is not ScheduleKind.CONSTANT or schedule.warmup:
        facts.append(("schedule of the learning rate", schedule_words(schedule)))
    return tuple(facts)


def best_words(run: FederatedRun) -> tuple[str, str] | None:
    """What models are compared by, and what the best reached; None before anything was measured."""
    if run.best.best_round is None or run.best.best_value is None:
        return None
    measure, value = run.job.evaluation.select, run.best.best_value
    return _MEASURES[measure], format_number(value, 4) if measure.lower_is_better else format_percent(value, 2)


def _best_facts(run: FederatedRun) -> tuple[tuple[str, str], ...]:
    words = best_words(run)
    if words is None:
        return ()
    measure, value = words
    return (("best model", f"{BEST}: round {run.best.best_round}, by {measure}: {value}"),)


_MEASURES: Final = {
    Measure.ACCURACY: "held-out accuracy",
    Measure.LOSS: "held-out loss",
    Measure.FEDERATED_ACCURACY: "accuracy at the clients",
    Measure.FEDERATED_LOSS: "loss at the clients",
    Measure.WORST_CLIENT_ACCURACY: "what every client reaches",
}
