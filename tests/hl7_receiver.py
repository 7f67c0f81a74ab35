"""A receiver of HL7 v2 as plain as can be: separators, dicts and loops; an oracle, not a parser.

Shares no code with what writes the messages: it knows the standard and the profile.
"""

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import yaml

PROFILE = yaml.safe_load(
    files("neva.synthesis").joinpath("synthetic-profile.yaml").read_text(encoding="utf-8")
)
KINDS, SYSTEMS, SEQUENCE = (PROFILE[name] for name in ("kinds", "code_systems", "sequence"))
ZEV = PROFILE["z_segments"]["ZEV"]
#: Field and component of the visit number, unit and bed in PV1.
STAY, UNIT, BED = (
    tuple(int(part) for part in f"{PROFILE[name]}.1".removeprefix("PV1-").split(".")[:2])
    for name in ("stay", "unit", "bed")
)
ESCAPES = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", "X0D": "\r", "X0A": "\n"}


def plain(text):
    return re.sub(r"\\(\w+)\\", lambda found: ESCAPES[found[1]], text) or None


def moment(text):
    if not text:
        return None
    digits, fraction, offset = re.fullmatch(r"(\d{14})(\.\d+)?([+-]\d{4})", text).groups()
    read = datetime.strptime(digits + offset, "%Y%m%d%H%M%S%z")
    micro = int((fraction or ".").removeprefix(".").ljust(6, "0"))
    return (read + timedelta(microseconds=micro)).astimezone(UTC)


def code_of(text):
    if not text:
        return None
    code, _, system = text.split("^")
    return f"{SYSTEMS.get(system, system)}//{plain(code)}"


class Segment:
    def __init__(self, text):
        self.name, *self._fields = text.split("|")
        if self.name == "MSH":
            self._fields.insert(0, "|")

    def __call__(self, field, component=None):
        text = self._fields[field - 1] if field <= len(self._fields) else ""
        if component is None:
            return text
        parts = text.split("^")
        return plain(parts[component - 1]) if component <= len(parts) else None


