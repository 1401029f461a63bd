from collections.abc import Mapping

from service.policy.constraints import Able
from service.policy.fees import Fees
from service.policy.rules import Rules
from service.policy.terms import Agreements

class Facts:
    def __init__(
        self,
        rules: Rules,
        fees: Fees,
        agreements: Agreements,
        ables: Mapping[str, Able],
        own_low: Mapping[str, int],
    ) -> None: ...
