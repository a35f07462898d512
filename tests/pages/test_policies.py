"""Policies on the pages: read before they are adopted, signed by a second person; what they keep longer."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from retention.policy import Policy, dump, load
from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, OFFICER
from tests.desk.test_policies import OTHER_COORDINATOR, SEEDS, adopt, coordinates, second_version
from tests.pages.conftest import PHONE, WIDE, Pages, Visitor
from tests.pages.test_every_page import check
from tests.retention.reckoning import sourced

(BELGIUM_2,) = load((SEEDS / "belgium-2.json").read_bytes())


def with_everything(pages: Pages) -> Policy:
    """The second version of the seed, with adults kept a year, valid since yesterday."""
    plain = second_version(pages.desk)
    return replace(BELGIUM_2, adopted_on=plain.adopted_on, valid_from=plain.valid_from, adult=plain.adult)


def reads(visitor: Visitor, file: Path) -> None:
    visitor.go("/policies")
    visitor.press("Adopt a policy")
    visitor.page.set_input_files("[name='document_file']", file)
    visitor.press("Read it")


def test_a_policy_is_read_aloud_proposed_read_by_another_and_signed(pages: Pages, tmp_path: Path) -> None:
    file = tmp_path / "belgium-2.json"
    file.write_bytes(dump([with_everything(pages)]))
    coordinator, nurse = pages.at(COORDINATOR), pages.at(NURSE)

    reads(coordinator, file)
    assert coordinator.sees("This is what the file says.")
    assert coordinator.sees("What changes from belgium/1")
    change = coordinator.page.locator("tr", has_text="Kept: adults").first.inner_text()
    assert "6 months" in change
    assert "1 year" in change
    assert coordinator.sees("Easter Monday (1 day after Easter)")
    assert coordinator.sees("unconfirmed")
    coordinator.press("Propose it")
    assert coordinator.sees("This waits for a second person.")

    nurse.go("/policies")
    assert nurse.sees("Wait for a second person")
    assert "belgium/2" in nurse.page.locator("section", has_text="Wait for a second person").inner_text()
    nurse.go("/")
    nurse.page.locator("a[href^='/signatures/']").first.click()
    assert nurse.sees("Coraline Kompas proposes to adopt this.")
    assert nurse.sees("What changes from belgium/1")
    unread = nurse.page.locator("form[action^='/signatures/'] [name='form_token'], form [name='key']")
    fields: dict[str, str | float | bool] = {
        str(each.get_attribute("name")): str(each.get_attribute("value")) for each in unread.all()
    }
    address = str(nurse.page.locator("form[action^='/signatures/']").get_attribute("action"))
    origin = {"origin": nurse.base_url}
    nurse.page.request.post(
        nurse.base_url + address, form={**fields, "decision": "sign"}, headers=origin, max_redirects=0
    )
    nurse.go(address)
    assert nurse.sees("proposes to adopt this."), "a signature from no page that reads it aloud is not taken"
    nurse.press("Sign")
    assert nurse.sees("trail of the policy belgium")

    nurse.go("/policies/belgium/2")
    assert nurse.sees("by Coraline Kompas, Nora Nachtwacht")
    document = pages.desk.at(CUSTODIAN).get("policies/belgium/2/document")
    assert document.content == file.read_bytes()
    coordinator.go("/policies")
    assert not coordinator.sees("Wait for a second person")
    drawn = coordinator.page.locator("section", has_text="belgium, version 2").locator(".term-line")
    assert [drawn.nth(n).locator("li").count() for n in range(2)] == [5, 5]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ((SEEDS / "belgium.json").read_bytes(), "belgium/1 was adopted already"),
        ((SEEDS / "scotland.json").read_bytes(), "is for GB-SCT, and belgium/1 for BE"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"{}", "format, policies missing"),
    ],
)
def test_a_file_that_cannot_be_adopted_is_refused_when_it_is_read(
    pages: Pages, tmp_path: Path, content: bytes, says: str
) -> None:
    file = tmp_path / "policy.json"
    file.write_bytes(content)
    coordinator = pages.at(COORDINATOR)

    reads(coordinator, file)

    assert coordinator.sees(says)
    assert coordinator.page.locator("[name='document_file']").count() == 1


def test_what_protects_less_is_said_when_it_is_read_and_signed_by_another_centre(
    pages: Pages, tmp_path: Path
) -> None:
    file = tmp_path / "shorter.json"
    day = pages.desk.now().date() + timedelta(days=2)
    shorter = second_version(pages.desk, adult=sourced("P5M"), notice=sourced("P59D"), valid_from=day)
    file.write_bytes(dump([shorter]))
    coordinator, nurse = pages.at(COORDINATOR), pages.at(NURSE)

    reads(coordinator, file)
    assert coordinator.sees("Policy belgium, version 2")
    assert coordinator.sees("less than belgium/1, which is in force so far: the time of keeping for adults;")
    assert coordinator.sees("a coordinator of another centre signs")
    coordinator.press("Propose it")
    assert coordinator.sees("This waits for a second person.")

    nurse.go("/policies")
    nurse.press("Read it")
    assert nurse.sees("a coordinator of another centre signs")
    assert nurse.page.locator("button[value='sign']").count() == 0
    coordinates(pages.desk)
    other = pages.at(OTHER_COORDINATOR)
    other.go("/policies")
    other.press("Read it")
    other.press("Sign")
    assert other.sees("trail of the policy belgium")


def test_kits_that_a_newer_policy_keeps_longer_are_ticked_and_kept_longer(pages: Pages) -> None:
    desk = pages.desk
    kits = [desk.at(NURSE).register(desk.now())["kit"] for _ in range(2)]
    adopt(desk, dump([second_version(desk)]).decode())
    coordinator = pages.at(COORDINATOR)
    coordinator.go("/policies")
    coordinator.press("Kits that a newer policy keeps longer")
    assert coordinator.page.locator("[name='kits']").count() == 2

    coordinator.check(kits=kits[0], how="victim_agreed")
    coordinator.fill(reason="She was asked in person and agreed")
    coordinator.press("Keep the ticked kits longer")

    assert coordinator.page.locator("[name='kits']").count() == 1
    told = desk.at(NURSE).get(f"kits/{kits[0]}", purpose="task").json()
    assert told["choices"]["policy"] == "belgium/2"
    coordinator.check(how="by_law")
    coordinator.fill(reason="The invented act of this year")
    coordinator.press("Keep the ticked kits longer")
    assert coordinator.sees("Tick the kits that go to the newer version.")


def test_the_police_read_no_policies_and_a_nurse_adopts_none(pages: Pages) -> None:
    assert pages.at(OFFICER).go("/policies") == 403
    nurse = pages.at(NURSE)
    assert nurse.go("/policies") == 200
    assert not nurse.sees("Adopt a policy")
    assert nurse.go("/adopt-policy") == 403
    assert nurse.go("/longer") == 403
    assert nurse.go("/policies/belgium/7") == 404
    assert nurse.go("/policies/" + "ab" * 16) == 404


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "desk"])
def test_the_pages_of_policies_can_be_read_and_used(
    pages: Pages, size: dict[str, int], tmp_path: Path
) -> None:
    desk = pages.desk
    desk.at(NURSE).register(desk.now())
    adopt(desk, dump([with_everything(pages)]).decode())
    waiting = desk.at(COORDINATOR).post(
        "policies/adoptions",
        {"document": dump([replace(with_everything(pages), version=3)]).decode()},
    )
    coordinator = pages.at(COORDINATOR, size=size)
    proposed = f"/policies/{waiting.json()['proposal']}"
    for path in ("/policies", "/policies/belgium/2", proposed, "/adopt-policy", "/longer"):
        assert coordinator.go(path) == 200
        check(coordinator.page, path)
