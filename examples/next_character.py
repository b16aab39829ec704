"""A keyboard's next character, learned from texts that stay where they were written: a GRU, and honest baselines.

The texts are those that Python itself ships: the topics of its `help()`. Each client has other topics, and the server
holds out topics that nobody trains on. An example is `CONTEXT` characters, by number, and the one that follows them.
"""

import pydoc_data.topics
import string
from pathlib import Path

import numpy as np
import torch

from privfl.learning.job import load_job
from privfl.learning.rounds import FederatedRun

CONTEXT = 24
CHARACTERS = "\n" + string.printable[:95]  # letters, digits, punctuation and space; all others are one more
EXAMPLES = 2500  # of a client
SHARES = 10  # clients have eight of them, if all take part; the server the last two


class NextCharacter(torch.nn.Module):
    """Characters by number (n, CONTEXT) to logits (n, characters)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(len(CHARACTERS) + 1, 24)
        self.gru = torch.nn.GRU(24, 96, batch_first=True)
        self.head = torch.nn.Linear(96, len(CHARACTERS) + 1)

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.embedding(characters))[0][:, -1])


def build() -> torch.nn.Module:
    """The model of the job."""
    return NextCharacter()


def texts(share: int) -> str:
    """What one party has written: every tenth topic, without the spaces that typesetting put there.

    Some topics repeat others. A sentence counts where it stands first, so that nobody is judged by what was trained on.
    """
    own, seen = [], set()
    for place, (_, text) in enumerate(sorted(pydoc_data.topics.topics.items())):
        for sentence in " ".join(text.split()).split(". "):
            if sentence not in seen and place % SHARES == share:
                own.append(sentence)
            seen.add(sentence)
    return ". ".join(own)


def load_client(client: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What one client holds: places of its texts, drawn at random."""
    if client >= SHARES - 2:
        raise ValueError(f"there are texts for {SHARES - 2} clients: set data.clients to that, or less")
    return examples(numbers(texts(client)), np.random.default_rng([seed, client]), EXAMPLES)


def load_test(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the server holds out."""
    written = numbers(texts(SHARES - 2) + " " + texts(SHARES - 1))
    return examples(written, np.random.default_rng([seed, SHARES]), 4000)


def numbers(text: str) -> np.ndarray:
    """Characters by number."""
    number = {character: place for place, character in enumerate(CHARACTERS, start=1)}
    return np.array([number.get(character, 0) for character in text], dtype=np.int64)


def examples(written: np.ndarray, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many places, what stands before them and at them."""
    places = rng.integers(CONTEXT, len(written), size=count)
    return written[places[:, None] + np.arange(-CONTEXT, 0)], written[places]


def baselines(clients: int, seed: int) -> dict[str, float]:
    """Accuracy, on the server's texts, of what counting finds in all the texts of all clients at once."""
    features, labels = load_test(seed)
    counts = np.zeros((len(CHARACTERS) + 1, len(CHARACTERS) + 1))
    for client in range(clients):
        written = numbers(texts(client))
        np.add.at(counts, (written[:-1], written[1:]), 1)
    return {
        "the most frequent character": float((labels == counts.sum(axis=0).argmax()).mean()),
        "the most frequent successor of the last one": float((labels == counts.argmax(axis=1)[features[:, -1]]).mean()),
    }


def main() -> None:
    """Train, and compare."""
    job = load_job(Path(__file__).with_suffix(".toml"))
    for row in FederatedRun(job):
        print(f"round {row.round}: {row.accuracy:.1%} of the next characters, loss {row.loss:.2f}")
    for name, accuracy in baselines(job.data.clients, job.seed).items():
        print(f"{name}: {accuracy:.1%}")


if __name__ == "__main__":
    main()
