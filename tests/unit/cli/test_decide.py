"""``neva decide``: rules and their states, scores, the work list, replay, the log."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from neva.decisions.cards import hash_of
from neva.definitions.programme import load_programme
from neva.events.hospital import create_hospital
from neva.state import CardEntry, open_state, state_of
from neva.synthesis import Plan, synthesise

URGENT = "acute-care.news2-urgent"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decide") / "hospital"
    hospital = create_hospital(folder, zone="Europe/Moscow", now=datetime.now(UTC))
    synthesise(hospital, Plan(stays=400, seed=3), now=datetime.now(UTC))
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """The hospital with a state of its own."""
    monkeypatch.setenv("NEVA_STATE", str(tmp_path / "state.sqlite"))
    return made


def test_a_rule_goes_from_draft_to_silent_to_live_and_each_step_is_audited(neva, place):
    refused = neva("decide", "state", place, URGENT, "live", "--reason", "at once")
    assert refused.code == 5
    for to in ("draft", "silent", "live"):
        said = neva("decide", "state", place, URGENT, to, "--reason", "tried", "--actor", "QM")
        assert (said.code, said.out) == (0, f"{URGENT} 1.0.0: {to}\n")
    listed = neva("decide", "rules", place, "--json").json()
    assert {one["rule"]: one["state"] for one in listed}[URGENT] == "live"
    assert {one["state"] for one in listed if one["rule"] != URGENT} == {"draft"}
    assert neva("audit", "verify", place).code == 0


def test_a_rule_whose_content_changed_is_called_changed(neva, place):
    with open_state(state_of(place)) as state:
        for to in ("draft", "silent"):
            state.rules.change(
                URGENT, "1.0.0", "0" * 64, to, actor="t", reason="t", at=datetime.now(UTC)
            )
    listed = neva("decide", "rules", place, "--json").json()
    assert {one["rule"]: one["state"] for one in listed}[URGENT] == "changed"
    said = neva("decide", "work-list", place)
    assert (said.code, "no rule is live" in said.err) == (2, True)


def test_an_unknown_rule_is_named_with_those_there_are(neva, place):
    said = neva("decide", "explain", "acute-care.nothing")
    assert said.code == 4
    assert URGENT in said.err


def test_explain_says_whom_when_and_who_acts(neva):
    said = neva("decide", "explain", "sepsis.antibiotics").out
    for words in ("Whom it is about", "When it holds", "Cleared when", "Owner: ward doctor",
                  "not validated here"):  # fmt: skip
        assert words in said


def test_a_score_shows_its_total_only_with_every_item(neva, place):
    found = neva("decide", "score", place, "--score", "covid19.news2", "--json").json()
    rows = pl.DataFrame(found["scores"], infer_schema_length=None)
    items = rows.drop("subject_id", "stay_id", "total", "at_least")
    whole = rows.filter(pl.col("total").is_not_null())
    assert whole["total"].equals(whole["at_least"])
    assert found["complete"] == items.drop_nulls().height
    least = items.with_columns(pl.all().fill_null(0)).sum_horizontal()
    assert (rows["at_least"] - least).abs().max() == 0


def test_a_list_of_the_past_is_judged_by_its_own_time(neva, place):
    """It said "stale for 1,003 days", against the clock on the wall."""
    words = ("decide", "work-list", place, "--every-rule", "--json")
    cut = datetime.fromisoformat(neva(*words).json()["now"])
    words = (*words, "--as-of")
    assert neva(*words, cut.isoformat()).json()["banner"] == ""
    later = neva(*words, (cut + timedelta(hours=5)).isoformat()).json()["banner"]
    assert later.startswith("THE FEED IS STALE: nothing has been recorded for 5 hours")


def test_a_task_is_taken_on_and_taken_off(neva, place):
    listed = neva("decide", "work-list", place, "--every-rule", "--json").json()
    # No word of the thousand days between the data and the clock on the wall.
    assert listed["banner"].startswith("THIS IS A LIST OF THE PAST: the data end at 20")
    task = listed["tasks"][0]
    who = (place, task["rule"], task["stay_id"])
    assert neva("decide", "acknowledge", *who, "--owner", "Ivanova").code == 0
    again = neva("decide", "work-list", place, "--every-rule", "--json").json()["tasks"]
    mine = [one for one in again if (one["rule"], one["stay_id"]) == who[1:]]
    assert [(one["owner"], one["acknowledged"]) for one in mine] == [("Ivanova", True)]
    assert neva("decide", "acknowledge", *who, "--done").code == 2
    done = neva("decide", "acknowledge", *who, "--done", "--reason", "seen", "--owner", "Ivanova")
    assert done.code == 0
    last = neva("decide", "work-list", place, "--every-rule", "--json").json()["tasks"]
    assert [one for one in last if (one["rule"], one["stay_id"]) == who[1:]] == []
    assert neva("decide", "acknowledge", *who).code == 4


def test_a_replay_says_what_it_rests_on(neva, place, tmp_path):
    page = tmp_path / "replay.html"
    said = neva("decide", "replay", place, "--rule", URGENT, "--every", 6, "--sweep", "--by-unit",
                "--out", page, "--json").json()  # fmt: skip
    assert said["synthetic"] is True
    assert (said["recording_assumed_share"], said["optimistic"]) == (0.0, False)
    whole = [row for row in said["figures"] if row["unit"] is None]
    units = [row for row in said["figures"] if row["unit"] is not None]
    assert sum(row["cards"] for row in units) <= whole[0]["cards"]
    text = page.read_text(encoding="utf-8")
    assert "Synthetic patients" in text
    assert "<script" not in text
    assert f"{whole[0]['cards']:,} cards" in text


def test_a_replay_asks_and_judges_each_shipped_rule_by_itself(neva, place, tmp_path):
    said = neva("decide", "replay", place, "--every", 12, "--json").json()
    by_rule = {row["rule"]: row for row in said["figures"]}
    assert said["outcome_of_all"] is None
    assert len(by_rule) == 10
    home = by_rule["acute-care.discharge-news2"]
    assert home["asked_at"] == "discharges"
    assert home["outcome"] == "Unplanned return or death after discharge"
    assert home["within_hours"] == 720
    assert home["moments"] <= home["recorded"]
    assert not {"patient_days", "cards_per_100_days"} & home.keys()
    assert by_rule[URGENT]["outcome"] == "Intensive care or death in hospital"
    assert "sensitivity" not in by_rule["sepsis.lactate"]
    assert by_rule["sepsis.lactate"]["done_within_hours"] == 3
    # Nobody orders anything in this hospital: no cards are not nought of cards.
    order = by_rule["acute-care.anticoagulant-order"]
    assert (order["assessed"], order["recorded"], "cards" in order) == (False, 0, False)
    page = tmp_path / "replay.html"
    text = neva("decide", "replay", place, "--every", 12, "--sweep", "--out", page).out
    html = page.read_text(encoding="utf-8")
    for words in ("so it could not be assessed", "per 100 discharges", "Done after the card",
                  "Unplanned return or death after discharge"):  # fmt: skip
        assert words in html
    assert "acute-care.anticoagulant-order: no orders that it is about are recorded" in text
    assert "Evaluated once, just before each discharge:" in text
    assert "Each rule is assessed against the outcome that it warns of." in text


def test_an_outcome_for_every_rule_is_said_to_be_one(neva, place):
    words = ("decide", "replay", place, "--every", 12, "--rule", "acute-care.discharge-news2")
    one = (*words, "--outcome", "acute-care.deterioration")
    assert (
        "EVERY rule is assessed against one outcome, not its own: Intensive care" in neva(*one).out
    )
    found = neva(*one, "--horizon", 48, "--json").json()
    assert found["outcome_of_all"] == found["figures"][0]["outcome"]
    assert found["figures"][0]["within_hours"] == 48
    # A feature that a rule warns of keeps how long that rule waits for it.
    own = neva(*words, "--outcome", "acute-care.return-after-discharge", "--json").json()
    assert own["figures"][0]["within_hours"] == 720
    none = neva(*words, "--outcome", "none", "--json").json()
    assert "sensitivity" not in none["figures"][0]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--delay", "LOINC//*"], 2),
        (["--delay", "LOINC//*=-1"], 2),
        (["--threshold", "0.5"], 2),
        (["--outcome", "acute-care.nothing"], 4),
        (["--rule", "nothing"], 4),
    ],
)
def test_what_a_replay_cannot_do_is_said(neva, place, words, code):
    said = neva("decide", "replay", place, *words)
    assert (said.code, said.out) == (code, "")


def test_the_log_counts_silent_and_live_cards_and_feedback(neva, place):
    rule = next(one for one in load_programme("acute-care").rules if one.id == URGENT)
    now = datetime.now(UTC)
    entry = {"rule": rule.id, "version": rule.version, "hash": hash_of(rule), "now": now,
             "subject": "1", "stay": "2", "indicator": "warning", "inputs_hash": "x",
             "service": "neva-patient-view"}  # fmt: skip
    with open_state(state_of(place)) as state:
        state.cards.record(
            [
                CardEntry(card="a", state="live", shown=True, **entry),
                CardEntry(card="b", state="silent", shown=False, **entry),
                CardEntry(card="c", state="live", shown=False, suppressed_because="quiet", **entry),
            ]
        )
        state.feedback.record(
            "neva-patient-view",
            [
                {
                    "card": "a",
                    "outcome": "overridden",
                    "overrideReason": {"reason": {"code": "expected"}},
                    "outcomeTimestamp": now.isoformat(),
                }
            ],
            at=now,
        )
    said = neva("decide", "log", place, "--json").json()
    assert (said["cards"], said["shown"]) == (3, 1)
    assert [(row["cards"], row["quiet"]) for row in said["figures"]] == [(2, 1)]
    assert [(row["cards_shown"], row["overridden"], row["reason"]) for row in said["feedback"]] == [
        (1, 1, "expected")
    ]


def test_serving_other_machines_needs_a_file_of_clients(neva, place):
    said = neva("serve", place, "--host", "0.0.0.0", "--check")
    assert (said.code, "CDS Hooks is not served without --clients" in said.out) == (0, True)
    assert "0 services" in neva("serve", place, "--check").out


@pytest.mark.parametrize(
    ("words", "has", "asks"),
    [
        ((), True, False),
        (("--host", "::1"), True, False),
        (("--host", "0.0.0.0"), False, False),
        (("--base-url", "https://neva.example"), False, False),
        (("--trusted-proxy", "127.0.0.1"), False, False),
        (("--trusted-proxy", "127.0.0.1", "--open-to-everyone"), True, False),
    ],
)
def test_the_check_says_who_can_call_cds_hooks(neva, place, words, has, asks):
    said = neva("serve", place, *words, "--check", "--json").json()
    assert (said["has_cds_hooks"], said["asks_for_tokens"]) == (has, asks)


def test_a_proxy_that_is_no_network_is_refused(neva, place):
    said = neva("serve", place, "--trusted-proxy", "everybody", "--check")
    assert (said.code, "trusted proxy" in said.err) == (2, True)
