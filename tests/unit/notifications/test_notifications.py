"""People are told of tasks once, by the doors configured, without a patient's value."""

import base64
import hashlib
import hmac
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller
from hypothesis import given
from hypothesis import strategies as st
from tests.command_line import CANARY
from tests.sites import free_port
from tests.webhook_receiver import Receiver

from neva.decisions.tasks import Task
from neva.errors import MappingError
from neva.languages.language import Language
from neva.notifications.sending import Sender, wanted
from neva.notifications.settings import Channel, read_notification_settings
from neva.notifications.texts import subject_of
from neva.state import open_state

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
SECRET = b"a secret that nobody guesses"
TASK = Task(
    rule="sepsis.lactate", version="1.2", title="Sepsis: lactate not measured", subject_id=7,
    stay_id=70, unit="ICU", indicator="critical", severity=3.0, summary=f"{CANARY} lactate 4.1",
    detail=f"| {CANARY} | 4.1 |", since=NOW, begun_after=NOW - timedelta(minutes=10),
    owner="ward nurse", tier=0, deadline=NOW + timedelta(hours=1), is_overdue=False,
    acknowledged=False, missing=(),
)  # fmt: skip


class Mailbox:
    """Takes e-mail; refuses as a test says."""

    def __init__(self):
        self.got, self.answers = [], []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  aiosmtpd's name
        if self.answers:
            return self.answers.pop(0)
        self.got.append((envelope.rcpt_tos, envelope.content))
        return "250 OK"


class Site:
    """A state, settings, a clock."""

    def __init__(self, folder, text):
        self.clock = NOW
        (folder / "secret").write_bytes(SECRET + b"\n")
        file = folder / "notifications.yaml"
        file.write_text(text.replace("SECRET", str(folder / "secret")), encoding="utf-8")
        self.state = open_state(folder / "state.sqlite")
        self.read = read_notification_settings(file)
        self.sender = self.new_sender()
        self.note()

    def new_sender(self):
        return Sender(self.state, self.read, Language("en", "Europe/Moscow"), lambda: self.clock)

    def note(self, *tasks):
        self.sender.note(tasks, self.clock)

    def counts(self, channel="pager"):
        return self.state.notifications.counts()[channel]


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def site(tmp_path, receiver):
    with receiver.running() as address:
        made = Site(
            tmp_path,
            f"""
pages: https://neva.example
give_up_after: 2h
channels:
  - {{name: pager, webhook: "{address}", secret_file: SECRET, most_per_hour: 5}}
""",
        )
        with made.state:
            yield made


def test_a_task_is_told_once_signed_and_without_a_value(site, receiver):
    for _ in range(3):
        site.note(TASK)
        site.sender.send_due()
        site.clock += timedelta(minutes=1)
    ((headers, body),) = receiver.got
    identity, time = headers["webhook-id"], headers["webhook-timestamp"]
    signed = f"{identity}.{time}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(time) - NOW.timestamp()) < 1
    content = json.loads(body)
    assert content["type"] == "task.opened"
    assert content["data"]["link"] == "https://neva.example/patient/7"
    assert CANARY not in body.decode()
    assert "4.1" not in body.decode()
    assert site.counts()["sent"] == 1
    (row,) = site.state.audit.rows()
    assert (row.action, row.subject, row.stay) == ("task-notified", "7", "70")


def test_what_is_not_taken_is_tried_again_with_the_same_id_later_and_later(site, receiver):
    receiver.answers = [(500, {}), (503, {"Retry-After": "120"}), (429, {}), (204, {})]
    site.note(TASK)
    waits = []
    for _ in range(4):
        begun = site.clock
        while not site.sender.send_due() and len(receiver.got) <= len(waits):
            site.clock += timedelta(seconds=5)
        waits.append((site.clock - begun).total_seconds())
    assert waits == [0, 10, 120, 40]
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert site.counts() == {"waiting": 0, "sent": 1, "not-needed": 0, "failed": 0}


