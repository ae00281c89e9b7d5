"""Prints where the AWS SDK for Python sends EC2, Organizations and STS: its own rule sets, in every Region that it knows.

Run by tests/inventory/endpoints.rs with the Python of the test stack, which has botocore for moto.
One line an address: service, Region, what was wished for, URL (or `refused`), the Region that it is signed for.
"""

import botocore.session
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError

session = botocore.session.get_session()
loader = session.get_component("data_loader")
partitions = loader.load_data("partitions")
WISHES = {"": (False, False), "fips": (True, False), "dual": (False, True), "fips+dual": (True, True)}


def address(provider, region, fips, dual):
    try:
        endpoint = provider.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual)
    except EndpointProviderError:
        return "refused", "-"
    schemes = endpoint.properties.get("authSchemes", [])
    signed_for = next((scheme["signingRegion"] for scheme in schemes if "signingRegion" in scheme), region)
    return endpoint.url + "/", signed_for


for service in ("ec2", "organizations", "sts"):
    rules = loader.load_service_model(service, "endpoint-rule-set-1")
    provider = EndpointProvider(rules, partitions)
    for partition in partitions["partitions"]:
        for region in partition["regions"]:
            # `aws-global` and its siblings are names of partitions.
            if region.endswith("-global"):
                continue
            for wish, (fips, dual) in WISHES.items():
                print(service, partition["id"], region, wish or "-", *address(provider, region, fips, dual))
