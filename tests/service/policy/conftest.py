from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.bundle import DataWindow, Manifest
from contracts.payment import AuthRequest, Decline, RetryRequest
from contracts.terms import Capability, FeeSchedule, MerchantTerms
from service.policy import native
from service.policy.defaults import default_parameters
from service.policy.policy import Policy
from service.policy.rules import FOLDER, Rules

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAYMENT: dict[str, Any] = {
    "payment_id": "pay_1",
    "merchant_id": "m_1",
    "amount_minor": 10_000,
    "currency": "USD",
    "card_token": "tok_1",
    "card_network": "visa",
    "issuer_country": "US",
}


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def rules() -> Rules:
    return Rules.load()


NATIVE = pytest.param(True, id="native", marks=pytest.mark.skipif(not native.THERE, reason="the kernels are not built"))


@pytest.fixture(scope="session", params=[pytest.param(False, id="pure"), NATIVE])
def compiled(compiled_as: Callable[..., Policy], request: pytest.FixtureRequest) -> Callable[..., Policy]:
    """Compile a policy as `compiled_as` does, of the pure modules, then with the kernels: one answers as the other."""
    return partial(compiled_as, request.param)


@pytest.fixture(scope="session")
def compiled_as(rules: Rules) -> Callable[..., Policy]:
    """Compile a policy: keywords replace default parameters; `retry`, `fees`, `capabilities` and `merchants` those parts."""

    def compile_policy(
        kernels: bool,
        *,
        fees: dict[str, FeeSchedule] | None = None,
        capabilities: dict[str, Capability] | None = None,
        merchants: dict[str, MerchantTerms] | None = None,
        retry: dict[str, Any] | None = None,
        with_rules: Rules | None = None,
        **parameters: Any,
    ) -> Policy:
        chosen = msgspec.structs.replace(default_parameters(), **{"exploration": 0.0, **parameters})
        if retry:
            chosen = msgspec.structs.replace(chosen, retry=msgspec.structs.replace(chosen.retry, **retry))
        manifest = Manifest(
            format=1,
            version="b",
            created_at=NOW,
            feature_fingerprint="f",
            features=(),
            encodings={},
            models={},
            processors=fees or {},
            priors={},
            policy=chosen,
            data=DataWindow(first=NOW, last=NOW, attempts=0, payments=0, train_until=NOW, test_from=NOW),
            capabilities=capabilities or {},
            merchants=merchants or {},
        )
        return Policy.compile(manifest, with_rules or rules, compiled=kernels)

    return compile_policy


@pytest.fixture(scope="session")
def payment() -> Callable[..., AuthRequest]:
    return lambda **changes: AuthRequest(**{**PAYMENT, **changes})


@pytest.fixture(scope="session")
def declined() -> Callable[..., RetryRequest]:
    """A payment declined just now at processor `a`: code, advice, reason, at, and changes of the payment."""

    def build(
        code: str | None = None,
        advice: str | None = None,
        reason: str | None = None,
        at: datetime | None = NOW,
        processor: str = "a",
        **changes: Any,
    ) -> RetryRequest:
        decline = Decline(
            processor=processor, response_code=code, advice_code=advice, decline_reason=reason, declined_at=at
        )
        return RetryRequest(**{**PAYMENT, **changes}, decline=decline)

    return build


@pytest.fixture
def override(tmp_path: Path) -> Callable[[str], Rules]:
    """Load the shipped rules with a shop's own file over them."""

    def load(text: str) -> Rules:
        file = tmp_path / "own.toml"
        file.write_text(text)
        return Rules.load(FOLDER, override=file)

    return load