@pytest.mark.parametrize("status", [400, 401, 404, 410, 413])
def test_a_refusal_that_stays_is_given_up_and_seen(site, receiver, status):
    receiver.answers = [(status, {})]
    site.note(TASK)
    assert site.sender.send_due() == 0
    assert site.counts()["failed"] == 1
    assert site.state.notifications.problems() == {"pager": f"the receiver answered {status}"}


def test_a_redirect_is_not_followed(site, receiver):
    receiver.answers = [(307, {"Location": "http://127.0.0.1:1/elsewhere"})]
    site.note(TASK)
    assert site.sender.send_due() == 0
    assert len(receiver.got) == 1
    assert site.counts()["waiting"] == 1


def test_a_receiver_that_is_away_is_given_up_after_the_time_said(site):
    away = replace_channel(site, webhook=f"http://127.0.0.1:{free_port()}/")
    site.read = away
    site.sender = site.new_sender()
    site.note(TASK)
    for _ in range(40):
        site.sender.send_due()
        site.clock += timedelta(minutes=10)
        site.note(TASK)
    assert site.counts()["failed"] == 1
    assert "cannot be reached" in site.state.notifications.problems()["pager"]


def replace_channel(site, **more):
    (channel,) = site.read.channels
    return site.read.model_copy(update={"channels": (channel.model_copy(update=more),)})


def test_escalation_is_told_by_the_same_door_and_acceptance_ends_it(site, receiver):
    site.note(TASK)
    site.sender.send_due()
    site.clock += timedelta(minutes=30)
    site.note(replace(TASK, tier=1, owner="registrar"))
    site.sender.send_due()
    site.note(replace(TASK, tier=2, owner="consultant"))
    # Somebody accepts it before the next message has left.
    site.note(replace(TASK, tier=2, owner="Dr Adams", acknowledged=True))
    site.sender.send_due()
    kinds = [json.loads(body)["type"] for _, body in receiver.got]
    assert kinds == ["task.opened", "task.escalated"]
    assert site.counts() == {"waiting": 0, "sent": 2, "not-needed": 1, "failed": 0}


def test_a_task_that_is_over_before_it_was_sent_is_not_told(site, receiver):
    site.note(TASK)
    site.note()
    site.sender.send_due()
    assert receiver.got == []
    assert site.counts()["not-needed"] == 1


def test_what_was_on_the_list_before_the_channel_is_not_told(site, receiver):
    site.read = replace_channel(site, name="new")
    site.sender = site.new_sender()
    site.note(TASK, replace(TASK, stay_id=71, tier=1))
    site.sender.send_due()
    assert receiver.got == []
    # A restart begins no channel again.
    site.sender = site.new_sender()
    site.note(TASK, replace(TASK, stay_id=71, tier=1), replace(TASK, stay_id=72))
    site.note(replace(TASK, tier=1), replace(TASK, stay_id=71, tier=1), replace(TASK, stay_id=72))
    site.sender.send_due()
    sent = sorted((json.loads(body)["data"]["stay"], json.loads(body)["type"])
                  for _, body in receiver.got)  # fmt: skip
    assert sent == [("70", "task.escalated"), ("72", "task.opened")]


def test_more_than_the_most_of_an_hour_wait_the_most_urgent_first(site, receiver):
    site.note(
        *(replace(TASK, stay_id=number, since=NOW + timedelta(seconds=number))
          for number in range(8))
    )  # fmt: skip
    site.clock += timedelta(minutes=1)
    for _ in range(10):
        site.sender.send_due()
        site.clock += timedelta(minutes=1)
    assert [json.loads(body)["data"]["stay"] for _, body in receiver.got] == list("01234")
    site.clock += timedelta(hours=1)
    site.sender.send_due()
    assert len(receiver.got) == 8


