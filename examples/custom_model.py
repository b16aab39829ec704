"""Your own PyTorch model and your own data: `privfl run examples/custom_model.toml`, or `python` and this file."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from privfl.learning.job import load_job
from privfl.learning.rounds import FederatedRun
from privfl.learning.trained import load_trained

SAMPLES = 64


def build(classes: int) -> torch.nn.Module:
    """Your model: features of shape (n, ...) in, logits of shape (n, classes) out. It is built with the job's seed."""
    return torch.nn.Sequential(
        torch.nn.Conv1d(1, 8, kernel_size=9, stride=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 28, classes),
    )


def load_client(client: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Your data: what one client holds, as float32 (or int64) features and int64 labels. Here: made up."""
    return signals(np.random.default_rng([seed, client]), count=60 + 10 * client)


def load_test(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the server holds out, to watch the model with; found by its name."""
    return signals(np.random.default_rng([seed, 10**6]), count=600)


def signals(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sines, squares and saws, of a sensor with a gain of its own, in noise."""
    labels = rng.integers(3, size=count)
    turns = np.arange(SAMPLES) / SAMPLES * rng.uniform(2, 5, (count, 1)) + rng.uniform(size=(count, 1))
    waves = np.stack([np.sin(2 * np.pi * turns), np.sign(np.sin(2 * np.pi * turns)), 2 * (turns % 1) - 1])
    seen = rng.uniform(0.5, 1.5) * waves[labels, np.arange(count)] + rng.normal(scale=0.2, size=turns.shape)
    return seen[:, None, :].astype(np.float32), labels.astype(np.int64)


def main() -> None:
    """Train, and use the model."""
    job = load_job(Path(__file__).with_suffix(".toml"))
    with TemporaryDirectory() as folder:
        for row in FederatedRun(job, out=Path(folder) / "run"):
            print(f"round {row.round}: {row.accuracy:.1%} of what the server holds out, {row.contributors} clients")
        model = load_trained(Path(folder) / "run" / "model.npz", build)
    features, labels = load_test(seed=1)
    print(f"on new signals: {(model(torch.tensor(features)).argmax(1).numpy() == labels).mean():.1%}")


if __name__ == "__main__":
    main()
