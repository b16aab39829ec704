"""Job files: what is read, what is refused, and that each refusal names the key and a value that works."""

import re
from dataclasses import fields, is_dataclass
from typing import get_args, get_origin, get_type_hints

import pytest

from privfl import ConfigurationError, Phase
from privfl.cli.init import files
from privfl.learning.cohort import draw_cohort, draw_dropouts
from privfl.learning.job import Job, job_from_table, job_to_toml, load_job
from privfl.params import ServerModel

CENTRAL = "[privacy]\nmode = 'client-central'"
DISTRIBUTED = "[privacy]\nmode = 'client-distributed'\nclip = 1\nepsilon = 4"
EXAMPLE = "[privacy]\nmode = 'example'\nclip = 1\nepsilon = 4"


def written(tmp_path, text):
    path = tmp_path / "job.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_job_is_the_default(tmp_path):
    assert load_job(written(tmp_path, "")) == Job()


@pytest.mark.parametrize("example", ["hospitals", "digits", "private_hospitals"])
def test_a_job_survives_being_written_out(example, tmp_path):
    from pathlib import Path

    job = load_job(Path(__file__).parent.parent / "examples" / f"{example}.toml")
    assert load_job(written(tmp_path, job_to_toml(job))) == job


def template():
    return files("privfl.cli").joinpath("job_template.toml").read_text(encoding="utf-8")


def keys_of(kind, prefix=""):
    """Every key of a job, dotted; `[]` stands after those of which there may be several."""
    hints = get_type_hints(kind)
    for entry in fields(kind):
        inner = [one for one in (hints[entry.name], *get_args(hints[entry.name])) if is_dataclass(one)]
        several = get_origin(hints[entry.name]) is tuple
        if inner:
            yield from keys_of(inner[0], f"{prefix}{entry.name}{'[]' * several}.")
        else:
            yield prefix + entry.name


def lines_of_the_template():
    """Dotted key, mark before it, and value of every line of the template that has one."""
    table = ""
    for line in template().splitlines():
        if header := re.match(r"(?:#:? )?(\[\[?)([a-z_.]+)\]", line):
            table = header[2] + ("[]." if header[1] == "[[" else ".")
        elif entry := re.match(r"(#:? |)([a-z_0-9]+) = ([^#]+)", line):
            yield table + entry[2], entry[1].strip(), entry[3].strip()


def test_the_template_explains_every_key_and_is_the_default(tmp_path):
    text = template()
    assert load_job(written(tmp_path, text)) == Job()
    uncommented = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and ("=" in line or line.startswith("# [")) else line
        for line in text.splitlines()
    )
    full = load_job(written(tmp_path, uncommented))
    assert full.model == "mlp"
    assert full.cohort.size == 10
    assert full.failures.drop[0].clients == (3, 7)
    assert full.fleet.client[0].clients == (8, 9)
    for_experts = {"threat.statistical_bits", "threat.correctness_bits"}  # docs, not the template
    explained = [key for key, _, _ in lines_of_the_template()]
    assert sorted(explained) == sorted(set(keys_of(Job)) - for_experts)


PRIVATELY = ("privacy.mode=client-distributed", "privacy.epsilon=4.0", "privacy.clip=1.0")
GOES_WITH = {
    "data.test": ("data.name=my_module:load_client",),
    "data.classes": ("data.name=my_module:load_client",),
    "compression.fraction": ("compression.keep=random",),
    "compression.feedback": ("compression.keep=random", "compression.fraction=0.2"),
    "cohort.probability": ("cohort.sampling=poisson",),
    "cohort.preference": ("cohort.sampling=loss", "cohort.size=5", "evaluation.federated=true"),
    "cohort.explore": ("cohort.sampling=loss", "cohort.size=5", "evaluation.federated=true"),
    "strategy.server_momentum": ("strategy.name=fedavgm",),
    "strategy.server_second_momentum": ("strategy.name=fedyogi",),
    "strategy.server_adaptivity": ("strategy.name=fedadam",),
    "strategy.buffer": ("strategy.name=fedbuff",),
    "strategy.concurrency": ("strategy.name=fedbuff", "data.clients=30"),
    "strategy.staleness_exponent": ("strategy.name=fedbuff",),
    "strategy.max_staleness": ("strategy.name=fedbuff",),
    "strategy.schedule.every": ("strategy.schedule.kind=step", "strategy.schedule.factor=0.5"),
    "strategy.schedule.factor": ("strategy.schedule.kind=exponential",),
    "strategy.schedule.minimum": ("strategy.schedule.kind=cosine",),
    "evaluation.size": ("evaluation.federated=true",),
} | {
    f"privacy.{key}": PRIVATELY
    for key in (
        *("epsilon", "delta", "clip", "noise_multiplier", "mechanism", "client_epsilon"),
        *("adaptive.quantile", "adaptive.learning_rate", "adaptive.noise"),
    )
}


