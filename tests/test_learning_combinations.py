"""Keys that do not go together: each refusal is one sentence that names them, and what it says works does work."""

import json
import subprocess
import sys
from types import MappingProxyType

import pytest

from privfl import ConfigurationError
from privfl.learning.feasibility import require_in_time, require_reachable
from privfl.learning.fleet import Fleet
from privfl.learning.job import job_from_table

FEDBUFF = {"strategy.name": "fedbuff"}
CENTRAL = {"privacy.mode": "client-central", "privacy.clip": 1.0, "privacy.epsilon": 4.0}
EXAMPLE = {"privacy.mode": "example", "privacy.clip": 1.0, "privacy.epsilon": 4.0}
SECRET = CENTRAL | {"privacy.amplification": True, "cohort.sampling": "poisson", "cohort.probability": 0.5}
FEDERATED = {"evaluation.federated": True}
BY_LOSS = {"cohort.sampling": "loss", "cohort.size": 5}
OVER = {"suite": "masking", "data.clients": 100, "cohort.size": 40, "cohort.over_selection": 0.5}
SPEED = {"cohort.sampling": "speed", "cohort.size": 5}
RISKY = {"threat.corrupt": 0.3, "threat.dropout": 0.4}  # which three to five clients do not withstand
HOSTILE = {"threat.server": "active", "threat.corrupt": 0.1, "threat.dropout": 0.4}  # nor 120
OUT = None
"""In a remedy: leave the key out."""


def job_of(keys):
    table = {}
    for key, value in keys.items():
        if value is OUT:
            continue
        *path, last = key.split(".")
        inner = table
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return job_from_table(table)


def refused(keys):
    with pytest.raises(ConfigurationError) as caught:
        job_of(keys)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def names(sentence, key, value):
    if value is OUT:
        return key in sentence and any(word in sentence for word in ("leav", "without"))
    written = json.dumps(value) if isinstance(value, bool) else repr(value)
    return key in sentence and (written in sentence or str(value) in sentence)


