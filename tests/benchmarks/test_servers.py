"""The comparison of servers runs, and each of them does the work."""

import pytest

from benchmarks import servers


def test_each_server_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert servers.main(["--seconds", "0.4", "--connections", "4"]) == 0
    rows = [line.rsplit(maxsplit=2) for line in capsys.readouterr().out.splitlines()[1:]]
    assert [name for name, _, _ in rows] == servers.names()
    assert all(float(cost) > 0 and float(rate.replace(",", "")) > 0 for _, cost, rate in rows)
