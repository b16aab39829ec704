"""Draw README's picture: what a server reads out of uploads, with and without protection, and the mean of both.

    python docs/picture.py docs/assets/server_view.png

Ten clients train a linear model on handwritten digits, one step from zero; five of them have a single image. For an
image x of class y, the gradient of row y of the weights is a multiple of x, and that of bias y the same multiple of
one: their ratio is x. The picture solves that, for uploads as they arrived under `plain` and under `kahe`.
`notebooks/server_view.ipynb` goes further. Keys come from the operating system, so every picture differs in its noise.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

import privfl
from privfl import Phase, VectorSpec, plan_session, simulate
from privfl.learning.data import load
from privfl.wire.envelope import read_frame

CLIENTS: Final = 10
ALONE: Final = 5  # clients with a single image
EXAMPLES: Final = 60  # of each other client
CLASSES: Final = 10
UPLOADS: Final = {Phase.UPLOAD, Phase.MASKED_INPUT}
DIGITS: Final = (3, 0, 8, 2, 5)

Values = npt.NDArray[np.float64]


def images_and_labels() -> list[tuple[Values, npt.NDArray[np.int64]]]:
    """Return what each client has: images of 64 pixels from 0 to 1, and their classes."""
    clients = load("digits", clients=CLIENTS).clients
    images = np.concatenate([one.features.reshape(-1, 64) for one in clients])
    labels = np.concatenate([one.labels for one in clients])
    alone = [[int(np.flatnonzero(labels == digit)[7])] for digit in DIGITS]
    several = [[*range(EXAMPLES * number, EXAMPLES * (number + 1))] for number in range(1, 1 + CLIENTS - ALONE)]
    return [(images[one].astype(np.float64), labels[one]) for one in alone + several]


def gradient(images: Values, labels: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the step of a softmax model that is all zeros: minus the gradient of its mean loss."""
    missed = np.eye(CLASSES)[labels] - 1.0 / CLASSES
    return {
        "weight": (missed.T @ images / len(labels)).astype(np.float32),
        "bias": missed.mean(axis=0).astype(np.float32),
    }


def what_a_server_reads() -> tuple[list[Values], dict[str, list[Values]], dict[str, Values]]:
    """Hold a session under `plain` and one under `kahe`.

    Returns:
        The images of the clients that have a single one; what is solved for from their uploads, and the mean of all
        updates, by suite.
    """
    data = images_and_labels()
    updates = [gradient(*one) for one in data]
    codec = privfl.UpdateCodec(
        layout=privfl.Layout.of(updates[0]), coding=privfl.FixedPoint(clip=1.0, bits=16), weight_max=1.0
    )
    vectors = {number: codec.encode(update).vector for number, update in enumerate(updates)}
    read: dict[str, list[Values]] = {}
    means: dict[str, Values] = {}
    for name in ("plain", "kahe"):
        arrived, params = {}, planned(name, codec)

        def keep(number: int, phase: Phase, message: bytes, *, ring: Any = params.ring, into: Any = arrived) -> None:
            if phase in UPLOADS:
                tail = read_frame(message).tail[-ring.vector_bytes(codec.length) :]
                into[number] = ring.centred(ring.received(tail, codec.length))

        outcome = simulate(params, vectors, watch=keep)
        if outcome.aggregate is None:
            raise SystemExit(f"the session under {name} was aborted: {outcome.aborted}")
        read[name] = [solved(codec, arrived[number]) for number in range(ALONE)]
        mean = codec.decode(outcome.aggregate.vector, contributors=CLIENTS).arrays
        means[name] = np.concatenate([array.ravel() for array in mean.values()]).astype(np.float64)
    return [images[0] for images, _ in data[:ALONE]], read, means


def planned(name: str, codec: privfl.UpdateCodec) -> Any:
    """Return the parameters of a session."""
    return plan_session(
        name,
        cohort=tuple(range(CLIENTS)),
        vector=VectorSpec(length=codec.length, bound=codec.bound),
        nonce=os.urandom(16),
        context=bytes(32),
    )


def solved(codec: privfl.UpdateCodec, numbers: npt.NDArray[Any]) -> Values:
    """Return the image behind the update of one example."""
    update = codec.layout.unflatten(numbers[: codec.layout.length].astype(np.float64))
    label = int(np.argmax(update["bias"]))
    return np.asarray(update["weight"][label] / update["bias"][label])


def draw(true: list[Values], read: dict[str, list[Values]], means: dict[str, Values], path: str) -> None:
    """Write the picture."""
    figure = plt.figure(figsize=(9.0, 3.3), dpi=110)
    left, right = figure.subfigures(1, 2, width_ratios=(1.75, 1.0))
    rows = {"one image\nof each client": true, "read under\nplain": read["plain"], "read under\nkahe": read["kahe"]}
    for line, (name, images) in zip(left.subplots(3, ALONE), rows.items(), strict=True):
        for panel, image in zip(line, images, strict=True):
            panel.imshow(image.reshape(8, 8), cmap="gray_r")
            panel.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center", labelpad=8)
    left.suptitle("What the server reads out of single uploads", fontsize=10)
    left.subplots_adjust(left=0.2, right=0.98, top=0.88, bottom=0.04)
    panel = right.subplots()
    panel.scatter(means["plain"], means["kahe"], s=8, color="tab:blue", linewidths=0)
    panel.set(xlabel="mean under plain", ylabel="mean under kahe", xticks=[-0.05, 0, 0.05], yticks=[-0.05, 0, 0.05])
    panel.set_box_aspect(1)
    panel.tick_params(labelsize=7)
    same = np.array_equal(means["plain"], means["kahe"])
    right.suptitle("The mean of all: " + ("the same, bit for bit" if same else "NOT THE SAME"), fontsize=10)
    right.subplots_adjust(left=0.22, right=0.95, top=0.88, bottom=0.16)
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    draw(*what_a_server_reads(), sys.argv[1])
