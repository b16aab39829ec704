"""What runs on each node: an ordinary Flower client app. The mod is all that protection adds to it."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits_app import task
from privfl.integrations.flower import SecureAggregationMod

app = ClientApp(mods=[SecureAggregationMod()])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the model that came on this node's images, and send it back."""
    images, labels = _images(context)
    round_number = int(message.content["config"]["server-round"])
    seed = [int(context.run_config["seed"]), 2, int(context.node_config["partition-id"]), round_number]
    model, loss = task.train(_model(message), images, labels, seed)
    content = {
        "arrays": ArrayRecord({name: Array(value) for name, value in model.items()}),
        "metrics": MetricRecord({"train_loss": loss, "num-examples": len(labels)}),
    }
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Say how well the model that came does on this node's images."""
    images, labels = _images(context)
    accuracy, loss = task.evaluate(_model(message), images, labels)
    metrics = MetricRecord({"accuracy": accuracy, "loss": loss, "num-examples": len(labels)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _images(context: Context) -> tuple[np.ndarray, np.ndarray]:
    node = context.node_config
    return task.node_images(int(node["partition-id"]), int(node["num-partitions"]), int(context.run_config["seed"]))


def _model(message: Message) -> task.Model:
    """FedAvg's average of counters is a float: a counter is rounded on arrival."""
    model = {name: value.numpy() for name, value in message.content["arrays"].items()}
    return model | {"steps": np.rint(model["steps"]).astype(np.int64)}