REFUSALS = {
    # What it says, the keys, remedies that it names, and what comes nearest to them and is refused as well.
    "fedbuff, and a secret draw": (
        "privacy.amplification is true with strategy.name 'fedbuff', whose buffers are filled by who has trained",
        FEDBUFF | CENTRAL | {"privacy.amplification": True},
        (
            {"privacy.amplification": OUT},
            {"strategy.name": "fedavg", "cohort.sampling": "poisson", "cohort.probability": 0.5},
        ),
        (),
    ),
    "fedbuff, and a secret draw as asked for": (
        "privacy.amplification is true with strategy.name 'fedbuff'",
        FEDBUFF | SECRET,
        ({"strategy.name": "fedavg"},),
        (),
    ),
    "fedbuff, and a cohort": (
        "cohort.size is set with strategy.name 'fedbuff'",
        FEDBUFF | {"cohort.size": 5},
        ({"cohort.size": OUT},),
        (),
    ),
    "fedbuff, and more than a cohort": (
        "cohort.size and cohort.over_selection are set with strategy.name 'fedbuff'",
        FEDBUFF | {"cohort.size": 5, "cohort.over_selection": 0.2, "cohort.minimum": 4},
        ({"cohort.size": OUT, "cohort.over_selection": OUT},),
        (),
    ),
    "fedbuff, and a deadline": (
        "cohort.deadline_s is set with strategy.name 'fedbuff'",
        FEDBUFF | {"cohort.deadline_s": 60.0},
        ({"cohort.deadline_s": OUT},),
        (),
    ),
    "fedbuff, and a draw": (
        "cohort.sampling is set with strategy.name 'fedbuff'",
        FEDBUFF | {"cohort.sampling": "fixed"},
        ({"cohort.sampling": OUT},),
        (),
    ),
    "a buffer of more than there are": (
        "strategy.buffer is 10, and data.clients is 7, each once in a buffer: 7 works",
        FEDBUFF | {"data.clients": 7},
        ({"strategy.buffer": 7},),
        ({"strategy.buffer": 8},),
    ),
    "more at once than there are": (
        "strategy.concurrency is 12: up to 10 works",
        FEDBUFF | {"strategy.concurrency": 12},
        ({"strategy.concurrency": 10},),
        ({"strategy.concurrency": 11},),
    ),
    "a buffer that no session can be held among": (
        "strategy.buffer is 2, and no sum is opened over fewer than 3 contributors (cohort.minimum, threat): 3 works",
        FEDBUFF | {"strategy.buffer": 2},
        ({"strategy.buffer": 3},),
        (),
    ),
    "a buffer that does not withstand the threat": (
        "strategy.buffer is 4, for which suite 'kahe' has no setting under this threat model: 6 works",
        FEDBUFF | {"strategy.buffer": 4} | RISKY,
        ({"strategy.buffer": 6},),
        ({"strategy.buffer": 5},),
    ),
    "a buffer of so many that they do not withstand the threat": (
        "strategy.buffer is 130, and data.clients is 120, each once in a buffer: 99 works",
        FEDBUFF | {"strategy.buffer": 130, "data.clients": 120} | HOSTILE,
        ({"strategy.buffer": 99},),
        ({"strategy.buffer": 120}, {"strategy.buffer": 100}),
    ),
    "a buffer below what was agreed": (
        "strategy.buffer is 3, and no sum is opened over fewer than 6 contributors",
        FEDBUFF | {"strategy.buffer": 3, "cohort.minimum": 6},
        ({"strategy.buffer": 6},),
        ({"strategy.buffer": 5},),
    ),
    "losses under noise": (
        "cohort.sampling is 'loss' in privacy.mode 'client-central'",
        BY_LOSS | CENTRAL,
        ({"cohort.sampling": "uniform"}, {"cohort.sampling": "available"}),
        (),
    ),
    "losses that nothing is compared with": (
        "cohort.sampling is 'loss' without the mean loss",
        BY_LOSS,
        (FEDERATED,),
        (),
    ),
    "the fastest of equals, without a fleet": (
        "cohort.sampling is 'speed' where all clients are equally fast",
        SPEED,
        ({"fleet.speed_spread": 0.5}, {"cohort.sampling": "available"}),
        (),
    ),
    "the fastest of a fleet of equals": (
        "cohort.sampling is 'speed' where all clients are equally fast",
        SPEED | {"fleet.examples_per_s": 50.0, "fleet.slow_fraction": 0.04, "fleet.link_spread": 1.0},
        ({"fleet.speed_spread": 0.5}, {"cohort.sampling": "available"}),
        ({"fleet.slow_fraction": 1.0}, {"fleet.slow_fraction": 0.5, "fleet.slow_factor": 1.0}),
    ),
    "the fastest where all are told apart alike": (
        "cohort.sampling is 'speed' where all clients are equally fast",
        SPEED | {"fleet.client": [{"clients": list(range(10)), "slowdown": 3.0}]},
        ({"fleet.speed_spread": 0.5}, {"cohort.sampling": "available"}),
        ({"fleet.client": [{"clients": [0, 1], "link_slowdown": 3.0}]},),
    ),
    "over-selection beyond what the threat model bears": (
        "cohort.over_selection is 0.5, which gives up 0.333 of those invited, where threat.dropout is 0.1",
        OVER,
        ({"threat.dropout": 0.34}, {"cohort.over_selection": 0.1}),
        ({"threat.dropout": 0.33}, {"cohort.over_selection": 0.13}),
    ),
    "over-selection beside failures": (
        "cohort.over_selection is 0.5, which gives up 0.333 of those invited beside failures.rate 0.05, where",
        OVER | {"failures.rate": 0.05},
        ({"threat.dropout": 0.39}, {"cohort.over_selection": 0.05}),
        ({"threat.dropout": 0.38}, {"cohort.over_selection": 0.08}),
    ),
    "over-selection where failures are all that is borne": (
        "gives up 0.0244 of those invited beside failures.rate 0.1, where threat.dropout is 0.1: threat.dropout = 0.13",
        OVER | {"cohort.over_selection": 0.01, "failures.rate": 0.1},
        ({"threat.dropout": 0.13}, {"cohort.over_selection": OUT}),
        (),
    ),
    "over-selection that no threat model bears": (
        "which gives up 0.615 of those invited, where threat.dropout is 0.1: cohort.over_selection = 0.06 works",
        OVER | {"cohort.size": 15, "cohort.over_selection": 1.6, "threat.server": "active"},
        ({"cohort.over_selection": 0.06},),
        ({"cohort.over_selection": 0.14},),
    ),
    "over-selection that goes on with too few": (
        "cohort.over_selection is 9: a round goes on when 3 of 30 clients have uploaded, and a sum takes 5; ",
        {"suite": "ckks", "data.clients": 40, "cohort.size": 3, "cohort.over_selection": 9.0},
        ({"cohort.over_selection": 5.33},),
        ({"cohort.over_selection": 5.67},),
    ),
    "evaluation under noise": (
        "evaluation.federated is true in privacy.mode 'client-central'",
        FEDERATED | CENTRAL,
        ({"evaluation.federated": OUT},),
        (),
    ),
    "an evaluation of more than there are": (
        "evaluation.size is 12, and data.clients is 10: 10 works",
        FEDERATED | {"evaluation.size": 12},
        ({"evaluation.size": 10},),
        ({"evaluation.size": 11},),
    ),
    "an evaluation of too few": (
        "evaluation.size is 4, and no sum is opened over fewer than 6 contributors (cohort.minimum, threat): 6 works",
        FEDERATED | {"evaluation.size": 4, "cohort.minimum": 6},
        ({"evaluation.size": 6},),
        ({"evaluation.size": 5},),
    ),
    "an evaluation of so few that they do not withstand the threat either": (
        "evaluation.size is 2, and no sum is opened over fewer than 3 contributors (cohort.minimum, threat): 6 works",
        FEDERATED | {"evaluation.size": 2} | RISKY,
        ({"evaluation.size": 6},),
        ({"evaluation.size": 3}, {"evaluation.size": 5}),
    ),
    "an evaluation of fewer than withstand the threat": (
        "evaluation.size is 4 clients, for whom suite 'kahe' has no setting under this threat model: ",
        FEDERATED | {"evaluation.size": 4} | RISKY,
        ({"evaluation.size": 6},),
        ({"evaluation.size": 5},),
    ),
    "an evaluation of more than withstand the threat": (
        "evaluation.size is all 120 clients, for whom suite 'kahe' has no setting under this threat model: ",
        FEDERATED | {"data.clients": 120, "cohort.size": 30} | HOSTILE,
        ({"evaluation.size": 99},),
        ({"evaluation.size": 100},),
    ),
    "an evaluation of more than there are, who are too many already": (
        "evaluation.size is 121, and data.clients is 120: 99 works",
        FEDERATED | {"data.clients": 120, "cohort.size": 30, "evaluation.size": 121} | HOSTILE,
        ({"evaluation.size": 99},),
        ({"evaluation.size": 120},),
    ),
    "an evaluation whose sum would be too inexact to count by": (
        "evaluation.size is 10000 clients, for whom suite 'kahe' has no setting under this threat model: ",
        FEDERATED
        | {"data.clients": 20_000, "cohort.size": 10, "evaluation.size": 10_000}
        | {"encoding.wire": "packed", "encoding.bits": 8},
        ({"evaluation.size": 10},),
        (),
    ),
    "a warm-up that outlasts the run": (
        "strategy.schedule.warmup is 10 with rounds = 10",
        {"strategy.schedule.warmup": 10},
        ({"strategy.schedule.warmup": 1},),
        (),
    ),
    "a secret cohort, and a deadline": (
        "privacy.amplification is true with cohort.deadline_s",
        SECRET | {"cohort.deadline_s": 60.0},
        ({"privacy.amplification": OUT}, {"cohort.deadline_s": OUT}),
        (),
    ),
    "a secret cohort of those who are there": (
        "privacy.amplification is true with fleet.available_hours,",
        SECRET | {"fleet.available_hours": 8.0},
        ({"privacy.amplification": OUT}, {"fleet.available_hours": OUT}),
        (),
    ),
    "a secret cohort of those who come and go": (
        "privacy.amplification is true with fleet.online_s and fleet.offline_s and fleet.client.online,",
        SECRET | {"fleet.online_s": 9.0, "fleet.offline_s": 9.0, "fleet.client": [{"clients": [1], "online": [0, 1]}]},
        ({"privacy.amplification": OUT}, {"fleet.online_s": OUT, "fleet.offline_s": OUT, "fleet.client": OUT}),
        (),
    ),
    "a secret cohort of those who have the power": (
        "privacy.amplification is true with fleet.battery_examples,",
        SECRET | {"fleet.battery_examples": 100, "fleet.available_hours": 24.0},
        ({"privacy.amplification": OUT}, {"fleet.battery_examples": OUT}),
        (),
    ),
    "steps that are more than gradients and noise": (
        "strategy.proximal is set in privacy.mode 'example'",
        EXAMPLE | {"strategy.proximal": 0.1},
        ({"strategy.proximal": OUT},),
        (),
    ),
    "steps of fedprox": (
        "strategy.proximal is set in privacy.mode 'example'",
        EXAMPLE | {"strategy.name": "fedprox"},
        ({"strategy.name": "fedavg"},),
        (),
    ),
    "noise for other batches": (
        "fleet.work is 'batches' in privacy.mode 'example'",
        EXAMPLE | {"fleet.work": "batches"},
        ({"fleet.work": "whole"},),
        (),
    ),
    "one mask for many models": (
        "compression.keep is 'magnitude' with strategy.name 'fedbuff'",
        FEDBUFF | {"compression.keep": "magnitude", "compression.fraction": 0.2},
        ({"compression.keep": "random"},),
        (),
    ),
    "a clip that follows what nobody may see": (
        "encoding.adaptive is true in privacy.mode 'client-central'",
        CENTRAL | {"encoding.adaptive": True},
        ({"encoding.adaptive": OUT},),
        (),
    ),
    "a clip that follows what noise is made for": (
        "encoding.adaptive is true in privacy.mode 'example'",
        EXAMPLE | {"encoding.adaptive": True},
        ({"encoding.adaptive": OUT},),
        (),
    ),
    "roundings beside those of the noise": (
        "encoding.rounding is 'stochastic' in privacy.mode 'client-central'",
        CENTRAL | {"encoding.rounding": "stochastic"},
        ({"encoding.rounding": OUT},),
        (),
    ),
    "a rotation beside that of the noise": (
        "compression.rotate is true in privacy.mode 'client-central'",
        CENTRAL | {"compression.rotate": True},
        ({"compression.rotate": OUT},),
        (),
    ),
    "layers of coordinates that are of all layers": (
        "privacy.clipping is 'per-layer' with compression.keep 'random'",
        CENTRAL | {"privacy.clipping": "per-layer", "compression.keep": "random", "compression.fraction": 0.2},
        ({"privacy.clipping": "flat"},),
        (),
    ),
    "a memory beside a secret draw": (
        "compression.feedback is set with privacy.amplification",
        SECRET | {"compression.keep": "random", "compression.fraction": 0.2, "compression.feedback": 1.0},
        ({"compression.feedback": OUT}, {"privacy.amplification": OUT}),
        (),
    ),
    "clients told apart that are not there": (
        "fleet.client.clients names [10]: 0 to 9 works",
        {"fleet.client": [{"clients": [9, 10], "slowdown": 2.0}]},
        ({"fleet.client": [{"clients": [0, 9], "slowdown": 2.0}]},),
        (),
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_refusal_says_works_does_work(name):
    said, keys, remedies, no_remedies = REFUSALS[name]
    sentence = refused(keys)
    assert sentence.startswith(said) or said in sentence
    for remedy in remedies:
        for key, value in remedy.items():
            if not key.startswith("fleet.client"):
                assert names(sentence, key, value), f"{key} = {value} is not in: {sentence}"
        job_of(keys | remedy)
    for nearly in no_remedies:
        refused(keys | nearly)


@pytest.mark.parametrize(
    "keys",
    [
        FEDBUFF | {"strategy.buffer": 3, "strategy.concurrency": 1},
        OVER | {"suite": "ckks"},  # whose clients are not needed once they have uploaded
        OVER | {"suite": "plain"},
        {"failures.rate": 0.5},  # as ever: it is with over-selection that the server itself lets clients go
        SPEED | {"fleet.slow_fraction": 0.5},
        SPEED | {"fleet.client": [{"clients": [3], "slowdown": 2.0}]},
        SECRET | {"fleet.speed_spread": 1.0},
        {"strategy.schedule.warmup": 9},
        EXAMPLE | {"encoding.rounding": "stochastic", "compression.rotate": True},
        CENTRAL | {"compression.keep": "random", "compression.fraction": 0.2, "compression.feedback": 1.0},
        {"evaluation.patience": 100},  # it never runs out, and a run that is cut short stays a run
    ],
    ids=str,
)
def test_what_goes_together_is_not_refused(keys):
    job_of(keys)


def test_without_enough_clients_the_job_speaks_of_them_and_of_no_buffer_or_evaluation():
    assert "3 clients" in refused(FEDBUFF | {"data.clients": 2})
    assert "3 clients" in refused(FEDERATED | {"data.clients": 2})
    assert refused(FEDBUFF | {"cohort.minimum": 11}).startswith("cohort.minimum is 11: 2 to 10 works")


def test_reading_a_job_loads_no_pytorch():
    check = "import sys; from privfl.learning.job import Job; Job(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


# -- fleets -----------------------------------------------------------------------------------------------------------


def online(*stretches):
    """Clients, from 0, that are there in these pairs of seconds."""
    return [{"clients": [number], "online": list(one)} for number, one in enumerate(stretches)]


def unreachable(keys):
    job = job_of(keys)
    if job.timed is None:  # no time passes, and nobody is away
        return None
    fleet = Fleet(job.timed, clients=job.data.clients, seed=job.seed)
    try:
        require_reachable(job, fleet)
    except ConfigurationError as error:
        return str(error)
    return None


FOUR = {"suite": "plain", "data.clients": 4, "cohort.minimum": 3}
ONE_AFTER_THE_OTHER = {"fleet.client": online((0, 10), (5, 20), (10, 30), (20, 40))}


def test_clients_that_are_never_there_together_are_refused():
    """The third comes at the moment when the first goes: two at once."""
    keys = FOUR | ONE_AFTER_THE_OTHER
    assert unreachable(keys) == (
        "fleet has 2 of 4 clients online at once, at the most, and a sum takes 3: the job works without "
        "fleet.client.online, or with cohort.minimum = 2"
    )
    assert unreachable(keys | {"cohort.minimum": 2}) is None
    assert unreachable(keys | {"fleet.client": OUT}) is None


@pytest.mark.parametrize(
    ("late_s", "there"),
    [(15.0, True), (14 * 86_400.0 - 1, True), (14 * 86_400.0, False)],
)
def test_two_weeks_are_looked_at(late_s, there):
    always = (0, float("inf"))
    keys = FOUR | {"fleet.client": online(always, always, (late_s, late_s + 5), ())}
    assert (unreachable(keys) is None) == there


def test_a_sum_over_two_is_not_offered_where_a_session_takes_three():
    keys = {"suite": "masking", "data.clients": 4, "fleet.client": online((0, 10), (5, 20), (10, 30), (20, 40))}
    sentence = unreachable(keys)
    assert "2 of 4 clients" in sentence
    assert sentence.endswith("and a sum takes 3: the job works without fleet.client.online")


def test_a_buffer_takes_as_many_at_once_as_it_holds():
    keys = {"suite": "masking", "data.clients": 8, "strategy.name": "fedbuff", "strategy.buffer": 5}
    hours = {"fleet.client": online(*[(0, 100)] * 4, *[(100, 200)] * 4)}
    assert unreachable(keys | hours) == (
        "fleet has 4 of 8 clients online at once, at the most, and a buffer takes 5: the job works without "
        "fleet.client.online, or with strategy.buffer = 4"
    )
    assert unreachable(keys | hours | {"strategy.buffer": 4}) is None
    assert unreachable(keys | hours | {"strategy.name": "fedavg", "strategy.buffer": OUT}) is None


def test_all_keys_that_keep_clients_away_are_named():
    away = {"fleet.online_s": 10.0, "fleet.offline_s": 5000.0, "fleet.available_hours": 1.0}
    keys = {"data.clients": 6, "cohort.minimum": 6} | away
    assert "without fleet.online_s and fleet.offline_s and fleet.available_hours" in unreachable(keys)
    assert unreachable(keys | dict.fromkeys(away, OUT)) is None


def test_who_comes_and_goes_too_often_to_look_at_two_weeks_is_given_the_benefit_of_the_doubt(monkeypatch):
    keys = FOUR | ONE_AFTER_THE_OTHER
    monkeypatch.setattr("privfl.learning.feasibility._MOST_MOVES", 7)
    assert unreachable(keys) is None
    monkeypatch.setattr("privfl.learning.feasibility._MOST_MOVES", 9)  # one more than there are
    assert unreachable(keys) is not None


# -- batteries and deadlines ------------------------------------------------------------------------------------------


class Traffic:
    """A megabit of a model, half of one for keys, two for an upload."""

    def model_bytes(self):
        return 125_000

    def key_bytes(self, cohort):
        return 62_500

    def upload_bytes(self, cohort):
        assert len(cohort) == self.invited
        return 250_000

    def __init__(self, invited):
        self.invited = invited


EXAMPLES = (100, 200, 300, 400)
SLOW_LINKS = MappingProxyType({"fleet.uplink_mbit_s": 1.0, "fleet.downlink_mbit_s": 1.0, "fleet.latency_s": 0.0})


def late(keys, examples=EXAMPLES):
    job = job_of(keys)
    if job.timed is None:
        return None
    fleet = Fleet(job.timed, clients=job.data.clients, seed=job.seed)
    try:
        require_in_time(job, fleet, examples, Traffic(job.cohort_size))
    except ConfigurationError as error:
        return str(error)
    return None


def test_batteries_that_are_too_small_for_so_many_as_a_sum_takes_are_refused():
    keys = FOUR | {"strategy.epochs": 2, "fleet.battery_examples": 599}
    assert late(keys) == (
        "fleet.battery_examples is 599, enough for the training of 2 of 4 clients, and a sum takes 3: 600 works"
    )
    assert late(keys | {"fleet.battery_examples": 600}) is None
    assert late(keys | {"fleet.battery_examples": OUT}) is None


def test_batteries_have_to_last_for_what_slow_clients_do_of_the_work():
    keys = FOUR | {"strategy.epochs": 2, "fleet.battery_examples": 599, "fleet.work": "steps"}
    slow = {"fleet.client": [{"clients": [2], "slowdown": 2.0}]}
    assert late(keys) is not None
    assert late(keys | slow) is None


def test_batteries_have_to_last_for_a_buffer():
    keys = {"suite": "masking", "data.clients": 4, "strategy.name": "fedbuff", "strategy.buffer": 4}
    keys |= {"strategy.epochs": 1, "fleet.battery_examples": 300}
    assert late(keys) == (
        "fleet.battery_examples is 300, enough for the training of 3 of 4 clients, and a buffer takes 4: 400 works"
    )
    assert late(keys | {"fleet.battery_examples": 400}) is None


def test_a_deadline_before_so_many_can_have_uploaded_as_a_sum_takes_is_refused():
    """One second for the model, 2.5, 5, 7.5 and 10 seconds of training, two for the upload."""
    keys = FOUR | SLOW_LINKS | {"strategy.epochs": 5, "cohort.deadline_s": 10.0}
    assert late(keys) == (
        "cohort.deadline_s is 10, by when 2 of 4 clients can have uploaded, and a sum takes 3: 11 works"
    )
    assert late(keys | {"cohort.deadline_s": 11.0}) is None
    assert late(keys | {"cohort.deadline_s": 10.49}) is not None
    assert late(keys | {"cohort.deadline_s": OUT, "fleet.available_hours": 12.0}) is None


def test_a_deadline_of_seconds_is_named_to_the_millisecond():
    keys = FOUR | SLOW_LINKS | {"strategy.epochs": 1, "cohort.deadline_s": 1.0, "fleet.examples_per_s": 7e4}
    sentence = late(keys)
    assert sentence.endswith("3.005 works")  # 3 s and 300 / 70,000
    assert late(keys | {"cohort.deadline_s": 3.005}) is None
    assert late(keys | {"cohort.deadline_s": 3.004}) is not None


def test_a_deadline_is_judged_as_if_everybody_were_there_with_a_full_battery():
    keys = FOUR | SLOW_LINKS | {"strategy.epochs": 5, "cohort.deadline_s": 11.0}
    away = {"fleet.client": [{"clients": [0, 1, 2, 3], "online": [50, 60]}], "fleet.battery_examples": 2000}
    assert late(keys | away) is None
    assert "10.001" not in late(keys | away | {"cohort.deadline_s": 10.0})


def test_whose_battery_is_too_small_does_not_upload_before_the_deadline():
    keys = FOUR | SLOW_LINKS | {"strategy.epochs": 5, "cohort.minimum": 2, "cohort.deadline_s": 8.0}
    reverse = tuple(reversed(EXAMPLES))
    fast = {"fleet.client": [{"clients": [0, 1], "slowdown": 0.01}], "fleet.battery_examples": 1000}
    assert late(keys, reverse) is None  # the last two, after 5.5 and 8 seconds
    assert late(keys | fast, reverse) is None
    assert "by when 1 of 4 clients" in late(keys | fast | {"cohort.deadline_s": 7.0}, reverse)


def test_messages_weigh_what_they_do_among_those_who_are_invited():
    keys = {"data.clients": 4, "cohort.size": 3, "cohort.deadline_s": 600.0, "fleet.latency_s": 0.0}
    assert late(keys) is None
