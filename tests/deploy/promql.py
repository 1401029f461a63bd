"""What a PromQL expression asks for: the series it names, as far as our own expressions use the language."""

import re
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{(?:[^{}\"]|\"(?:[^\"\\]|\\.)*\")*\})?")
_MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*\"((?:[^\"\\]|\\.)*)\"")
# Words of ours end in none of these prefixes; functions, labels and keywords have none.
_METRIC = re.compile(r"(pointsman|process)_\w+|up")


class Selector(NamedTuple):
    name: str
    matchers: tuple[tuple[str, str, str], ...]

    def takes(self, labels: dict[str, str]) -> bool:
        """Tell whether a series with these labels is one of those asked for."""
        for label, operator, wanted in self.matchers:
            value = labels.get(label, "")
            same = re.fullmatch(wanted, value) is not None if "~" in operator else value == wanted
            if same == operator.startswith("!"):
                return False
        return True

    def __str__(self) -> str:
        inside = ", ".join(f'{label}{operator}"{value}"' for label, operator, value in self.matchers)
        return f"{self.name}{{{inside}}}" if inside else self.name


def selectors(expression: str) -> list[Selector]:
    found = []
    for match in _SELECTOR.finditer(expression):
        if _METRIC.fullmatch(match[1]):
            found.append(Selector(match[1], tuple(_MATCHER.findall(match[2] or ""))))
    return found


def series(scrape: str) -> dict[str, list[dict[str, str]]]:
    """Return the labels of every series of a scrape by its name, as Prometheus stores it."""
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found
