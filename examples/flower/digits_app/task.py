"""The task: a network of one hidden layer, in numpy, and each node's share of the digits. Nothing here is protected."""

import numpy as np

PIXELS, HIDDEN, CLASSES = 64, 32, 10
TRAINING_IMAGES = 1437
"""The first four fifths; the rest is the server's, to watch the model with."""
BATCH, RATE = 32, 0.2

Model = dict[str, np.ndarray]
"""Arrays by name: four of float32, and `steps`, int64 of shape (1,): a counter such as batch normalisation keeps."""


def initial_model(seed: int) -> Model:
    """The model that the first round starts from."""
    rng = np.random.default_rng([seed, 0])
    return {
        "hidden.weight": rng.normal(scale=(1 / PIXELS) ** 0.5, size=(PIXELS, HIDDEN)).astype(np.float32),
        "hidden.bias": np.zeros(HIDDEN, np.float32),
        "output.weight": rng.normal(scale=(1 / HIDDEN) ** 0.5, size=(HIDDEN, CLASSES)).astype(np.float32),
        "output.bias": np.zeros(CLASSES, np.float32),
        "steps": np.zeros(1, np.int64),
    }


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 images, float32 of shape (n, 64) in 0..1, and their labels."""
    # Not above: Flower starts a process per message, and only some of them need the images.
    from sklearn.datasets import load_digits  # noqa: PLC0415

    images, labels = load_digits(return_X_y=True)
    return (images / 16).astype(np.float32), labels


def node_images(partition: int, partitions: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What one node holds. Shares differ in size, so that weights matter: the last has about twice the first."""
    images, labels = digits()
    order = np.random.default_rng([seed, 1]).permutation(TRAINING_IMAGES)
    sizes = np.linspace(1, 2, partitions)
    ends = np.rint(np.cumsum(sizes) / sizes.sum() * TRAINING_IMAGES).astype(int)
    mine = np.split(order, ends[:-1])[partition]
    return images[mine], labels[mine]


def held_out_images() -> tuple[np.ndarray, np.ndarray]:
    """What no node holds."""
    images, labels = digits()
    return images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:]


def train(model: Model, images: np.ndarray, labels: np.ndarray, seed: list[int]) -> tuple[Model, float]:
    """One epoch of stochastic gradient descent, the same for the same seed; and the mean loss on the way."""
    model = {name: value.copy() for name, value in model.items()}
    order = np.random.default_rng(seed).permutation(len(labels))
    losses = []
    for batch in np.array_split(order, max(1, len(order) // BATCH)):
        hidden, probabilities = _forward(model, images[batch])
        losses.append(_cross_entropy(probabilities, labels[batch]) * len(batch))
        error = (probabilities - np.eye(CLASSES, dtype=np.float32)[labels[batch]]) / np.float32(len(batch))
        back = (error @ model["output.weight"].T) * (hidden > 0)
        model["output.weight"] -= np.float32(RATE) * (hidden.T @ error)
        model["output.bias"] -= np.float32(RATE) * error.sum(axis=0)
        model["hidden.weight"] -= np.float32(RATE) * (images[batch].T @ back)
        model["hidden.bias"] -= np.float32(RATE) * back.sum(axis=0)
        model["steps"] += 1
    return model, float(np.sum(losses) / len(labels))


def evaluate(model: Model, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Share of images recognised, and mean loss."""
    _, probabilities = _forward(model, images)
    return float((probabilities.argmax(axis=1) == labels).mean()), _cross_entropy(probabilities, labels)


def _forward(model: Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.maximum(images @ model["hidden.weight"] + model["hidden.bias"], 0)
    scores = hidden @ model["output.weight"] + model["output.bias"]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def _cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean())
