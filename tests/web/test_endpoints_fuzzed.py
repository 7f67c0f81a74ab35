"""Generated requests after the application's own OpenAPI document: never a failure of ours."""

import json
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core import NotSet
from tests.bedside_patients import NOW, SERVICE
from tests.bedsides import served
from tests.hospitals import new_hospital

ENDPOINTS = {
    "/health",
    "/cds-services",
    "/cds-services/{service_id}",
    "/cds-services/{service_id}/feedback",
}


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzzed")
    with served(new_hospital(folder).path, folder, NOW) as made:
        yield made


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST" if "{" in path else "GET", path) for path in sorted(ENDPOINTS)],
)
@settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_no_endpoint_fails(bedside, method, path, data):
    document = bedside.client.get("/openapi.json").json()
    operation = schemathesis.openapi.from_dict(document)[path][method]
    # Half of the calls are of a service that there is, so that they get to its insides.
    case = data.draw(operation.as_strategy())
    name = case.path_parameters.get("service_id", "") if case.path_parameters else ""
    if data.draw(st.booleans()):
        name = SERVICE
    url = path.replace("{service_id}", quote(str(name), safe=""))
    body = None if isinstance(case.body, NotSet) else json.dumps(case.body)
    headers = {"Content-Type": "application/json"}
    answer = bedside.client.request(method, url, content=body, headers=headers)
    assert answer.status_code < 500


def test_every_endpoint_is_described(bedside):
    document = bedside.client.get("/openapi.json").json()
    machines = {path for path in document["paths"] if not path.endswith(".json")}
    assert machines == {*ENDPOINTS, "/metrics"}
    described = {
        f"{path}: {answer}"
        for path, methods in document["paths"].items()
        for method in methods.values()
        for answer in method["responses"]
    }
    assert "/cds-services/{service_id}: 412" in described
    assert "/cds-services/{service_id}/feedback: 401" in described