def test_what_the_template_says_of_other_modes_is_refused_in_the_default_and_works_there(tmp_path):
    path = written(tmp_path, template())
    of_other_modes = {key: value for key, mark, value in lines_of_the_template() if mark == "#:"}
    assert of_other_modes.keys() == GOES_WITH.keys()
    for key, value in of_other_modes.items():
        with pytest.raises(ConfigurationError):
            load_job(path, [f"{key}={value}"])
        load_job(path, [*GOES_WITH[key], f"{key}={value}"])


def test_samples_in_the_template_that_are_not_set_work_one_by_one(tmp_path):
    """But those of tables that are there whole or not at all, and one half of a pair."""
    path = written(tmp_path, template())
    by_themselves = [
        (key, value)
        for key, mark, value in lines_of_the_template()
        if mark == "#" and "[]" not in key and key not in {"fleet.offline_s", "fleet.charge_examples_per_s"}
    ]
    assert len(by_themselves) > 15
    for key, value in by_themselves:
        pair = ["fleet.offline_s=600.0"] if key == "fleet.online_s" else []
        load_job(path, [f"{key}={value}", *pair])


def test_overrides_change_keys(tmp_path):
    path = written(tmp_path, 'suite = "masking"')
    job = load_job(path, ["suite=plain", "data.clients=4", "threat.corrupt=0", "data.partition=dirichlet"])
    assert (job.suite, job.data.clients, job.threat.corrupt, job.data.partition.value) == ("plain", 4, 0.0, "dirichlet")
    assert load_job(path, ["threat.server=honest-but-curious"]).threat.server is ServerModel.HONEST_BUT_CURIOUS


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rouns = 3", "rouns is not a key of a job: did you mean rounds?"),
        ("[encoding]\nclp = 1.0", "did you mean encoding.clip?"),
        ("[data]\nflavour = 1", "known are data.name"),
        ("rounds = 'ten'", "rounds is 'ten': a whole number"),
        ("rounds = 2.5", "rounds is 2.5: a whole number"),
        ("rounds = true", "rounds is True: a whole number"),
        ("rounds = 0", "rounds is 0: 1 to"),
        ("seed = -1", "seed is -1: 0 to"),
        ("suite = 'magic'", "suite is 'magic': 'plain' or 'masking' or 'kahe' or 'ckks' works"),
        ("suite = 3", "suite is 3: a text"),
        ("data = 3", "data is 3: a table works, such as [data]"),
        ("[data]\nclients = 0", "data.clients is 0"),
        (
            "[data]\npartition = 'pathological'",
            "data.partition is 'pathological': 'iid' or 'dirichlet' or 'shards' or 'quantity' works",
        ),
        ("[cohort]\nsize = 11", "cohort.size is 11: 1 to 10 works"),
        ("[cohort]\nsize = 2", "cohort.size is 2: pairwise masks need at least 3"),
        ("[cohort]\nminimum = 11", "cohort.minimum is 11: 2 to 10 works"),
        ("[data]\nclients = 2\n[cohort]\nminimum = 5", "pairwise masks need at least 3 clients"),
        ("[threat]\ncorrupt = 1.5", "threat.corrupt is 1.5"),
        ("[threat]\ncorrupt = nan", "threat.corrupt is nan"),
        ("[threat]\ncorrupt = 0.6\ndropout = 0.5", "lower threat.dropout or threat.corrupt"),
        ("[threat]\nserver = 'kind'", "threat.server is 'kind'"),
        ("[encoding]\nclip = 0.0", "encoding.clip is 0.0"),
        ("[encoding]\nclip = inf", "encoding.clip is inf"),
        ("[encoding]\nclip = 1e300", "encoding.clip is 1e+300"),
        ("[encoding]\nbits = 64", "encoding.bits is 64: a whole number from 2 to 24 works"),
        ("[strategy]\nname = 'krum'", "strategy.name is 'krum': 'fedavg' works"),
        ("[strategy]\nlearning_rate = -1.0", "strategy.learning_rate is -1.0"),
        ("[strategy]\nweight_max = 0", "strategy.weight_max is 0"),
        ("[failures]\nrate = 1.0", "failures.rate is 1.0"),
        ("[[failures.drop]]\nclients = [1]", "failures.drop.round is missing"),
        ("[[failures.drop]]\nround = 0\nclients = [1]", "failures.drop.round is 0: 1 or more works"),
        ("[[failures.drop]]\nround = 1\nclients = [10]", "failures.drop.clients names [10]: 0 to 9 works"),
        ("[[failures.drop]]\nround = 1\nclients = 1", "failures.drop.clients is 1: a list works"),
        ("[[failures.drop]]\nround = 1\nclients = [1]\nphase = 'Upload'", "failures.drop.phase is 'Upload'"),
        ("[[failures.drop]]\nround = 1\nclients = [1]\nphase = 'X'", "'ShareKeys' or 'MaskedInput' or 'Unmask' works"),
        ("[privacy]\nmode = 'magic'", "privacy.mode is 'magic': 'none' or 'example' or 'client-central' or"),
        ("[privacy]\nepsilon = 4.0", "privacy.epsilon is set though privacy.mode is 'none'"),
        ("[privacy]\namplification = true", "privacy.amplification is set though privacy.mode is 'none'"),
        ("[privacy]\namplification = 1", "privacy.amplification is 1: true or false works"),
        (f"{CENTRAL}\nepsilon = 4", "privacy.clip is missing"),
        (f"{CENTRAL}\nclip = 1", "without privacy.epsilon or privacy.noise_multiplier"),
        (f"{CENTRAL}\nclip = 1\nepsilon = -1", "privacy.epsilon is -1.0: 0.0001 to 1000 works"),
        (f"{CENTRAL}\nclip = inf\nepsilon = 1", "privacy.clip is inf: 1e-06 to 1e+06 works"),
        (f"{CENTRAL}\nclip = 1\nepsilon = 1\ndelta = 0.1", "privacy.delta is 0.1 with 10 clients: below 0.1 works"),
        (f"{CENTRAL}\nclip = 1\nepsilon = 1\ndelta = 0", "privacy.delta is 0.0: 1e-15 to 0.5 works"),
        (f"{CENTRAL}\nclip = 1\nepsilon = 1\nmechanism = 'skellam'", "in mode 'client-central': 'gaussian' works"),
        (
            f"{CENTRAL}\nclip = 1\nepsilon = 1\namplification = true",
            "with cohort.sampling 'uniform': it",
        ),
        (
            f"{CENTRAL}\nclip = 1\nepsilon = 1\ngrad_sample = 'ghost'",
            "privacy.grad_sample is set in mode",
        ),
        (f"{CENTRAL}\nclip = 1\nepsilon = 1\nclient_epsilon = 0", "privacy.client_epsilon is 0.0"),
        (
            f"{CENTRAL}\nclip = 1\nepsilon = 1\n[strategy]\nweight_max = 10",
            "strategy.weight_max is set in privacy",
        ),
        (f"{DISTRIBUTED}\nmechanism = 'gaussian'", "'skellam' or 'discrete-gaussian' works"),
        (f"{DISTRIBUTED}\namplification = true", "protects from a server that knows who takes part"),
        (f"suite = 'plain'\n{DISTRIBUTED}", "suite is 'plain' in privacy.mode 'client-distributed'"),
        (
            f"{DISTRIBUTED}\n[threat]\ncorrupt = 0.3\n[cohort]\nminimum = 3",
            "cohort.minimum is 3 with up to 3 clients",
        ),
        (f"{DISTRIBUTED}\n[privacy.adaptive]\nquantile = 1", "privacy.adaptive.quantile is 1.0: between 0 and 1"),
        (f"{DISTRIBUTED}\n[privacy.adaptive]\nlearning_rate = 0", "privacy.adaptive.learning_rate is 0.0"),
        (f"{DISTRIBUTED}\n[privacy.adaptive]\nnoise = 0", "privacy.adaptive.noise is 0.0"),
        (f"{EXAMPLE}\nclipping = 'per-layer'", "privacy.clipping is set in mode 'example'"),
        (f"{EXAMPLE}\namplification = true", "whose batches are sampled and accounted for as they are"),
        (f"{EXAMPLE}\n[privacy.adaptive]", "privacy.adaptive is set in mode 'example'"),
        ("[cohort]\nsampling = 'poisson'", "cohort.probability is missing"),
        ("[cohort]\nprobability = 0.5", "cohort.probability is set though cohort.sampling is 'uniform'"),
        ("[cohort]\nsampling = 'poisson'\nprobability = 0", "cohort.probability is 0.0: above 0"),
        ("[cohort]\nsampling = 'poisson'\nprobability = 0.5\nsize = 5", "cohort.size is set though"),
        ("rounds =", "is not TOML"),
    ],
)
def test_a_wrong_job_is_one_sentence_that_names_the_key_and_what_works(tmp_path, text, named):
    with pytest.raises(ConfigurationError) as caught:
        load_job(written(tmp_path, text))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["rounds", "=3", "a..b=1", "rounds.x=1"])
