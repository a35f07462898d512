"""The certificate of a disposal as a file: what it carries, how it looks, and what is refused as one."""

import json
import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from io import BytesIO
from zoneinfo import ZoneInfo

import pytest
import zxingcpp
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import ByteStringObject

from custody.decision import Seen
from custody.event import decode
from custody.ledger import place
from retention.certificate import (
    CONDITIONS,
    Certificate,
    CertificateRefused,
    Ended,
    certificate_pdf,
    check,
    read,
)
from retention.disposal import carry_out
from tests.custody.story import COORDINATOR, CUSTODIAN_2
from tests.labels.scanners import pdf_pages, pdf_texts
from tests.retention.kept import OBSERVER, approved, whole


def ended() -> tuple[str, Ended]:
    """A kit that was disposed of, with a proof that is none."""
    kit, at = approved()
    seen = Seen(at=at, kits={kit.number: kit})
    decided = carry_out(seen, whole(kit.number), CUSTODIAN_2, OBSERVER, COORDINATOR)
    destroyed = place(decided.facts, seen)[0][1]
    return kit.number, Ended(
        event=destroyed.bytes,
        proof=b"no proof",
        packages={1: "envelope, frozen", 2: "bag, dry", 3: "rack, refrigerated"},
        key_until=date(2031, 5, 1),
        backups_until=date(2031, 8, 1),
    )


def certificate(*kits: Ended) -> Certificate:
    return Certificate(
        centre="Zorgcentrum Sterrenberg",
        kits=kits,
        organisations={"zsg-sterrenberg": "Zorgcentrum Sterrenberg", "zsg-maanhoek": "Zorgcentrum Maanhoek"},
        functions={"nurse": "nurse", "custodian": "custodian", "coordinator": "coordinator"},
        made_at=datetime(2026, 9, 1, 9, tzinfo=UTC),
        zone=ZoneInfo("Europe/Brussels"),
    )


def test_what_stood_is_true_after_a_notice_and_after_a_wish_and_does_not_tell_which() -> None:
    said = " ".join(CONDITIONS).lower()
    assert "the term was over, and so was every time that had to be waited for" in said
    assert "every notice that was owed was settled" in said
    for told in ("its notice", "victim", "wish", "asked", "cooling"):
        assert told not in said


def test_one_page_tells_people_all_of_it_and_its_code_is_read_by_a_scanner() -> None:
    number, kit = ended()
    data = certificate_pdf(certificate(kit))
    (text,) = pdf_texts(data)

    grouped = f"{number[:4]}-{number[4:8]}-{number[8:]}"
    for told in (
        grouped,
        "Cleo Kast, custodian",
        "Coraline Kompas, coordinator",
        "Mira Maan, nurse, Zorgcentrum Maanhoek",
        "items 1, 2, 3, 4",
        "which never had a label",
        "No order of a judge and no hold stood.",
        "is destroyed on 2031-05-01",
        "lapses on 2031-08-01",
    ):
        assert told in " ".join(text.split()), told
    (code,) = zxingcpp.read_barcodes(pdf_pages(data)[0])
    assert code.text.startswith(f"{number} sha256:")
    assert code.text.split(":")[1][:32] in text
    for part in (b"pdfaid:part", b"/OutputIntents", b"/AFRelationship", b"/FontFile2"):
        assert part in data, "PDF/A-3B with an embedded typeface"


def test_an_item_that_was_not_found_is_named_with_the_day_on_which_that_was_recorded() -> None:
    _, kit = ended()
    gone = replace(kit, not_found=(((12,), datetime(2026, 5, 2, 8, 30, tzinfo=UTC)), ((14, 15), None)))
    (text,) = pdf_texts(certificate_pdf(certificate(gone)))

    said = " ".join(text.split())
    assert "item 12, recorded on 2026-05-02 10:30 (Europe/Brussels); not destroyed" in said
    assert "items 14, 15; not destroyed" in said


