"""Forms: sent twice they record once, from elsewhere nothing; a refusal keeps what was typed."""

from playwright.sync_api import expect

from tests.custody.story import COORDINATOR, CUSTODIAN, NURSE, NURSE_2
from tests.pages.conftest import Pages
from tests.pages.doings import fill_registration, labels_of, register


def test_a_double_click_registers_one_kit(pages: Pages) -> None:
    nurse = pages.at(NURSE, scripts=True)
    nurse.go("/register")
    fill_registration(nurse)
    nurse.page.evaluate(
        """() => {
            const form = document.querySelector("form[action='/register']");
            const sent = () => ({method: "POST", body: new FormData(form)});
            const send = () => fetch("/register", sent()).then((r) => r.text());
            window.both = Promise.all([send(), send()]);
        }"""
    )
    answers = nurse.page.evaluate("window.both")
    assert pages.desk.count("kit") == 1
    shown = ["card-code" in answer for answer in answers]
    assert sorted(shown) == [False, True], "the card is shown once, to the first"


def test_a_form_sent_again_finds_its_first_receipt(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.go(f"/do/hold.place?kit={kit}")
    nurse.check(ground="centre")
    nurse.fill(reason="asked for by the centre")
    fields = nurse.page.evaluate(
        "() => Object.fromEntries(new FormData(document.querySelector(`form[action^='/do/']`)))"
    )
    nurse.press("Hold")
    assert nurse.sees("Hold placed")
    before = pages.desk.count()
    again = nurse.page.request.post(
        f"{nurse.base_url}/do/hold.place",
        form=dict[str, str | float | bool](fields),
        headers={"Origin": nurse.base_url, "Accept": "text/html"},
    )
    assert again.ok
    assert "Hold placed" in again.text()
    assert pages.desk.count() == before


def test_a_form_without_the_token_of_its_session_is_refused(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    before = pages.desk.count()
    for changed in ({}, {"form_token": "x" * 43}):
        answer = nurse.page.request.post(
            f"{nurse.base_url}/do/hold.place",
            form=dict[str, str | float | bool](
                kit=kit, ground="centre", reason="r", key="0123456789", **changed
            ),
            headers={"Origin": nurse.base_url, "Accept": "text/html"},
        )
        assert answer.status == 403
        assert "This form was refused" in answer.text()
    assert pages.desk.count() == before


def test_a_form_of_another_site_is_refused_even_at_the_sign_in(pages: Pages) -> None:
    visitor = pages.visitor()
    answer = visitor.page.request.post(
        f"{visitor.base_url}/sign-in",
        form={"who": f"{NURSE.person}|nurse@{NURSE.organisation}"},
        headers={"Origin": "https://elsewhere.example", "Accept": "text/html"},
    )
    assert answer.status == 403


def test_a_refusal_says_why_and_keeps_what_was_typed(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.go(f"/do/kit.supplement?kit={kit}")
    nurse.check(brought_by="victim")
    nurse.page.fill("#seal-1", "S-7")
    nurse.page.select_option("#type-1-1", "urine_toxicology")
    nurse.page.fill("#count-1-1", "1")
    nurse.press("Add packages")
    assert nurse.sees("A toxicology item says until when it is usable.")
    assert nurse.page.input_value("#seal-1") == "S-7"
    assert nurse.page.input_value("#count-1-1") == "1"


def test_who_proposes_cannot_sign_and_another_person_can(pages: Pages) -> None:
    nurse, other = pages.at(NURSE), pages.at(NURSE_2)
    kit = register(nurse)
    nurse.go(f"/do/report.declare?kit={kit}")
    nurse.check(how="by_phone")
    nurse.press("The victim reports")
    nurse.go(f"/do/report.withdraw?kit={kit}")
    nurse.check(how="in_person")
    nurse.press("The report is withdrawn")
    assert nurse.sees("This waits for a second person.")
    nurse.go("/")
    assert not nurse.sees("Compare and sign")
    other.go("/")
    other.press("Compare and sign")
    assert other.sees(NURSE.name or "")
    other.press("Sign")
    assert other.sees("no report")
    assert other.sees("term running")


def test_a_number_of_a_report_that_looks_odd_is_asked_once_and_never_blocked(pages: Pages) -> None:
    nurse, coordinator = pages.at(NURSE), pages.at(COORDINATOR)
    kit = register(nurse)
    coordinator.go(f"/do/order.enter?kit={kit}")
    coordinator.fill(digest="ab" * 32, authority="Invented court", dated="2026-01-05")
    coordinator.press("Enter a judge's order")
    nurse.go(f"/do/order.confirm?kit={kit}")
    nurse.fill(digest="ab" * 32)
    nurse.press("Confirm a judge's order")
    assert nurse.sees("Judge's order confirmed")
    coordinator.go(f"/do/kit.link?kit={kit}")
    coordinator.fill(pv="7 of May", notice="N-1")
    coordinator.choose(office="parket-avondland", zone="pz-morgenland")
    coordinator.press("Link to the police report")
    assert coordinator.sees("does not look like the usual number")
    coordinator.press("Link to the police report")
    assert coordinator.sees("Linked on a judge's order")


def test_only_places_that_fit_the_storage_are_offered(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.go(f"/do/package.store?p={kit}.1")
    offered = nurse.page.locator("#place option").all_inner_texts()
    assert offered == ["Choose", "Freezer 1", "Table 1"]


def test_a_void_label_says_so_and_what_to_do(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.press("Print labels")
    void, *_ = labels_of(nurse, kit)
    nurse.go(f"/kits/{kit}/labels")
    nurse.page.locator("summary", has_text="Print a label again").click()
    nurse.check(parts="P01")
    nurse.fill(reason="the label came off")
    nurse.press("Print again")
    code = void.rsplit("/", 1)[1]
    assert nurse.go(f"/s/{code}") == 410
    expect(nurse.page.locator("h1")).to_have_text("This label is void")
    assert nurse.sees("What you can do")
    nurse.go("/scan")
    nurse.scan(void)
    assert nurse.sees("This label is void")
    assert not nurse.sees("On the list")


def test_a_label_opened_by_a_telephone_leads_through_the_sign_in_and_back(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    nurse.press("Print labels")
    code = labels_of(nurse, kit)[0].rsplit("/", 1)[1]
    stranger = pages.visitor()
    stranger.go(f"/s/{code}")
    assert "/sign-in?next=" in stranger.page.url
    stranger.press(f"Sign in as {CUSTODIAN.name}")
    assert stranger.sees("On the list")
    assert stranger.sees("package 1")


def test_a_kit_number_alone_opens_ones_task_and_asks_everybody_else_for_a_reason(pages: Pages) -> None:
    nurse, coordinator = pages.at(NURSE), pages.at(COORDINATOR)
    kit = register(nurse)
    nurse.go(f"/kits/{kit}")
    assert nurse.sees("Custody trail")
    seals = {"packages": [{"kit": kit, "package": package} for package in (1, 2, 3)]}
    looked = pages.desk.at(NURSE_2).post("packages/check-seal", seals)
    assert looked.status_code == 201, looked.text  # what was left for the coordinator to do is done
    coordinator.go(f"/kits/{kit}")
    assert coordinator.sees("Why do you open this kit?")
    assert not coordinator.sees("Custody trail")
    coordinator.check(purpose="review")
    coordinator.press("Open the kit")
    assert coordinator.sees("Custody trail")
    coordinator.go(f"/readings?kit={kit}")
    assert coordinator.sees("I review how it was handled")


def test_a_mistyped_number_is_told_above_the_field(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    kit = register(nurse)
    wrong = kit[:-1] + ("2" if kit[-1] != "2" else "3")
    nurse.go("/scan")
    nurse.scan(wrong)
    assert nurse.sees("typing error")
    expect(nurse.page.locator("#code")).to_be_focused()