class Receiver:
    """Takes messages in any order; says at the end what is true."""

    def __init__(self):
        self.seen = {}
        self.visits = defaultdict(list)
        self.events = defaultdict(list)
        self.persons = defaultdict(list)
        self.merged = {}

    def take(self, content):
        text = content.decode("utf-8")
        assert text.endswith("\r")
        assert "\n" not in text
        message = [Segment(line) for line in text.removesuffix("\r").split("\r")]
        head = message[0]
        assert (head.name, head(3), head(12)) == ("MSH", "NEVA-SYNTHETIC", "2.5.1")
        assert head(18) == "UNICODE UTF-8"
        if head(10) in self.seen:
            assert self.seen[head(10)] == content
            return
        self.seen[head(10)] = content
        first = {one.name: one for one in reversed(message)}
        kind, trigger = head(9).split("^")[:2]
        sent, person = moment(head(7)), first["PID"]
        subject = person(3, 1)
        assert person(3).endswith(f"^^^{PROFILE['assigner']}^{PROFILE['subject']['type']}")
        self.persons[subject].append((sent, head(10), person))
        if trigger == "A40":
            self.merged[first["MRG"](1, 1)] = subject
        stay = first["PV1"](*STAY) if "PV1" in first else None
        if kind == "ADT" and stay is not None:
            at = moment(first["EVN"](6))
            self.visits[stay].append((sent, head(10), trigger, at, first["PV1"], subject))
        self.take_events(message, sent, head(10), subject, stay)

    def take_events(self, message, sent, control, subject, stay):
        order = None
        for one in message:
            if one.name in ("OBR", "ORC"):
                order = one(3, 1)
            if one.name == "OBX":
                key = ("OBX", order, one(3), one(4), one(14))
                number = float(one(5)) if one(2) == "NM" else None
                said = {
                    "code": code_of(one(3)), "value": number, "unit": one(6, 1),
                    "text": plain(one(5)) if one(2) == "ST" else None, "time": moment(one(14)),
                    "sequence": int(one(SEQUENCE["OBX"])), "gone": one(11) == "W",
                }  # fmt: skip
            elif one.name == "RXA":
                key = ("RXA", order, one(2))
                said = {
                    "code": code_of(one(5)), "value": float(one(6)), "unit": one(7, 1),
                    "time": moment(one(3)), "end": moment(one(4)),
                    "sequence": int(one(SEQUENCE["RXA"])),
                }  # fmt: skip
            elif one.name == "DG1":
                key = ("DG1", stay, one(20, 1))
                said = {
                    "code": code_of(one(3)), "time": moment(one(5)),
                    "sequence": int(one(SEQUENCE["DG1"])),
                    "rank": int(one(15)) if one(15) else None,
                }  # fmt: skip
            elif one.name == "ZEV":
                told = {name: one(place) for name, place in ZEV.items()}
                key = ("ZEV", told["id"])
                pairs = [pair.split("^") for pair in told["attributes"].split("~") if pair]
                said = {
                    "code": code_of(told["code"]), "unit": plain(told["unit"]),
                    "value": float(told["value"]) if told["value"] else None,
                    "text": plain(told["text"]), "time": moment(told["time"]),
                    "end": moment(told["end"]), "status": told["status"],
                    "reason": code_of(told["reason"]), "sequence": int(told["sequence"]),
                    "rank": int(told["rank"]) if told["rank"] else None,
                    "attributes": tuple((plain(key_), plain(text)) for key_, text in pairs),
                    "precision": told["precision"] or "instant",
                    "gone": told["status"] == "withdrawn",
                }  # fmt: skip
            else:
                continue
            self.events[key].append((sent, control, said, subject, stay))

    def who(self, subject):
        return self.merged.get(subject, subject)

    def valid_visits(self):
        """What was said of each stay in the order of telling, without what was cancelled."""
        cancels = {"A11": ("A01", "A04"), "A12": ("A02",), "A13": ("A03",)}
        for stay, told in self.visits.items():
            told.sort(key=lambda one: one[:2])
            gone = {
                (name, at) for _, _, trigger, at, *_ in told for name in cancels.get(trigger, ())
            }
            kept = [one for one in told if one[2] not in cancels and (one[2], one[3]) not in gone]
            if any(one[2] in ("A01", "A04") for one in kept):
                yield stay, kept

    def stays(self):
        """Subject, start, end, kind, source and outcome of each stay."""
        found = {}
        for stay, kept in self.valid_visits():
            whose = {self.who(one[5]) for one in kept}
            assert len(whose) == 1
            last = dict.fromkeys(("start", "end", "kind", "source", "outcome"))
            for *_, visit, _ in kept:
                said = {
                    "start": moment(visit(44)), "end": moment(visit(45)),
                    "kind": KINDS[visit(2)], "source": visit(14, 1), "outcome": visit(36, 1),
                }  # fmt: skip
                last |= {name: value for name, value in said.items() if value is not None}
            found[stay] = (*whose, *last.values())
        return found

    def movements(self):
        """Stay, subject, start, end, unit and bed of each movement."""
        found = set()
        for stay, kept in self.valid_visits():
            moves = sorted((one for one in kept if one[2] in ("A01", "A04", "A02")),
                           key=lambda one: one[3])  # fmt: skip
            ends = [one[3] for one in moves[1:]]
            ends.append(next((one[3] for one in kept if one[2] == "A03"), None))
            for one, end in zip(moves, ends, strict=True):
                place = one[4]
                found.add((stay, self.who(one[5]), one[3], end, place(*UNIT), place(*BED)))
        return found

    def people(self):
        """Birth date, sex and death of each subject, as far as they were told."""
        found = {}
        for subject, told in self.persons.items():
            known = found.setdefault(self.who(subject), [None, None, None])
            for _, _, person in sorted(told, key=lambda one: one[:2]):
                said = person(7) or None, person(8) or None, moment(person(29))
                known[:] = [new if new is not None else old
                            for new, old in zip(said, known, strict=True)]  # fmt: skip
        return {subject: tuple(known) for subject, known in found.items()}

    def final_events(self):
        """The last state of each event that was not withdrawn, as plain tuples."""
        names = ("code", "time", "end", "value", "unit", "text", "status", "reason", "rank",
                 "attributes", "precision", "sequence")  # fmt: skip
        usual = {"status": "done", "attributes": (), "precision": "instant"}
        found = []
        for told in self.events.values():
            *_, said, subject, stay = max(told, key=lambda one: one[:2])
            if not said.get("gone"):
                values = (said.get(name, usual.get(name)) for name in names)
                found.append((self.who(subject), stay, *values))
        return found
