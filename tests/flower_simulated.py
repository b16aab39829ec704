"""A run in Flower's simulation runtime: a process of its own, since Ray leaves threads and settings behind.

    python flower_simulated.py FOLDER

Nodes are Ray's actors: a message of a node finds another process than the one before. What they hold between messages
is Flower's state and their directory. The outcome is written to FOLDER/outcome.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from privfl.integrations.flower import SecureAggregation, SecureAggregationMod

NODES = 5
ROUNDS = 2
SHAPE = (6, 5)
CLIP, WEIGHT_MAX = 0.5, 1000
LOST = 3
"""Partition of the node that fails in the second round."""


def delta(partition: int) -> np.ndarray:
    """How a node changes the model, whatever it is."""
    return np.random.default_rng(partition).normal(0, 0.1, SHAPE).astype(np.float32)


def examples(partition: int) -> int:
    return 10 * (partition + 1)


def client_app(folder: Path):
    app = ClientApp(mods=[SecureAggregationMod()])

    def answer(message, partition, metrics, **records):
        (folder / f"process-{os.getpid()}").touch()
        content = RecordDict({"metrics": MetricRecord({"num-examples": examples(partition), **metrics}), **records})
        return Message(content, reply_to=message)

    @app.train()
    def train(message, context):
        partition = context.node_config["partition-id"]
        if partition == LOST and message.content["config"]["server-round"] == ROUNDS:
            raise RuntimeError("patient 4711 is why")
        model = message.content["arrays"]["w"].numpy()
        arrays = ArrayRecord({"w": Array(model + delta(partition))})
        return answer(message, partition, {"train_loss": float(partition)}, arrays=arrays)

    @app.evaluate()
    def evaluate(message, context):
        partition = context.node_config["partition-id"]
        return answer(message, partition, {"accuracy": partition / NODES})

    return app


def main(folder: Path) -> None:
    server_app = ServerApp()

    @server_app.main()
    def run(grid, context):
        everybody = {"min_train_nodes": NODES, "min_evaluate_nodes": NODES, "min_available_nodes": NODES}
        strategy = SecureAggregation(
            FedAvg(**everybody),
            suite="kahe",
            clip=CLIP,
            weight_max=WEIGHT_MAX,
            metrics={"train_loss": NODES},
            evaluate_metrics={"accuracy": 1.0},
            phase_timeout=300.0,  # Ray takes its time to begin where others are at work
        )
        initial = ArrayRecord({"w": Array(np.zeros(SHAPE, np.float32))})
        result = strategy.start(grid=grid, initial_arrays=initial, num_rounds=ROUNDS)
        outcome = {
            "rounds": [record.to_json() for record in strategy.rounds],
            "process": os.getpid(),
            "arrays": result.arrays["w"].numpy().tolist(),
            "train": {number: dict(metrics) for number, metrics in result.train_metrics_clientapp.items()},
            "evaluate": {number: dict(metrics) for number, metrics in result.evaluate_metrics_clientapp.items()},
        }
        (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")

    run_simulation(
        server_app,
        client_app(folder),
        num_supernodes=NODES,
        backend_config={
            # "local": a Ray of its own, whatever else runs on this machine; two processes for five nodes.
            "init_args": {
                "address": "local",
                "num_cpus": 2,
                "object_store_memory": 80 << 20,
                "include_dashboard": False,
                "_temp_dir": str(folder / "ray"),
            },
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
