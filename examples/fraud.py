"""Fraudulent payments at six banks, all of them synthesised: rare, and of another kind at every bank.

Nobody's payments are in here: customers, merchants and frauds are drawn from distributions that are made up. What is
like the real thing is that frauds are few, that kinds of fraud differ, and that a bank knows best the kind that has
hit it. So a bank alone misses what the others have seen.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from privfl.learning.job import load_job
from privfl.learning.rounds import FederatedRun
from privfl.learning.torch_trainer import TorchTrainer
from privfl.learning.trained import load_trained

FRAUDS = 0.02
KINDS = 3
PAYMENTS = 3000  # of an average bank


def build(feature_shape: tuple[int, ...]) -> torch.nn.Module:
    """A small network whose last layer begins with the odds of a fraud: it need not learn that frauds are rare."""
    head = torch.nn.Linear(24, 2)
    torch.nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([1 - FRAUDS, FRAUDS]).log())
    return torch.nn.Sequential(
        torch.nn.Linear(feature_shape[0], 48), torch.nn.ReLU(), torch.nn.Linear(48, 24), torch.nn.ReLU(), head
    )


def load_client(client: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bank's payments: customers of its own, a size of its own, and nine of ten frauds of one kind."""
    rng = np.random.default_rng([seed, client])
    mixture = np.full(KINDS, 0.1 / (KINDS - 1))
    mixture[client % KINDS] = 0.9
    return payments(rng, int(PAYMENTS * rng.uniform(0.6, 1.4)), mixture, spending=rng.normal(scale=0.3))


def load_test(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Payments that the server holds out, with as many frauds of every kind."""
    return payments(np.random.default_rng([seed, 10**6]), 20_000, np.full(KINDS, 1 / KINDS), spending=0.0)


def payments(
    rng: np.random.Generator, count: int, mixture: np.ndarray, *, spending: float
) -> tuple[np.ndarray, np.ndarray]:
    """Payments, one a row, and which are frauds.

    Columns: ln(amount), hour, ln(km from home), payments of the last hour, ln(days since the last one), risk of the
    merchant, age of the account in years, abroad, card present, ln(amount / the customer's usual amount).
    """
    labels = (rng.uniform(size=count) < FRAUDS).astype(np.int64)
    usual = rng.normal(3.5 + spending, 0.6, size=count)
    ratio = rng.normal(scale=0.7, size=count)
    hour, distance = rng.normal(14, 4, size=count) % 24, rng.normal(1.5, 1.2, size=count)
    recent, pause = rng.poisson(0.4, size=count).astype(float), rng.normal(0.5, 1, size=count)
    risk, age = rng.beta(2, 6, size=count), rng.gamma(2, 4, size=count)
    abroad, present = rng.uniform(size=count) < 0.08, rng.uniform(size=count) < 0.7
    kind = np.where(labels == 1, rng.choice(KINDS, size=count, p=mixture), KINDS)
    testing, takeover, collusion = (kind == number for number in range(KINDS))
    # Cards that are tried out: many small payments within the hour, nobody there.
    ratio[testing] -= 1.5
    recent[testing] += rng.poisson(3, size=testing.sum())
    present[testing] = rng.uniform(size=testing.sum()) < 0.1
    # Accounts taken over: large, far away, at night, after a long pause.
    ratio[takeover] += 1.5
    distance[takeover] += 2
    hour[takeover] = rng.normal(3, 2, size=takeover.sum()) % 24
    pause[takeover] += 1
    # Merchants in league: risky ones, young accounts, amounts that are not striking.
    risk[collusion] = rng.beta(6, 3, size=collusion.sum())
    age[collusion] *= 0.3
    amount, hour, risk = usual + ratio - 3.5, hour / 12 - 1, 4 * risk - 1
    columns = [amount, hour, distance / 2, recent, pause, risk, age / 8 - 1, abroad, present, ratio]
    return np.stack(columns, axis=1).astype(np.float32), labels


def caught(model: torch.nn.Module, features: np.ndarray, labels: np.ndarray) -> float:
    """Share of the frauds among the one payment in 50 that the model finds most suspicious."""
    with torch.no_grad():
        logits = model(torch.tensor(features))
    suspicious = (logits[:, 1] - logits[:, 0]).argsort(descending=True)[: round(FRAUDS * len(labels))].numpy()
    return float(labels[suspicious].sum() / labels.sum())


def main() -> None:
    """Train together, and each bank alone for as long."""
    job = load_job(Path(__file__).with_suffix(".toml"))
    with TemporaryDirectory() as folder:
        run = FederatedRun(job, out=Path(folder) / "run")
        for row in run:
            print(f"round {row.round}: loss {row.loss:.4f}")
        together = load_trained(Path(folder) / "run" / "best.npz", build(run.data.feature_shape))
    test = load_test(job.seed)
    print(f"frauds caught among the 2 % most suspicious payments, together: {caught(together, *test):.1%}")
    for bank, own in enumerate(run.data.clients):
        trainer = TorchTrainer(build(run.data.feature_shape), job.strategy.local_training())
        weights = trainer.initial_weights()
        for number in range(job.rounds):
            update = trainer.train(weights, own, seed=number).update
            weights = {name: weights[name] + update[name] for name in weights}
        alone = build(run.data.feature_shape)
        alone.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        print(f"bank {bank} alone: {caught(alone, *test):.1%}")


if __name__ == "__main__":
    main()
