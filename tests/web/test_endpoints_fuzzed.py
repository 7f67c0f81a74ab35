"""Generated requests after the application's own OpenAPI document: never a failure of ours."""

import json
import re
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core import NotSet
from tests.bedside_patients import NOW, SERVICE
from tests.bedsides import served
from tests.doors import EVIL, FORMULA, build, csrf_of, doors
from tests.hospitals import new_hospital

from neva.web.security.access import ACCESS, may

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


# ------------------------------------------------------------------------ pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A hospital with people of two roles; nothing is computed but what a page itself does."""
    folder = tmp_path_factory.mktemp("pages")
    with doors(*build(folder), folder / "state.sqlite") as made:
        made.later(minutes=1)
        yield made, {role: made.signed_in(role) for role in ("clinician", "administrator")}


@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data(), role=st.sampled_from(["clinician", "administrator"]))
def test_no_twin_fails(pages, data, role):
    made, clients = pages
    document = clients[role].get("/openapi.json").json()
    path = data.draw(st.sampled_from(sorted(one for one in document["paths"] if ".json" in one)))
    case = data.draw(schemathesis.openapi.from_dict(document)[path]["GET"].as_strategy())
    given_ = dict(case.path_parameters or {})
    if data.draw(st.booleans()) and "subject" in given_:
        given_["subject"] = made.subjects["a1"]
    url = path.format_map({name: quote(str(one), safe="") for name, one in given_.items()})
    query = {} if isinstance(case.query, NotSet) else case.query
    assert clients[role].get(url, params=query).status_code < 500, url


FIELDS = (
    "action", "begun_after", "bed", "code", "disabled", "done", "end", "hash", "kind", "language",
    "mapping", "name", "next", "on_change", "password", "priority", "purpose", "reason", "role",
    "shown", "side_room", "source", "start", "state", "stay", "subject", "task", "text", "to",
    "unit", "units", "value", "version", "why",
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(["", "0", "-1", "1e999", "NaN", "2026-01-01T08:00", "2026-13-45", "alpha", EVIL,
                     FORMULA, "\x00", "9" * 400, "live", "clinician", "expected-discharge",
                     "bed-request", "delay", "isolation", "ceiling", "note", "covid19.news2"]),
    st.text(max_size=40),
)  # fmt: skip


@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    data=st.data(),
    role=st.sampled_from(["clinician", "administrator"]),
    fields=st.dictionaries(st.sampled_from(FIELDS), TEXTS, max_size=8),
)
def test_no_form_fails(pages, data, role, fields):
    made, clients = pages
    path = data.draw(st.sampled_from(sorted(
        path for method, path in ACCESS
        if method == "POST" and path not in ("/sign-out", "/sign-in") and may(role, "POST", path)
    )))  # fmt: skip
    known = {"subject": made.subjects["a1"], "rule": "covid19.steroid-on-oxygen"}
    url = re.sub(r"\{(\w+)\}", lambda found: str(known.get(found[1], "none")), path)
    if "stay" in fields:
        stays = made.application.state.server.whole().stays().collect()
        fields |= {"stay": str(stays["stay_id"][0]), "subject": str(stays["subject_id"][0])}
    answer = clients[role].post(url, data=fields | {"csrf": csrf_of(clients[role])})
    assert answer.status_code < 500, (url, fields)
