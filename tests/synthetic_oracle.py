"""The measures of the synthetic hospital, slowly: dicts and loops over a snapshot's rows.

Written from the definitions alone; shares no code with the generator.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from neva.events.snapshot import Snapshot

HOUR = timedelta(hours=1)
STEROIDS = {"ATC//H02AB02", "ATC//H02AB04", "ATC//H02AB06", "ATC//H02AB09"}
HEPARINS = {"ATC//B01AB05", "ATC//B01AB04"}
ANTICOAGULANTS = {"ATC//B01AA03", "ATC//B01AF01", "ATC//B01AF02"}
ANTITHROMBOTICS = {"ATC//B01AC06", "ATC//B01AC04"} | ANTICOAGULANTS
STRONGER = {
    "CARE//oxygen-high-flow",
    "CARE//ventilation-non-invasive",
    "CARE//ventilation-invasive",
}
OXYGEN = {"CARE//oxygen-nasal-or-mask"} | STRONGER
REVIEWS = {"CARE//antibiotic-review", "CARE//antibiotic-stopped"}


class Patient:
    """One stay with all rows of its subject."""

    def __init__(self, oracle, stay):
        self.oracle, self.cut = oracle, oracle.cut
        self.stay = stay
        self.start, self.end = stay["start"], stay["end"]
        self.events = oracle.events[stay["subject_id"]]
        self.movements = oracle.movements[stay["subject_id"]]
        self.others = [s for s in oracle.stays if s["subject_id"] == stay["subject_id"]]

    def inside(self, time):
        return self.start <= time and (self.end is None or time <= self.end)

    def times(self, codes, *, status="done", during=True, **conditions):
        codes = {codes} if isinstance(codes, str) else codes
        return [
            e["time"]
            for e in self.events
            if e["code"] in codes
            and e["status"] == status
            and (not during or self.inside(e["time"]))
            and all(e[name] == wanted for name, wanted in conditions.items())
        ]

    def antibiotics(self, *, during=True):
        return [
            e["time"]
            for e in self.events
            if e["code"].startswith("ATC//J01")
            and e["status"] == "done"
            and (not during or self.inside(e["time"]))
        ]

    def adult(self):
        born = self.oracle.born.get(self.stay["subject_id"])
        if born is None:
            return None
        today = self.start.astimezone(self.oracle.zone).date()
        years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
        return years >= 18

    def positive(self):
        found = [
            t
            for t in self.times("LOINC//94500-6", during=False, text="detected")
            if t >= self.start - timedelta(days=14) and (self.end is None or t <= self.end)
        ]
        return min(found, default=None)

    def population(self, *parts):
        """Kleene: a false part wins over an unknown one."""
        if any(part is False for part in parts):
            return "outside"
        return "unknown" if any(part is None for part in parts) else None

    def covid(self, *parts):
        inpatient = self.stay["kind"] == "inpatient"
        return self.population(inpatient, self.positive() is not None, self.adult(), *parts)

    def clocked(self, met, due, *, left=False, never=False):
        if never and (due is None or self.cut < due):
            return "pending", due
        if left and not met and self.end is not None and self.end < due:
            return "excluded"
        if met:
            return "met", due
        return ("pending" if due is None or self.cut < due else "failed"), due

    def calendar(self, days):
        local = self.end.astimezone(self.oracle.zone).replace(tzinfo=None) + timedelta(days=days)
        return local.replace(tzinfo=self.oracle.zone).astimezone(UTC)

    def returned(self, until):
        return any(
            s["kind"] in ("inpatient", "emergency")
            and s["source"] != "elective"
            and self.end < s["start"] <= until
            for s in self.others
        )


class Oracle:
    def __init__(self, snapshot: Snapshot, cut: datetime):
        self.cut = cut
        self.zone = ZoneInfo(snapshot.zone)
        self.stays = snapshot.stays().collect().to_dicts()
        self.born = {
            s["subject_id"]: s["birth_date"] for s in snapshot.subjects().collect().to_dicts()
        }
        self.sex = {s["subject_id"]: s["sex"] for s in snapshot.subjects().collect().to_dicts()}
        self.events = defaultdict(list)
        for e in snapshot.events().collect().to_dicts():
            if e["time"] <= cut and e["recorded"] <= cut:
                self.events[e["subject_id"]].append(e)
        self.movements = defaultdict(list)
        icu = {u["unit"] for u in snapshot.units().collect().to_dicts() if u["kind"] == "icu"}
        for m in snapshot.movements().collect().to_dicts():
            if m["unit"] in icu:
                self.movements[m["subject_id"]].append(m["start"])

    def answers(self):
        """By stay id and measure: status, due, value."""
        found = {}
        for stay in self.stays:
            patient = Patient(self, stay)
            for name, measure in MEASURES.items():
                answer = measure(patient)
                status, due, value = (
                    (*answer, None, None)[:3] if isinstance(answer, tuple) else (answer, None, None)
                )
                found[stay["stay_id"], name] = status, due, value
        return found


def steroid_when_on_oxygen(p):
    oxygen = min(p.times(OXYGEN), default=None)
    if said := p.covid(oxygen is not None):
        return said
    flags = {
        "CARE//saturation-target-88-92", "CARE//palliative-care", "CARE//ceiling-of-care",
        "CARE//steroid-contraindicated",
    }  # fmt: skip
    due = oxygen + 24 * HOUR
    if any(t <= due for t in p.times(flags)):
        return "excluded"
    return p.clocked(
        any(p.start - 24 * HOUR < t <= due for t in p.times(STEROIDS, during=False)),
        due,
        left=True,
    )


def no_steroid_without_oxygen(p):
    if said := p.covid(not p.times(OXYGEN)):
        return said
    if p.times("CARE//other-steroid-indication"):
        return "excluded"
    if any(e["code"].startswith(("ICD10//Z94", "ICD10//J45", "ICD10//E27")) for e in p.events):
        return "excluded"
    month = 30 * 24 * HOUR
    if any(p.start - month < t < p.start for t in p.times(STEROIDS, during=False)):
        return "excluded"
    if p.end is None:
        return "pending"
    return "failed" if p.times(STEROIDS) else "met"


def thromboprophylaxis(p):
    if said := p.covid():
        return said
    due = p.start + 14 * HOUR
    flags = {"CARE//anticoagulation-therapeutic", "CARE//anticoagulant-contraindicated"}
    if any(p.start - 24 * HOUR <= t <= due for t in p.times(flags, during=False)):
        return "excluded"
    withheld = p.times(HEPARINS, status="not-done", during=False, reason="REASON//contraindicated")
    if any(p.start <= t <= due for t in withheld):
        return "excluded"
    given = any(p.start <= t <= due for t in p.times(HEPARINS, during=False))
    return p.clocked(given, due, left=True)


def no_antibiotic(p):
    if said := p.covid():
        return said
    due = p.start + 48 * HOUR
    for e in p.events:
        if not (p.start <= e["time"] <= due and e["status"] == "done"):
            continue
        if e["code"] == "CARE//bacterial-infection-suspected":
            return "excluded"
        if e["code"] == "CARE//blood-culture" and e["text"] == "positive":
            return "excluded"
        if e["code"] == "LOINC//33959-8" and e["value"] >= 0.5:
            return "excluded"
    closes = due if p.end is None else min(due, p.end)
    if p.cut < closes:
        return "pending", closes
    given = any(p.start <= t <= due for t in p.antibiotics(during=False))
    return ("failed" if given else "met"), closes


def antibiotic_review(p):
    first = min(p.antibiotics(), default=None)
    if said := p.covid(first is not None):
        return said
    due = first + 72 * HOUR
    after = [t for t in p.times(REVIEWS, during=False) if t > first]
    if p.end is not None and p.end < due and not any(t <= p.end for t in after):
        return "excluded"
    return p.clocked(any(t <= due for t in after), due)


def baseline(p):
    if said := p.covid():
        return said
    due = p.start + 24 * HOUR
    wanted = [
        "LOINC//1988-5", "LOINC//6690-2", "LOINC//2532-0", {"LOINC//14682-9", "LOINC//22664-7"},
        "LOINC//2276-4", "LOINC//48065-7", "CARE//chest-imaging", "CARE//electrocardiogram",
    ]  # fmt: skip
    there = [any(p.start <= t <= due for t in p.times(c, during=False)) for c in wanted]
    return p.clocked(all(there), due, left=True)


def in_target_range(p):
    oxygen = min(p.times(OXYGEN), default=None)
    if said := p.covid(oxygen is not None):
        return said
    episodes = [
        e for e in p.events
        if e["code"] in OXYGEN and e["status"] == "done" and p.inside(e["time"])
    ]  # fmt: skip
    stop = max(episodes, key=lambda e: e["time"])["end_time"]
    stop = p.cut if stop is None or stop > p.cut else stop
    low, high = (88, 92) if p.times("CARE//saturation-target-88-92") else (92, 96)
    readings = sorted(
        (e["time"], e["value"])
        for e in p.events
        if e["code"] == "LOINC//59408-5" and e["status"] == "done"
    )
    inside = total = timedelta(0)
    for k, (time, value) in enumerate(readings):
        until = time + 4 * HOUR
        if k + 1 < len(readings):
            until = min(until, readings[k + 1][0])
        held = min(until, stop) - max(time, oxygen)
        if held > timedelta(0):
            total += held
            if low <= value <= high:
                inside += held
    return ("measured", None, inside / total) if total else "unknown"


def review_after_news2(p):
    alarm = min(
        (
            e["time"] for e in p.events
            if e["code"] == "CARE//news2" and e["status"] == "done" and e["value"] >= 7
            and p.inside(e["time"])
        ),
        default=None,
    )  # fmt: skip
    if said := p.covid(alarm is not None):
        return said
    due = alarm + HOUR / 2
    reviews = p.times("CARE//clinical-review", during=False)
    return p.clocked(any(alarm <= t <= due for t in reviews), due)


def hours_to_intensive_care(p):
    support = min(p.times(STRONGER), default=None)
    moves = [t for t in p.movements if support and p.inside(t) and t >= support]
    if said := p.covid(support is not None, bool(moves)):
        return said
    return "measured", None, (min(moves) - support) / HOUR


def death(p):
    if said := p.covid(p.end is not None):
        return said
    return "met" if p.stay["outcome"] == "died" else "failed"


def readmission(p):
    alive = p.stay["outcome"] in ("home", "care-facility")
    if said := p.covid(p.end is not None, alive):
        return said
    due = p.calendar(30)
    return p.clocked(p.returned(due), due, never=True)


def progression(p):
    mask = min(p.times("CARE//oxygen-nasal-or-mask"), default=None)
    stronger = p.times(STRONGER)
    if said := p.covid(mask is not None, not (mask and any(t < mask for t in stronger))):
        return said
    worse = any(t > mask for t in stronger) or p.stay["outcome"] == "died"
    return p.clocked(worse, p.end, never=True)


def nosocomial(p):
    if said := p.covid():
        return said
    return "met" if p.positive() > p.start + 7 * 24 * HOUR else "failed"


def covid_length(p):
    if said := p.covid(p.end is not None):
        return said
    return "measured", None, (p.end - p.start) / (24 * HOUR)


def thromboprophylaxis_by_the_next_day(p):
    if said := p.covid():
        return said
    zone = p.oracle.zone
    day = p.start.astimezone(zone).date() + timedelta(days=2)
    due = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    flags = {"CARE//anticoagulation-therapeutic", "CARE//anticoagulant-contraindicated"}
    flagged = [t for t in p.times(flags, during=False) if p.start - timedelta(days=1) <= t <= due]
    withheld = p.times(HEPARINS, status="not-done", during=False, reason="REASON//contraindicated")
    if flagged or any(p.start <= t <= due for t in withheld):
        return "excluded"
    given = any(p.start <= t < due for t in p.times(HEPARINS, during=False))
    return p.clocked(given, due, left=True)


def blocker(p):
    hypoxic = p.times(OXYGEN) + [
        e["time"]
        for e in p.events
        if e["code"] == "LOINC//59408-5" and e["value"] < 92 and p.inside(e["time"])
    ]
    inflamed = [
        e["time"]
        for e in p.events
        if e["code"] == "LOINC//1988-5" and e["value"] >= 75 and p.inside(e["time"])
    ]
    steroids = [t for t in p.times(STEROIDS, during=False) if t > p.start - timedelta(hours=24)]
    if said := p.covid(bool(hypoxic), bool(inflamed), bool(steroids)):
        return said
    flags = {
        "CARE//palliative-care",
        "CARE//ceiling-of-care",
        "CARE//immunosuppressant-contraindicated",
    }
    due = max(min(hypoxic), min(inflamed), min(steroids), p.start) + 48 * HOUR
    if any(t <= due for t in p.times(flags)):
        return "excluded"
    given = p.times({"ATC//L04AC07", "ATC//L04AF02"}, during=False)
    return p.clocked(any(p.start <= t <= due for t in given), due, left=True)


def recordable(p):
    if p.stay["kind"] != "inpatient" or p.positive() is None or p.adult() is False:
        return "outside"
    due = p.start + timedelta(days=1)
    codes = ["LOINC//9279-1", "LOINC//9269-2", "LOINC//22664-7", "LOINC//1988-5"]
    # On room air: until oxygen was first given, or since it was last taken away.
    spells = [
        (e["time"], e["end_time"])
        for e in p.events
        if e["code"] in OXYGEN and e["status"] == "done" and p.inside(e["time"])
    ]
    first = min((begin for begin, _ in spells), default=due)
    last = max(spells, default=(None, None), key=lambda spell: spell[0])[1] if spells else None
    if last is not None and last > p.cut:
        last = None
    readings = [t for t in p.times("LOINC//59408-5", during=False) if p.start <= t <= due]
    on_air = any(t <= first or (last is not None and t >= last) for t in readings)
    complete = on_air and p.adult() is not None
    complete &= p.oracle.sex.get(p.stay["subject_id"]) is not None
    for code in codes:
        complete &= any(p.start <= t <= due for t in p.times(code, during=False))
    return p.clocked(complete, due, left=True)


def no_antibiotics_at_all(p):
    if not septic(p) and not p.times("CARE//emergency-registration"):
        return "outside"
    return "failed" if p.antibiotics() else "met"


def septic(p):
    return bool(p.times("CARE//sepsis-triage"))


def antibiotics_from(code):
    def measure(p):
        if not septic(p):
            return "outside"
        clock = min(p.times(code), default=None)
        if clock is None:
            return "unknown"
        return p.clocked(any(t <= clock + HOUR for t in p.antibiotics()), clock + HOUR)

    return measure


def lactate(p):
    if not septic(p):
        return "outside"
    due = min(p.times("CARE//sepsis-triage")) + 3 * HOUR
    return p.clocked(any(t <= due for t in p.times("LOINC//2524-7")), due)


def sepsis_intensive_care(p):
    if not septic(p):
        return "outside"
    return p.clocked(any(p.inside(t) for t in p.movements), p.end)


def sepsis_return(p):
    if not septic(p) or p.end is None or p.stay["outcome"] == "died":
        return "outside"
    due = p.calendar(28)
    return p.clocked(p.returned(due), due, never=True)


def sepsis_length(p):
    if not septic(p) or p.end is None:
        return "outside"
    return "measured", None, (p.end - p.start) / (24 * HOUR)


def stroke(*, fibrillation, drugs):
    def measure(p):
        coded = [
            e for e in p.events
            if e["code"].startswith("ICD10//I63") and e["rank"] == 1 and p.inside(e["time"])
        ]  # fmt: skip
        home = p.end is not None and p.stay["outcome"] in ("home", "care-facility")
        parts = [p.stay["kind"] == "inpatient", home, bool(coded), p.adult()]
        if fibrillation:
            parts.append(
                any(
                    e["code"].startswith("ICD10//I48") and (p.end is None or e["time"] <= p.end)
                    for e in p.events
                )
            )
        if said := p.population(*parts):
            return said
        withheld = p.times(drugs, status="not-done")
        if p.times("CARE//palliative-care") or withheld:
            return "excluded"
        prescribed = any(
            e["code"] in drugs and e["status"] == "done" and p.inside(e["time"])
            and {"key": "category", "value": "discharge"} in (e["attributes"] or [])
            for e in p.events
        )  # fmt: skip
        return "met" if prescribed else "failed"

    return measure


MEASURES = {
    "covid19.steroid-when-on-oxygen": steroid_when_on_oxygen,
    "covid19.no-steroid-without-oxygen": no_steroid_without_oxygen,
    "covid19.thromboprophylaxis-14-hours": thromboprophylaxis,
    "covid19.thromboprophylaxis-day-0-or-1": thromboprophylaxis_by_the_next_day,
    "covid19.il-6-or-jak-blocker-48-hours": blocker,
    "covid19.4c-recordable-24-hours": recordable,
    "covid19.length-of-stay": covid_length,
    "sepsis.no-antibiotics": no_antibiotics_at_all,
    "covid19.no-antibiotic-without-evidence": no_antibiotic,
    "covid19.antibiotic-review-72-hours": antibiotic_review,
    "covid19.baseline-set-24-hours": baseline,
    "covid19.oxygen-in-target-range": in_target_range,
    "covid19.review-after-news2": review_after_news2,
    "covid19.hours-to-intensive-care": hours_to_intensive_care,
    "covid19.in-hospital-death": death,
    "covid19.readmission-30-days": readmission,
    "covid19.progression": progression,
    "covid19.nosocomial": nosocomial,
    "sepsis.antibiotics-1-hour-from-registration": antibiotics_from("CARE//emergency-registration"),
    "sepsis.antibiotics-1-hour-from-triage": antibiotics_from("CARE//emergency-triage"),
    "sepsis.antibiotics-1-hour-from-sepsis-triage": antibiotics_from("CARE//sepsis-triage"),
    "sepsis.lactate-3-hours": lactate,
    "sepsis.intensive-care": sepsis_intensive_care,
    "sepsis.return-28-days": sepsis_return,
    "sepsis.length-of-stay": sepsis_length,
    "stroke.antithrombotic-at-discharge": stroke(fibrillation=False, drugs=ANTITHROMBOTICS),
    "stroke.anticoagulation-for-atrial-fibrillation": stroke(
        fibrillation=True, drugs=ANTICOAGULANTS
    ),
}  # fmt: skip
