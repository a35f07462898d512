"""What the nurse reads with the victim beside her, once a kit is registered."""

from datetime import timedelta

from babel.dates import format_date

from retention.period import end_of
from retention.term import local_date
from tests.custody.story import NURSE
from tests.pages.conftest import Pages
from tests.pages.doings import register
from tests.retention.kept import POLICY


def test_the_page_after_registering_says_until_when_the_kit_is_kept(pages: Pages) -> None:
    nurse = pages.at(NURSE)
    before = local_date(POLICY, pages.desk.now() - timedelta(days=1))
    register(nurse)
    assert nurse.sees("How long it is kept")
    days = [end_of(before + timedelta(days=n), POLICY.adult.period) for n in (0, 1, 2)]
    told = nurse.page.locator("section", has_text="How long it is kept").inner_text()
    assert any(f"Kept until {format_date(day, 'd MMMM y', locale='en')}." in told for day in days)
