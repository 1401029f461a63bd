"""``python -m contracts``: writes the JSON Schemas of every wire message to ``contracts/schemas/``."""

from contracts.schema import write_all

if __name__ == "__main__":
    for path in write_all():
        print(path)  # noqa: T201
