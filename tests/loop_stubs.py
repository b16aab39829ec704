"""Stand-ins for the federated loop: a trainer whose clients are known, messages that weigh nothing, and small jobs."""

import numpy as np

from privfl.learning.job import job_from_table
from privfl.learning.scheduling import Model
from privfl.learning.trainer import Evaluation, LocalResult

FOREVER_S = 1e9
"""Until when a client is there that does not leave."""


def job_of(**changes):
    """A job of a tenth of a second, on the hospitals; tables are merged one deep."""
    table = {"rounds": 3, "suite": "masking", "model": "logistic", "data": {}, "strategy": {"epochs": 1}}
    for key, value in changes.items():
        table[key] = table.get(key, {}) | value if isinstance(value, dict) else value
    return job_from_table(table)


def finished(run):
    """Let a run come to its end."""
    for _ in run:
        pass
    return run


def same(left, right):
    """Whether two models are the same to the bit."""
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


def alike(left, right):
    """Whether two sets of examples are the same: a trainer gets copies, and no example is held twice."""
    return left.features.tobytes() == right.features.tobytes()


class Known:
    """A trainer whose clients are told apart, and do what they are told to.

    Client i moves the model by (i + 1) hundredths; `raises` says what goes wrong at it instead. `clients` are those of
    the run, so that it knows who is who.
    """

    def __init__(self, *, raises=None, evaluates=None):
        self.clients = ()
        self.validation = ()
        self.trained = []
        self.raises = raises or (lambda _client: None)
        self._evaluates = evaluates or (lambda _client: Evaluation(loss=1.0, correct=1, examples=2))

    def initial_weights(self):
        return {"weight": np.zeros((2, 4), np.float32), "bias": np.zeros(4, np.float32)}

    def update(self, client):
        return {name: np.full_like(array, (client + 1) / 100) for name, array in self.initial_weights().items()}

    def train(self, weights, examples, *, seed, settings=None):
        client = next(number for number, own in enumerate(self.clients) if alike(own, examples))
        self.trained.append(client)
        if (error := self.raises(client)) is not None:
            raise error
        return LocalResult(update=self.update(client), examples=len(examples), loss=0.5, correct=1)

    def evaluate(self, weights, examples):
        found = [number for number, own in enumerate(self.validation) if alike(own, examples)]
        return self._evaluates(found[0]) if found else Evaluation(loss=1.0, correct=1, examples=2)


def known_to(run, trainer):
    """Tell a trainer who is who."""
    trainer.clients, trainer.validation = run.data.clients, run.data.validation
    return run


class Weightless:
    """Messages of no bytes, in no round trips: the only time is that of training. Sessions take two clients or more."""

    def __init__(self, fewest=2):
        self._fewest = fewest

    def can_be_held(self, cohort):
        return len(cohort) >= self._fewest

    def model_bytes(self):
        return 0

    def key_bytes(self, cohort):
        return 0

    def upload_bytes(self, cohort):
        return 0

    def closing_bytes(self, cohort):
        return 0

    def closing_round_trips(self, cohort):
        return 0


def model(version=0):
    """A model that is told by its version."""
    return Model(weights={"weight": np.full(3, version, np.float32)}, version=version)
