import pytest

from contracts.terms import MerchantTerms, Volume
from service.policy.defaults import default_parameters
from service.policy.errors import ParameterError
from service.policy.terms import Agreements


def test_what_a_merchant_leaves_open_is_the_bundles():
    parameters = default_parameters()
    agreed = Agreements(parameters, {"m_1": MerchantTerms(decline_from=0.5, margin_share=0.0)})
    assert (agreed.of("m_1").decline_from, agreed.of("m_1").margin_share) == (0.5, 0.0)
    assert agreed.of("m_1").review_from == parameters.review_from
    assert agreed.of("m_2").decline_from == parameters.decline_from


@pytest.mark.parametrize(
    ("terms", "name"),
    [
        (MerchantTerms(tier_medium=0.8), "tier_medium"),
        (MerchantTerms(tier_high=0.2), "tier_medium"),
        (MerchantTerms(minimum_approval=1.5), "minimum_approval"),
        (MerchantTerms(margin_share=-0.1), "margin_share"),
        (MerchantTerms(acquirer_fraud_basis_points=-1.0), "acquirer_fraud_basis_points"),
        (MerchantTerms(volumes={"a": Volume(cap_minor=-1)}), r"volumes\.a\.cap_minor"),
        (MerchantTerms(volumes={"a": Volume(shortfall_share=2.0)}), r"volumes\.a\.shortfall_share"),
    ],
)
def test_terms_that_contradict_themselves_are_refused_when_the_bundle_is_compiled(compiled, terms, name):
    with pytest.raises(ParameterError, match=rf"merchants\.m_1\.{name}"):
        compiled(merchants={"m_1": terms})