def test_many_kits_flow_over_pages_and_each_is_carried_inside() -> None:
    kits = dict(ended() for _ in range(9))
    data = certificate_pdf(certificate(*kits.values()))

    assert len(pdf_pages(data, 40)) > 1
    carried = read(data)
    assert {each.kit for each in carried.kits} == set(kits)
    assert {each.kit: each.event for each in carried.kits} == {n: k.event for n, k in kits.items()}
    with pytest.raises(CertificateRefused, match="each once"):
        certificate_pdf(certificate(*list(kits.values())[:1] * 2))


def test_what_was_found_and_destroyed_later_stands_beside_the_rest_of_its_kit() -> None:
    number, kit = ended()
    first = decode(kit.event)
    values = {**first.values, "number": first.number + 3, "packages": [{"package": 4, "seal_seen": "S-0004"}]}
    bytes_ = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    data = certificate_pdf(
        certificate(kit, replace(kit, event=bytes_, packages={4: "bag, dry"})),
    )

    said = " ".join(" ".join(pdf_texts(data)).split())
    for told in (
        "Package 1",
        "Package 4",
        "seal S-0004",
        "Found after the kit was closed, and destroyed then.",
    ):
        assert told in said
    carried = read(data)
    assert [each.kit for each in carried.kits] == [number, f"{number}-{first.number + 3}"]
    verdict = check(carried, None)
    assert {f.number: f.holds for f in verdict.findings} == {1: True, 2: True, 3: False, 4: None, 5: True}
    renamed = replace(carried, kits=tuple(replace(each, kit=f"{number}-1") for each in carried.kits))
    assert check(renamed, None).findings[0].holds is False


def test_without_a_proof_nothing_is_said_to_be_in_the_log() -> None:
    _, kit = ended()
    verdict = check(read(certificate_pdf(certificate(kit))), None)

    assert {f.number: f.holds for f in verdict.findings} == {1: True, 2: True, 3: False, 4: None, 5: True}
    assert not verdict.holds
    assert any("Anything else that is printed" in each for each in verdict.not_proved)


def test_an_event_of_something_else_is_no_disposal() -> None:
    _, kit = ended()
    other = Ended(
        event=kit.event.replace(b'"type":"package.destroyed"', b'"type":"package.returned_"'),
        proof=b"",
        packages={},
        key_until=kit.key_until,
        backups_until=kit.backups_until,
    )
    with pytest.raises(CertificateRefused):
        certificate_pdf(certificate(other))


@given(st.binary(max_size=300))
def test_whatever_is_no_certificate_is_refused_and_nothing_else_is_raised(data: bytes) -> None:
    for whole_file in (data, b"%PDF-1.7\n" + data):
        with pytest.raises(CertificateRefused):
            read(whole_file)


@given(st.data())
def test_a_damaged_certificate_is_read_or_refused_and_never_breaks(data: st.DataObject) -> None:
    whole_file = bytearray(CERTIFICATE)
    for _ in range(data.draw(st.integers(1, 4))):
        whole_file[data.draw(st.integers(0, len(whole_file) - 1))] = data.draw(st.integers(0, 255))
    with suppress(CertificateRefused):
        assert not check(read(bytes(whole_file)), None).holds


CERTIFICATE = certificate_pdf(certificate(ended()[1]))


def test_a_file_inside_whose_name_is_no_text_is_refused_like_any_other_damage() -> None:
    writer = PdfWriter(clone_from=BytesIO(CERTIFICATE))
    names = writer.root_object["/Names"]["/EmbeddedFiles"]["/Names"]  # type: ignore[index]
    names[0] = ByteStringObject(b"\x00\xff\x81\x00\x9d")
    damaged = BytesIO()
    writer.write(damaged)
    with pytest.raises(CertificateRefused):
        read(damaged.getvalue())


def test_a_filter_that_nobody_knows_is_refused_like_any_other_damage() -> None:
    data = certificate_pdf(certificate(ended()[1]))
    places = [each.start() for each in re.finditer(b"/FlateDecode", data)]
    assert places
    for place_ in places:
        changed = data[:place_] + b"/FlateDecodX" + data[place_ + 12 :]
        with suppress(CertificateRefused):
            read(changed)
    with pytest.raises(CertificateRefused, match="cannot be read"):
        read(data.replace(b"/FlateDecode", b"/FlateDecodX"))
