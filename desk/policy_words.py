"""What the values of a retention policy are called on a page. `_` marks a text for extraction, as in
`desk.texts`."""

from collections.abc import Mapping
from typing import Final

from babel import Locale
from babel.units import format_unit

from retention.period import Limit


def _(text: str) -> str:
    """Mark a text for extraction; the page translates it."""
    return text


VALUES: Final[Mapping[str, str]] = {
    "id": _("Name"),
    "version": _("Version"),
    "country": _("Country"),
    "region": _("Region"),
    "centre": _("Centre"),
    "adopted_on": _("Adopted, by its own words"),
    "valid_from": _("Valid for examinations from"),
    "time_zone": _("Time zone"),
    "kept.adult": _("Kept: adults"),
    "kept.minor": _("Kept: minors"),
    "kept.unknown": _("Kept: age unknown"),
    "contact": _("Is the victim contacted before the end?"),
    "notice": _("Notice before the end"),
    "reminders": _("Later notice before the end"),
    "grace": _("Grace after the end"),
    "cooling_off": _("Cooling-off before an early destruction"),
    "extension": _("An extension lengthens by"),
    "extension.counted_from": _("An extension is counted from"),
    "extension.times": _("Extensions at most"),
    "extension.until": _("An extension can be asked for"),
    "longest": _("Kept at most, extensions included"),
    "hold_review": _("A hold is looked at again after"),
    "channel_age": _("A safe channel is proved again after"),
    "contest": _("A disposal can be contested for"),
    "unlinked": _("A report not linked becomes work after"),
    "deadlines.stored_within": _("Stored after sealing within"),
    "deadlines.notice_settled": _("A notice is settled within"),
    "deadlines.expired_reviewed": _("An expired term is reviewed within"),
    "deadlines.approved_carried_out": _("An approved disposal is carried out within"),
    "deadlines.picked_up": _("A linked kit is picked up within"),
    "deadlines.stock_take": _("Every place is counted within"),
    "holidays": _("Ends move past the weekend and these holidays"),
    "who_decides.majority": _("Age of majority"),
    "who_decides.capable_minor_alone": _("Does a minor judged capable decide alone?"),
    "who_decides.representative_protects": _("May a representative ask for what protects?"),
    "who_decides.representative_destroys": _("May a representative ask for early destruction?"),
    "who_decides.destruction_before_majority": _("Early destruction before majority?"),
    "who_decides.death_holds": _("Does a death hold the kit?"),
    "who_decides.incapacity_holds": _("Does an incapacity hold the kit?"),
    "who_decides.heirs_destroy": _("May heirs ask for early destruction?"),
}

# What stands in place of a value, where the policy has none.
NONE: Final[Mapping[str, str]] = {
    "region": _("the whole country"),
    "centre": _("every centre"),
    "grace": _("none"),
    "extension.times": _("as often as asked"),
    "longest": _("no limit"),
    "holidays": _("An end stays where it falls, also on a holiday"),
}
WRITTEN: Final[Mapping[str, str]] = {
    "extension.counted_from end": _("the end of the term"),
    "extension.counted_from request": _("the day of asking"),
    "extension.until end": _("until the term has expired"),
    "extension.until disposal": _("as long as the kit is there"),
    "yes": _("yes"),
    "no": _("no"),
}
# What a version could protect less than another, in the words of `retention.protection`.
PROTECTS: Final[tuple[str, ...]] = (
    _("the time of keeping for adults"),
    _("the time of keeping for minors"),
    _("the time of keeping where the age is unknown"),
    _("the longest time of keeping"),
    _("the calendar of holidays"),
    _("the time for contesting"),
    _("that the victim is contacted"),
    _("the notice"),
    _("the later notices"),
    _("the grace"),
    _("how long a safe channel counts as proved"),
    _("the extension"),
    _("the day from which an extension counts"),
    _("how often the term can be extended"),
    _("until when an extension can be asked for"),
    _("the cooling-off"),
    _("how soon a hold is looked at again"),
    _("the age of majority"),
    _("that a minor judged capable decides alone"),
    _("what a representative may ask for"),
)
POINTS: Final[Mapping[str, str]] = {
    "start": _("Examination"),
    "notice": _("Notice"),
    "end": _("End of the term"),
    "grace": _("End of the grace"),
}
GROUPS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        _("What it is for"),
        ("id", "version", "country", "region", "centre", "valid_from", "adopted_on", "time_zone"),
    ),
    (_("The term"), ("kept", "longest", "holidays", "contest")),
    (_("Notices and the end"), ("contact", "notice", "reminders", "grace", "channel_age")),
    (_("What the victim can ask for"), ("extension", "cooling_off", "unlinked", "hold_review")),
    (_("How soon work is done"), ("deadlines",)),
    (_("Who decides"), ("who_decides",)),
)
"""Every value stands in one group, under the first part of its name; a test holds that."""


def length(written: str, lang: str) -> str:
    """A period or a limit in words: `P1Y6M` is *1 year 6 months*. Raises RetentionDataError."""
    limit = Limit.parse(written)
    if limit.period is None:
        parts = [("hour", limit.hours or 0)]
    else:
        period = limit.period
        parts = [("year", period.years), ("month", period.months), ("day", period.days)]
    locale = Locale.parse(lang)
    return " ".join(format_unit(count, f"duration-{unit}", locale=locale) for unit, count in parts if count)