def test_a_wrong_override_is_named(tmp_path, override):
    with pytest.raises(ConfigurationError, match=r"--set|not a key|is"):
        load_job(written(tmp_path, "rounds = 3"), [override])


def test_a_job_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_job(tmp_path / "none.toml")


# -- cohorts and drop-outs --------------------------------------------------------------------------------------------


def test_cohorts_are_drawn_uniformly_and_repeatably():
    """Chi-square over 2,000 rounds: false alarms at 10^-6."""
    from scipy import stats

    job = job_from_table({"data": {"clients": 12}, "cohort": {"size": 5}, "rounds": 2000})
    counts = [0] * 12
    for number in range(1, 2001):
        cohort = draw_cohort(job, number)
        assert len(set(cohort)) == 5
        assert list(cohort) == sorted(cohort)
        assert cohort == draw_cohort(job, number)
        for client in cohort:
            counts[client] += 1
    assert stats.chisquare(counts).pvalue > 1e-6


def test_scripted_and_drawn_dropouts_do_not_depend_on_the_suite():
    table = {
        "failures": {"rate": 0.3, "drop": [{"round": 2, "clients": [1, 4], "phase": "Unmask"}]},
        "data": {"clients": 20},
        "rounds": 3,
    }
    masking, plain = (job_from_table(table | {"suite": name}) for name in ("masking", "plain"))
    cohort = tuple(range(20))
    for number in (1, 2, 3):
        assert draw_dropouts(masking, number, cohort) == draw_dropouts(plain, number, cohort)
    assert {1, 4} <= draw_dropouts(masking, 2, cohort)[Phase.UNMASK]
    assert sum(len(gone) for number in (1, 3) for gone in draw_dropouts(masking, number, cohort).values()) > 0


def test_who_is_not_in_the_cohort_does_not_drop():
    job = job_from_table({"failures": {"drop": [{"round": 1, "clients": [1, 4]}]}})
    assert draw_dropouts(job, 1, (0, 4)) == {Phase.MASKED_INPUT: frozenset({4})}