def test_two_senders_send_once(site, receiver):
    site.note(*(replace(TASK, stay_id=number) for number in range(4)))
    other = site.new_sender()
    threads = [threading.Thread(target=one.send_due) for one in (site.sender, other)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(receiver.got) == 4
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 4


def test_a_crash_between_taking_and_sending_loses_nothing(site, receiver):
    site.note(TASK)
    assert len(site.state.notifications.take("pager", at=site.clock, most=9)) == 1
    assert site.sender.send_due() == 0
    site.clock += timedelta(minutes=2)
    assert site.sender.send_due() == 1


def test_an_email_says_where_and_when_and_nothing_of_the_patient(tmp_path):
    mailbox, port = Mailbox(), free_port()
    mailbox.answers = ["451 try again later"]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        made = Site(
            tmp_path,
            f"""
language: ru
pages: https://neva.example
mail: {{host: 127.0.0.1, port: {port}, security: none, sender: neva@hospital.example}}
channels:
  - {{name: team, email: [a@hospital.example, b@hospital.example]}}
""",
        )
        with made.state:
            made.sender = Sender(
                made.state, made.read, Language("ru", "Europe/Moscow"), lambda: made.clock
            )
            made.note(TASK)
            assert made.sender.send_due() == 0
            assert made.state.notifications.problems() == {"team": "the mail server answered 451"}
            made.clock += timedelta(seconds=10)
            assert made.sender.send_due() == 1
    finally:
        controller.stop()
    ((recipients, raw),) = mailbox.got
    message = message_from_bytes(raw, policy=policy.default)
    text = message.get_content()
    assert recipients == ["a@hospital.example", "b@hospital.example"]
    assert message["Subject"] == "Neva: критическая задача, ICU, выполнить до 13:30"
    assert "https://neva.example/patient/7" in text
    assert "Sepsis: lactate not measured" in text
    assert CANARY not in raw.decode()
    assert "4.1" not in text


@given(
    text=st.text(min_size=1, max_size=40), indicator=st.sampled_from(["critical", "info"]),
    tier=st.integers(0, 3), language=st.sampled_from(["en", "ru"]),
)  # fmt: skip
def test_the_subject_line_is_one_line_without_the_title_or_the_patient(
    text, indicator, tier, language
):
    channel = Channel(name="c", email=("a@b.example",), indicators=("critical", "info"))
    task = replace(TASK, title=f"<{text}>", unit=text, indicator=indicator, tier=tier)
    (one,) = wanted(channel, [task])
    subject = subject_of(one, Language(language, "UTC"))
    assert len(subject.splitlines()) == 1
    assert f"<{text}>" not in subject
    assert "70" not in subject.replace(" ".join(text.split()), "")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, {1}),
        ({"indicators": ("critical", "warning")}, {1, 2}),
        ({"owners": ("registrar",)}, set()),
        ({"owners": ("registrar",), "indicators": ("warning",)}, {2}),
        ({"units": ("ED",)}, set()),
        ({"rules": ("other",)}, set()),
        ({"escalations_only": True, "indicators": ("warning",)}, {2}),
    ],
)
def test_a_channel_is_limited_to_what_concerns_it(limits, expected):
    tasks = [
        replace(TASK, stay_id=1),
        replace(TASK, stay_id=2, indicator="warning", owner="registrar", tier=1),
        replace(TASK, stay_id=3, acknowledged=True),
    ]
    channel = Channel(name="c", email=("a@b.example",), **limits)
    assert {int(one.stay) for one in wanted(channel, tasks)} == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("channels: [{name: a, webhook: 'http://elsewhere.example/', secret_file: s}]", "https"),
        ("channels: [{name: a, webhook: 'https://x.example/'}]", "secret_file"),
        ("channels: [{name: a}]", "email or webhook"),
        ("channels: [{name: a, email: [a@b.c]}]", "mail"),
        (
            (
                "{mail: {host: m.example, security: none, sender: a@b.c}, "
                "channels: [{name: a, email: [a@b.c]}]}"
            ),
            "this machine only",
        ),
        ("channels: [{name: a, email: ['a@b.c\\nBcc: x@y.z']}]", "email"),
        ("channels: []", "channels"),
    ],
)
def test_wrong_settings_are_told(tmp_path, text, problem):
    file = tmp_path / "n.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(MappingError, match=problem):
        read_notification_settings(file)
