"""Data of a run whose clients are elsewhere: what the coordinator holds out, and what one client has."""

from __future__ import annotations

from privfl.errors import ConfigurationError
from privfl.learning.assembly import data_of
from privfl.learning.data import Examples, PublicFacts
from privfl.learning.job import Job
from privfl.learning.own_code import is_own
from privfl.learning.own_data import load_own_client, load_own_test
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.site import HeldOut


def held_out_of(job: Job) -> HeldOut:
    """Load what a coordinator holds of a job's data.

    Args:
        job: the job. Of the built-in data sets, which are public, all is read that makes up their facts; of data of
            the user's own nothing but what `data.test` returns.

    Raises:
        ConfigurationError: there are none such; or how much an update may weigh is said nowhere; names the key.
        MissingExtra: scikit-learn is not installed, which has the built-in ones.
    """
    if not is_own(job.data.name):
        data = data_of(job)
        return HeldOut(test=data.test, facts=data.facts)
    counts = job.privacy.mode is PrivacyMode.NONE
    if job.strategy.weight_max is None and counts:
        raise ConfigurationError(
            "strategy.weight_max is not given, and nobody here knows how many examples clients have: give the largest "
            "number that is to count, such as 1000"
        )
    test, classes = load_own_test(
        job.data.name, clients=job.data.clients, seed=job.seed, test=job.data.test, classes=job.data.classes
    )
    facts = PublicFacts(clients=job.data.clients, examples=0, classes=classes, feature_shape=test.features.shape[1:])
    return HeldOut(test=test, facts=facts)


def examples_of(job: Job, facts: PublicFacts, number: int, *, own: str | None) -> Examples:
    """Load what one client has.

    Args:
        job: the job.
        facts: of the data.
        number: of the client.
        own: `module:function` that the client's owner has named; None: the client's part of a built-in data set.

    Raises:
        ConfigurationError: the job is for clients with data of their own, and none are named; or they do not fit.
        MissingExtra: scikit-learn is not installed, which has the built-in ones.
    """
    if own is not None:
        return load_own_client(
            own,
            key="--data",
            client=number,
            clients=facts.clients,
            seed=job.seed,
            classes=facts.classes,
            private=job.privacy.mode is not PrivacyMode.NONE,
        )
    if is_own(job.data.name):
        raise ConfigurationError(
            f"the job is for data of the clients' own ({job.data.name!r} is how its author reads theirs): join with "
            f"--data my_module:my_function"
        )
    if number >= job.data.clients:
        raise ConfigurationError(f"client {number} has no part of data for {job.data.clients} clients")
    return data_of(job).clients[number]
