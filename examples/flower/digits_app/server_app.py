"""What runs at the server: an ordinary Flower server app, with its strategy wrapped."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Result

from digits_app import task
from privfl.integrations.flower import SecureAggregation

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for as many rounds as the run asks for, and write down what each round's model was."""
    config = context.run_config
    nodes = int(config["min-nodes"])
    strategy = FedAvg(min_train_nodes=nodes, min_evaluate_nodes=nodes, min_available_nodes=nodes)
    if config["secure"]:
        strategy = SecureAggregation(
            strategy,
            suite=str(config["suite"]),
            clip=float(config["clip"]),
            weight_max=int(config["weight-max"]),
            metrics={"train_loss": 10.0},  # and the largest value that each may have
            evaluate_metrics={"accuracy": 1.0, "loss": 10.0},
            minimum_contributors=nodes,
            phase_timeout=float(config["phase-timeout"]),
            train_timeout=float(config["phase-timeout"]),
            run_config=config,  # nodes read theirs: it must be the same
        )
    models, times = {}, {}
    images, labels = task.held_out_images()

    def watch(round_number: int, arrays: ArrayRecord) -> MetricRecord:
        times[round_number] = time.monotonic()
        models[round_number] = {name: value.numpy() for name, value in arrays.items()}
        accuracy, loss = task.evaluate(models[round_number], images, labels)
        return MetricRecord({"accuracy": accuracy, "loss": loss})

    initial = {name: Array(value) for name, value in task.initial_model(int(config["seed"])).items()}
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(initial),
        num_rounds=int(config["num-server-rounds"]),
        timeout=float(config["phase-timeout"]),
        evaluate_fn=watch,
    )
    if config["output"]:
        _write(Path(str(config["output"])), models, times, result, getattr(strategy, "rounds", []))


def _write(
    output: Path, models: dict[int, task.Model], times: dict[int, float], result: Result, protected: list
) -> None:
    """`output`.json: a row a round, and a record a secure sum. `output`.npz: every round's arrays, as `round/name`."""
    np.savez(
        output.with_suffix(".npz"), **{f"{n}/{name}": array for n, m in models.items() for name, array in m.items()}
    )
    rows = [
        {
            "round": number,
            "digest": _digest(model),
            "seconds": times[number] - times.get(number - 1, times[number]),
            "held_out": dict(result.evaluate_metrics_serverapp[number]),
            "train": dict(result.train_metrics_clientapp.get(number, {})),
            "evaluate": dict(result.evaluate_metrics_clientapp.get(number, {})),
        }
        for number, model in models.items()
    ]
    secure = [record.to_json() for record in protected]
    text = json.dumps({"rounds": rows, "secure": secure}, indent=1)
    output.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def _digest(model: task.Model) -> str:
    return hashlib.sha256(b"".join(name.encode() + model[name].tobytes() for name in sorted(model))).hexdigest()
