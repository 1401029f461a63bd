"""``python -m benchmarks``: prints what there is to run."""

from typing import Final

COMMANDS: Final = (
    ("make bench", "the parts of the hot path in process, each beside its floor"),
    ("python -m benchmarks.hotpath", "every figure of the hot path in one run, beside its floors"),
    ("python -m benchmarks.peers", "six other ways to serve a model and Pointsman, in turns on one core"),
    ("python -m benchmarks.load", "the service over HTTP on loopback, beside a bare ASGI app; --help for the options"),
    ("python -m benchmarks.state_size", "how large online state is, for a population of cards in a real redis-server"),
    (
        "python -m benchmarks.journal",
        "what keeping an event costs, beside SQLite, and what the disk and the switch interval do",
    ),
    ("python -m benchmarks.scoring", "one run of each model, by ONNX Runtime and by its kernel, cold and hot"),
    ("python -m benchmarks.violations", "millions of decisions that race for the same cards: is any rule broken?"),
    ("python -m benchmarks.floor", "that bare ASGI app alone, on port 8081, for a load generator of your own"),
    ("python -m benchmarks.scale", "the features of 1, 3 and 10 million attempts: time, memory, how they grow"),
    (
        "python -m benchmarks.policies",
        "Pointsman against other policies and an oracle on the simulator's scenarios; --quick",
    ),
    (
        "python -m benchmarks.fuzz",
        "hostile bodies through the whole service in process, guided by coverage; --inputs 1000000",
    ),
    ("python -m benchmarks.fuzz.served", "Schemathesis against the served OpenAPI document, all checks"),
    ("make demo", "simulate, train, serve and drive payments through it"),
)


def main() -> None:
    """Print one command a line."""
    width = max(len(command) for command, _ in COMMANDS)
    for command, what in COMMANDS:
        print(f"{command:<{width}}  {what}")
    print("\nHow to read the figures: benchmarks/README.md")


if __name__ == "__main__":
    main()
