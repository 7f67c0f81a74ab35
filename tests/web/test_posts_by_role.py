"""Every POST there is, by everybody, rightly and wrongly sent: only what may be done is done."""

import hashlib
import re

import pytest
import sqlalchemy as sa
from tests.doors import NOW, PASSWORD, build, csrf_of, doors
from tests.web.test_doors import routes_of

from neva.decisions.cards import hash_of
from neva.jobs.kept_uploads import uploads_folder
from neva.state import ROLES, tables
from neva.web.security.access import ACCESS, PUBLIC, may

NOBODY = "nobody"
RULE = "covid19.steroid-on-oxygen"
FILE = {"file": ("ward.csv", b"Patient;Date;What;Result\n007;2024-05-01 08:00;lactate;1.5\n")}
#: Written besides: who did it, who guessed, when a session was used last.
NOT_COMPARED = {"audit", "attempts", "devices"}
SCENARIO = "name: two more beds\n"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return build(tmp_path_factory.mktemp("posts"))


class Probe:
    """A served hospital in which every form has something to act on."""

    def __init__(self, made, actor):
        self.made, self.actor = made, actor
        self.client = made.client() if actor == NOBODY else made.signed_in(actor)
        self.token = "" if actor == NOBODY else csrf_of(self.client)
        state, rules = made.state, made.application.state.bedside.rules
        rule = next(rule for id_, rule in rules.items() if id_ != RULE)
        self.job = state.jobs.add("measures", {}, key="k", actor="other", at=NOW).id
        self.proposal = state.proposals.make(
            rule.id, rule.version, hash_of(rule), "draft", reason="r", actor="other", at=NOW
        ).id
        self.scenario = state.scenarios.save(
            "x", "name: three more beds\n", hospital="h", actor="other", at=NOW
        ).id
        snapshot = made.application.state.server.snapshot()
        moves = snapshot.movements().collect()
        subject = made.subjects["a1"]
        self.stay = moves.filter(moves["subject_id"] == subject)["stay_id"][0]
        state.entries.add(
            id="e1", subject=str(subject), stay=str(self.stay), kind="medically-fit", value="yes",
            details={}, start=NOW, end=None, actor="other", at=NOW,
        )  # fmt: skip
        self.upload = "0" * 32
        if actor != NOBODY and may(actor, "POST", "/data/upload"):
            answer = self.client.post("/data/upload", data={"csrf": self.token}, files=FILE)
            assert answer.status_code == 303, answer.text
            self.upload = answer.headers["location"].rpartition("/")[2]

    def address(self, path):
        values = {
            "subject": str(self.made.subjects["a1"]), "rule": RULE, "job": self.job,
            "proposal": self.proposal, "scenario": self.scenario, "entry": "e1", "feed": "none",
            "upload": self.upload, "account": "viewer" if self.actor != "viewer" else "analyst",
        }  # fmt: skip
        return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)

    def form(self, path):
        """A form that does something, where the route is known to this test."""
        return {
            "/sign-in": {"name": "analyst", "password": PASSWORD},
            "/language": {"language": "ru"},
            "/work-list/entries": {"kind": "medically-fit", "stay": str(self.stay)},
            "/work-list/acknowledge": {
                "rule": RULE, "stay": str(self.stay), "begun_after": "2026-01-01T00:00:00Z",
            },
            "/patient/{subject}/purpose": {"purpose": "treatment"},
            "/decisions/rules/{rule}/propose": {"to": "draft", "reason": "r"},
            "/flow/scenarios": {"text": SCENARIO},
            "/data/upload/{upload}": {"action": "delete"},
            "/accounts": {"name": "new", "role": "viewer", "password": PASSWORD},
            "/accounts/{account}": {"role": "viewer", "shown": "Other"},
        }.get(path, {})  # fmt: skip

    def post(self, path, *, csrf, **headers):
        more = {"files": FILE} if path == "/data/upload" else {}
        data = {"unknown": "1"} | self.form(path) | ({} if csrf is None else {"csrf": csrf})
        answer = self.client.post(self.address(path), data=data, headers=headers, **more)
        assert answer.status_code < 500, (self.actor, path, answer.text[:300])
        return answer

    def state(self):
        """Everything that a form can change."""
        found = {}
        with self.made.state.reading() as connection:
            for table in tables.metadata.sorted_tables:
                if table.name in NOT_COMPARED:
                    continue
                columns = [one for one in table.c if (table.name, one.name) != ("sessions", "seen")]
                rows = connection.execute(sa.select(*columns)).all()
                found[table.name] = sorted(map(repr, rows))
        hospital = self.made.settings.hospital
        for folder in {hospital, uploads_folder(hospital)}:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and "state.sqlite" not in path.name:
                    found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


