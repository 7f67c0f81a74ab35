"""One definition: the bedside, the replay and the scores in bulk say the same."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from tests.bedsides import served
from tests.charts import Charts
from tests.people import People, hour
from tests.property.test_engines_agree import differences

from neva.cds.service import ABOUT_THE_CALL
from neva.decisions.moments import placed
from neva.decisions.replay import cards_of, replay
from neva.definitions.binding import bind
from neva.definitions.points import EachStay, EveryHours
from neva.definitions.programme import load_programme
from neva.definitions.run import answer, points_of
from neva.events.hospital import create_hospital
from neva.synthesis import Plan, synthesise

SERVICE = "neva-patient-view"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bedside") / "hospital"
    made = create_hospital(folder, zone="Europe/Moscow", now=datetime.now(UTC))
    synthesise(made, Plan(stays=600, seed=5), now=datetime.now(UTC))
    return made


def _scores() -> dict[str, object]:
    programme = load_programme("covid19")
    outputs = {one.id: one.value for one in programme.features}
    for score in programme.scores:
        outputs |= {f"{score.id}.{item.name}": item.of for item in score.items}
    return outputs


@pytest.mark.parametrize(
    "population",
    [EachStay(), EachStay(at="start", hours_after_start=24), EachStay(at="end")],
    ids=["now", "24 hours after admission", "discharge"],
)
def test_scores_of_every_stay_are_the_same_at_the_bedside_and_in_bulk(hospital, population):
    snapshot = hospital.snapshot()
    points = points_of(snapshot, population)
    assert points.height > 400
    outputs = _scores()
    bedside = answer(snapshot, outputs, points=points, engine="reference")
    for engine in ("relational", "columnar"):
        bulk = answer(snapshot, outputs, points=points, engine=engine)
        assert bedside.errors.equals(bulk.errors)
        assert differences(bedside.frame, bulk.frame) == []


def _chosen(snapshot) -> pl.DataFrame:
    """Points every hour of some stays, short ones, some with COVID-19, some with sepsis."""
    points = points_of(snapshot, EveryHours(hours=1))
    # By their beginning, not by their pseudonyms: these are other ones in each run.
    begun = pl.col("now").min().alias("begun")
    lengths = points.group_by("stay_id", "subject_id").agg(pl.len(), begun)
    lengths = lengths.filter(pl.col("len") < 150).sort("begun", "len")
    wanted = []
    for code, number in (("ICD10//U07.1", 8), ("CARE//sepsis-triage", 6), ("ICD10//I63*", 1)):
        own = snapshot.events().filter(pl.col("code").str.starts_with(code.rstrip("*")))
        stays = own.select("stay_id").unique().collect()
        wanted.append(
            lengths.join(stays, on="stay_id", how="semi", maintain_order="left").head(number)
        )
    wanted.append(lengths.head(2))
    chosen = points.join(pl.concat(wanted).unique("stay_id"), on="stay_id", how="semi")
    # Live traffic comes in the order of time, patients mixed.
    return (
        chosen.sort("now", "stay_id")
        .drop("point_id")
        .with_row_index("point_id")
        .with_columns(pl.col("point_id").cast(pl.Int64))
    )


def test_replayed_traffic_gives_the_cards_of_the_replay_in_bulk(hospital, tmp_path):
    snapshot = hospital.snapshot()
    points = _chosen(snapshot)
    assert points["stay_id"].n_unique() >= 8
    charts = Charts(snapshot, points["subject_id"].unique().to_list())
    live = {}
    with served(hospital.path, tmp_path, snapshot.now) as bedside:
        service = bedside.bedside.services().service(SERVICE)
        rules = [rule for rule, _ in service.rules]
        for point, subject, stay, now, _ in points.iter_rows():
            bedside.now = now
            answered = bedside.post(
                SERVICE,
                {
                    "hook": "patient-view",
                    "hookInstance": str(point),
                    "context": {
                        "userId": "Practitioner/1",
                        "patientId": str(subject),
                        "encounterId": str(stay),
                    },
                    "prefetch": charts.prefetch(subject, now, service.needs),
                },
            )
            assert answered.status_code == 200
            cards = answered.json()["cards"]
            about_the_call = [card for card in cards if card["source"]["label"] == "Neva"]
            # A stay that was not recorded yet is not assessed: said once, instead of silence.
            assert not about_the_call or len(cards) == 1
            live |= {card["uuid"]: card for card in cards if card not in about_the_call}
        logged = bedside.bedside.state.cards.between(
            points["now"].min(), snapshot.now + timedelta(seconds=1)
        )
        assert bedside.bedside.state.audit.verify() == []
    result = replay(snapshot, rules, points=points)
    bulk = {card.uuid: card.content for card in cards_of(snapshot, result)}
    assert len(bulk) > 30
    assert result.alerts.filter("shown")["rule"].n_unique() >= 5
    assert live == bulk
    # What was held back is the same too.
    assert logged.filter(~pl.col("shown")).height == result.alerts["quiet"].sum()


def _cards(bedside, hook, subject, stay, now, charts, **context):
    """Call a hook; the cards of rules, by id."""
    bedside.now = now
    service = f"neva-{hook}"
    needs = bedside.bedside.services().service(service).needs
    answered = bedside.post(
        service,
        {
            "hook": hook,
            "hookInstance": "1",
            "context": {
                "userId": "Practitioner/1",
                "patientId": str(subject),
                "encounterId": str(stay),
                **context,
            },
            "prefetch": charts.prefetch(subject, now, needs),
        },
    )
    assert answered.status_code == 200
    cards = answered.json()["cards"]
    return {card["uuid"]: card for card in cards if card["source"]["label"] != "Neva"}


def test_a_discharge_at_the_bedside_gives_the_card_of_the_replay(hospital, tmp_path):
    snapshot = hospital.snapshot()
    home = load_programme("acute-care").rules[2]
    result = replay(snapshot, [home])
    bulk = {card.uuid: card.content for card in cards_of(snapshot, result)}
    assert bulk
    points = placed(snapshot, home, bind(snapshot)).points
    with_card = points.join(result.alerts, on="stay_id", how="semi")
    without = points.join(result.alerts, on="stay_id", how="anti").sort("now").head(12)
    chosen = pl.concat([with_card, without])
    charts = Charts(snapshot, chosen["subject_id"].unique().to_list())
    live = {}
    with served(hospital.path, tmp_path, snapshot.now) as bedside:
        for _, subject, stay, now, _ in chosen.iter_rows():
            live |= _cards(bedside, "encounter-discharge", subject, stay, now, charts)
    assert live == bulk


def test_a_draft_order_at_the_bedside_gives_the_card_of_the_replay(hospital, tmp_path):
    order = load_programme("acute-care").rules[3]
    people = People()
    people.admit(1)
    people.event(1, 1, "LOINC//777-3", 30, "10*9/L")
    people.event(1, 1, "LOINC//14682-9", 80, "umol/L")
    for at in (5, 9):  # the second time the drug is in use
        people.event(1, at, "ATC//B01AB05", attributes=[{"key": "kind", "value": "order"}])
    snapshot = people.snapshot(hour(12))
    result = replay(snapshot, [order])
    bulk = {card.uuid: card.content for card in cards_of(snapshot, result)}
    assert len(bulk) == 2
    draft = {
        "resourceType": "MedicationRequest",
        "id": "a",
        "intent": "order",
        "medicationCodeableConcept": {
            "coding": [{"system": "http://www.whocc.no/atc", "code": "B01AB05"}]
        },
    }
    drafts = {"resourceType": "Bundle", "entry": [{"resource": draft}]}
    charts = Charts(snapshot)
    live = {}
    with served(hospital.path, tmp_path, hour(12)) as bedside:
        for now in result.alerts["now"]:
            live |= _cards(bedside, "order-sign", 1, 10, now, charts, draftOrders=drafts)
    said = {uuid: card["summary"] for uuid, card in live.items()}
    # The hospitals of the two have zones of their own, which only the details print.
    assert said == {uuid: card["summary"] for uuid, card in bulk.items()}


def test_the_same_input_and_version_give_the_same_cards(hospital):
    snapshot = hospital.snapshot()
    rules = load_programme("acute-care").rules
    once = cards_of(snapshot, replay(snapshot, rules, every_hours=6))
    again = cards_of(snapshot, replay(snapshot, rules, every_hours=6))
    assert once == again
    assert len({card.uuid for card in once}) == len(once)
    by_database = cards_of(snapshot, replay(snapshot, rules, every_hours=6), engine="relational")
    assert once == by_database


def test_silent_mode_logs_what_live_mode_would_show(hospital, tmp_path):
    snapshot = hospital.snapshot()
    points = _chosen(snapshot).filter(pl.col("point_id") % 6 == 0)
    charts = Charts(snapshot, points["subject_id"].unique().to_list())
    raised = {}
    for name, is_live in (("live", True), ("silent", False)):
        folder = tmp_path / name
        folder.mkdir()
        with served(hospital.path, folder, snapshot.now, live=is_live) as bedside:
            service = bedside.bedside.services().service(SERVICE)
            for _, subject, stay, now, _ in points.iter_rows():
                bedside.now = now
                context = {"userId": "u", "patientId": str(subject), "encounterId": str(stay)}
                body = {
                    "hook": "patient-view",
                    "hookInstance": "1",
                    "context": context,
                    "prefetch": charts.prefetch(subject, now, service.needs),
                }
                cards = bedside.post(SERVICE, body).json()["cards"]
                assert is_live or cards == []
            log = bedside.bedside.state.cards.between(points["now"].min(), snapshot.now)
            # What a call could not assess is said only where rules are live.
            about_calls = log.filter(rule=ABOUT_THE_CALL)
            assert is_live or not about_calls.height
            assert about_calls["shown"].all()
            log = log.filter(pl.col("rule") != ABOUT_THE_CALL)
            raised[name] = log.select("card", "rule", "severity", "suppressed_because")
            assert is_live or not log["shown"].any()
    assert raised["live"].height > 0
    assert raised["live"].equals(raised["silent"])
