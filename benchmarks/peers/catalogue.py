"""The peers: how each is started, asked and understood.

Each runs on one core with one worker, as its own documentation starts it, with its log of requests off where it can be and
whatever else makes it faster on one core on. This module must not know how they are measured.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.peers.forest import CANDIDATES, FEATURES, STATE, Payment
from benchmarks.processes import WebServer, free_port

SERVERS: Final = Path(__file__).parent / "servers"
START_SECONDS: Final = 90.0
_QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "BENTOML_DO_NOT_TRACK": "true",
    "DO_NOT_TRACK": "1",
    "LITSERVE_DISABLE_VERSION_CHECK": "1",
    # One core: more threads only get in each other's way.
    "OMP_NUM_THREADS": "1",
}


class Place(NamedTuple):
    """Where a peer runs.

    Attributes
    ----------
    programs
        Folder of its environment's programs.
    forest
        Folder of the model.
    folder
        Where it may write.
    redis
        URL of a redis-server with the state of every payment.
    cores
        To keep it to.
    """

    programs: Path
    forest: Path
    folder: Path
    redis: str
    cores: set[int]


class Peer(NamedTuple):
    """One peer.

    Attributes
    ----------
    name, does
        As the table says them.
    environment
        Name of its requirements.
    path
        What is asked.
    body
        The question about a payment.
    probabilities
        What its answer says.
    start
        Starts it.
    """

    name: str
    does: str
    environment: str
    path: str
    body: Callable[[Payment], Any]
    probabilities: Callable[[Any], list[float]]
    start: Callable[[Place], WebServer]


def _rows(payment: Payment) -> Any:
    return {"rows": payment.rows}


def _named(payment: Payment) -> Any:
    kept = [column for columns in STATE.values() for column in columns]
    rows = [[0.0 if column in kept else value for column, value in enumerate(row)] for row in payment.rows]
    return {**payment.names, "rows": rows}


def _tensor(payment: Payment) -> Any:
    flat = [value for row in payment.rows for value in row]
    rows = {"name": "rows", "shape": [CANDIDATES, FEATURES], "datatype": "FP32", "data": flat}
    return {"inputs": [rows], "outputs": [{"name": "predict_proba"}]}


def _of_tensor(answer: Any) -> list[float]:
    flat: list[float] = answer["outputs"][0]["data"]
    return flat[1::2]


def _plain(answer: Any) -> list[float]:
    found: list[float] = answer["probabilities"]
    return found


def _serve(
    place: Place, command: list[str], ready: str, port: int, folder: Path | None = None, **more: str
) -> WebServer:
    # Its own programs first on the path: some look there for what they start.
    path = f"{place.programs}:/usr/local/bin:/usr/bin:/bin"
    environment = {
        **_QUIET,
        "FOREST": str(place.forest),
        "FOREST_PORT": str(port),
        "PATH": path,
        "PYTHONPATH": "",
        **more,
    }
    return WebServer(
        [str(place.programs / command[0]), *command[1:]],
        port,
        ready,
        environment,
        place.cores,
        place.folder / "server.log",
        folder=folder or place.folder,
        group=True,
        start_seconds=START_SECONDS,
    )


def _uvicorn(module: str) -> Callable[[Place], WebServer]:
    def start(place: Place) -> WebServer:
        port = free_port()
        options = ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
        quiet = ["--no-access-log", "--log-level", "warning", "--app-dir", str(SERVERS)]
        return _serve(place, ["uvicorn", f"{module}:app", *options, *quiet], "/ready", port, FOREST_REDIS=place.redis)

    return start


def _mlflow(place: Place) -> WebServer:
    model = place.folder / "model"
    if not model.exists():
        subprocess.run(  # noqa: S603  (the peer's own Python)
            [str(place.programs / "python"), str(SERVERS / "save_mlflow.py"), str(model)],
            env={**_QUIET, "FOREST": str(place.forest), "PATH": f"{place.programs}:/usr/bin:/bin"},
            cwd=place.folder,
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
        )
    port = free_port()
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return _serve(place, ["mlflow", "models", "serve", "--model-uri", str(model), *options], "/ping", port)


def _bentoml(place: Place) -> WebServer:
    port = free_port()
    options = ["--working-dir", str(SERVERS), "--host", "127.0.0.1", "--port", str(port)]
    return _serve(
        place, ["bentoml", "serve", "bento:Forest", *options], "/readyz", port, BENTOML_HOME=str(place.folder / "home")
    )


def _mlserver(implementation: str, model: str) -> Callable[[Place], WebServer]:
    def start(place: Place) -> WebServer:
        port = free_port()
        server = {
            "host": "127.0.0.1",
            "http_port": port,
            "grpc_port": free_port(),
            "metrics_port": free_port(),
            # In the server's own process: one hop less than in a process beside it, which is its default.
            "parallel_workers": 0,
        }
        (place.folder / "settings.json").write_text(json.dumps(server))
        settings = {
            "name": "forest",
            "implementation": implementation,
            "parameters": {"uri": str(place.forest / model)},
        }
        (place.folder / "model-settings.json").write_text(json.dumps(settings))
        command = ["mlserver", "start", str(place.folder)]
        return _serve(place, command, "/v2/models/forest/ready", port, PYTHONPATH=str(SERVERS))

    return start


def _litserve(place: Place) -> WebServer:
    port = free_port()
    return _serve(place, ["python", str(SERVERS / "lit.py")], "/health", port)


PEERS: Final = (
    Peer(
        "FastAPI + scikit-learn",
        "rows in, forest in scikit-learn",
        "fastapi-sklearn",
        "/predict",
        _rows,
        _plain,
        _uvicorn("fastapi_sklearn"),
    ),
    Peer(
        "FastAPI + onnxruntime + redis-py",
        "state of three entities read from Redis, forest in ONNX Runtime",
        "fastapi-onnx-redis",
        "/predict",
        _named,
        _plain,
        _uvicorn("fastapi_onnx_redis"),
    ),
    Peer(
        "MLflow models serve",
        "rows in, forest in scikit-learn",
        "mlflow",
        "/invocations",
        lambda payment: {"inputs": payment.rows},
        lambda answer: [row[1] for row in answer["predictions"]],
        _mlflow,
    ),
    Peer("BentoML", "rows in, forest in scikit-learn", "bentoml", "/predict", _rows, _plain, _bentoml),
    Peer(
        "MLServer",
        "rows in, forest in scikit-learn",
        "mlserver",
        "/v2/models/forest/infer",
        _tensor,
        _of_tensor,
        _mlserver("mlserver_sklearn.SKLearnModel", "forest.joblib"),
    ),
    Peer(
        "MLServer, a runtime of one's own",
        "rows in, forest in ONNX Runtime",
        "mlserver-onnx",
        "/v2/models/forest/infer",
        _tensor,
        _of_tensor,
        _mlserver("mlserver_onnx.Forest", "forest.onnx"),
    ),
    Peer("LitServe", "rows in, forest in scikit-learn", "litserve", "/predict", _rows, _plain, _litserve),
)