@pytest.fixture(params=[NOBODY, *ROLES, "alpha"])
def probe(request, hospital, tmp_path, monkeypatch):
    monkeypatch.setenv("NEVA_UPLOADS", str(tmp_path / "uploads"))
    with doors(*hospital, tmp_path / "state.sqlite") as made:
        yield Probe(made, request.param)


def posts(probe):
    """Every POST of the application, so that a new one is probed too; the way out is the last."""
    found = [path for method, path in routes_of(probe.made.application) if method == "POST"]
    assert len(found) > 15
    return sorted(found, key=lambda path: (path == "/sign-out", path))


def role_of(actor):
    return {"alpha": "clinician"}.get(actor, actor)


def is_let_in(probe, path):
    if probe.actor == NOBODY:
        return ACCESS["POST", path] is PUBLIC
    return may(role_of(probe.actor), "POST", path)


def test_a_post_with_a_wrong_token_or_from_elsewhere_does_nothing(probe):
    before = probe.state()
    for path in posts(probe):
        wrong = [
            {"csrf": probe.token, "origin": "https://evil.example"},
            {"csrf": probe.token, "origin": "null"},
            {"csrf": probe.token, "sec-fetch-site": "cross-site"},
            {"csrf": probe.token, "host": "evil.example"},
        ]
        if probe.actor != NOBODY:  # without a session there is no token
            wrong += [{"csrf": None}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "Ж"}]
        for one in wrong:
            status = probe.post(path, **one).status_code
            refused = {403, 421} if is_let_in(probe, path) else {303, 403, 421}
            assert status in refused, (path, one, status)
            assert probe.state() == before, (path, one)


def test_a_post_that_the_table_does_not_permit_does_nothing(probe):
    before = probe.state()
    for path in posts(probe):
        if is_let_in(probe, path):
            continue
        answer = probe.post(path, csrf=probe.token)
        if probe.actor == NOBODY:
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/sign-in?next=")
        else:
            assert answer.status_code == 403, path
        assert probe.state() == before, path


#: What a form may touch; everything else stays as it was.
TOUCHES = {
    "/sign-in": {"sessions", "purposes"},
    "/language": set(),
    "/sign-out": {"sessions", "purposes"},
    "/work-list/entries": {"entries", "jobs"},
    "/work-list/entries/{entry}/withdraw": {"entries", "jobs"},
    "/work-list/acknowledge": {"work_items", "jobs"},
    "/flow/scenarios": {"scenarios", "jobs"},
    "/flow/scenarios/{scenario}/run": {"jobs"},
    "/patient/{subject}/purpose": {"purposes"},
    "/decisions/rules/{rule}/propose": {"proposals", "rule_states", "rule_changes"},
    "/decisions/proposals/{proposal}/confirm": {"proposals", "rule_states", "rule_changes"},
    "/decisions/proposals/{proposal}/decline": {"proposals"},
    "/data/upload": {"files"},
    "/data/upload/{upload}": {"files"},
    "/data/upload/{upload}/import": {"jobs"},
    "/data/feeds/{feed}/accept": {"files"},
    "/data/feeds/{feed}/withdraw": {"files"},
    "/jobs/{job}/cancel": {"jobs", "job_log"},
    "/accounts": {"accounts"},
    "/accounts/{account}": {"accounts"},
}
#: The others find nothing to do: the board is not made, the file was not tried, no feed is there.
DONE = set(TOUCHES) - {
    "/language", "/work-list/entries", "/data/upload/{upload}/import",
    "/decisions/proposals/{proposal}/decline",
    "/data/feeds/{feed}/accept", "/data/feeds/{feed}/withdraw",
}  # fmt: skip


def test_a_post_that_is_permitted_does_its_own_and_nothing_else(probe):
    done = set()
    for path in posts(probe):
        if not is_let_in(probe, path) or (path == "/sign-in" and probe.actor != NOBODY):
            continue
        before = probe.state()
        assert probe.post(path, csrf=probe.token).status_code != 403, path
        after = probe.state()
        known = {table.name for table in tables.metadata.sorted_tables}
        changed = {
            name if name in known else "files"
            for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)
        }
        assert changed <= TOUCHES[path], path
        if changed:
            done.add(path)
    # A probe that would do nothing by the right person neither shows anything by a wrong one.
    wanted = {path for path in DONE if is_let_in(probe, path)}
    assert wanted - done <= ({"/sign-in"} if probe.actor != NOBODY else set())
