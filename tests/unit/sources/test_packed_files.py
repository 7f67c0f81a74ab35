"""What is packed far beyond its size is refused at every door, before it fills a disk."""

import gzip

import pytest

from neva.errors import BadInputError
from neva.files import opening as _files
from neva.sources.csv.source import open_csv
from neva.sources.fhir.source import open_fhir
from neva.sources.omop.source import open_omop
from neva.sources.xes import open_xes

MAPPING = """
neva: 1
name: packed
about: one patient, again and again
zone: UTC
tables:
  - subject: patient
    recorded: {after: time, delay: 0 min}
    events:
      - code: {system: LAB, column: patient}
        time: {column: at, formats: ["%Y-%m-%d"]}
"""
#: Of each door: name of the file, its head, a line that is repeated, how it is opened.
DOORS = {
    "csv": ("a.csv.gz", "patient,at\n", "1,2020-01-01\n"),
    "omop": ("cdm/person.csv.gz", "person_id,gender_concept_id,year_of_birth\n", "1,8507,1950\n"),
    "xes": ("a.xes.gz", "<log>", "<trace></trace>"),
    "fhir lines": ("a.ndjson.gz", "", '{"resourceType":"Patient","id":"a"}\n'),
    "fhir": ("a.json.gz", '{"resourceType":"Bundle","type":"collection","entry":[', "{},"),
}


def read(door, path):
    if door == "csv":
        mapping = path.parent / "mapping.yaml"
        mapping.write_text(MAPPING)
        return open_csv(path, zone="UTC", mapping=mapping)
    if door == "omop":
        return open_omop(path.parent, zone="UTC")
    return (open_xes if door == "xes" else open_fhir)(path, zone="UTC")


@pytest.mark.parametrize("door", DOORS)
def test_a_gzip_that_never_ends_is_refused(tmp_path, monkeypatch, door):
    # The limit outside tests is a quarter of a gigabyte: here a bomb need not be so large.
    monkeypatch.setattr(_files, "_ALWAYS_UNPACKED", 2**18)
    name, head, line = DOORS[door]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wb") as file:
        file.write(head.encode())
        for _ in range(100):
            file.write(line.encode() * 3000)
    with pytest.raises(BadInputError, match="too much in an archive of its size"):
        for _ in read(door, path).rows:
            pass
