"""Words of the forms: what a step is for, how a field is called, what helps to fill it in."""

from collections.abc import Mapping
from typing import Final


def _(text: str) -> str:
    """Mark a text for extraction; the page translates it."""
    return text


EXPLAINED: Final[Mapping[str, str]] = {
    "handover.offer": _("You answer for the packages until the receiver accepts them."),
    "handover.accept": _("From now on you answer for these packages."),
    "handover.refuse": _("The packages go back to the giver."),
    "handover.cancel": _("The packages stay with your organisation."),
    "handover.carry": _(
        "The courier signs here, on this device. The packages stay on the way until accepted."
    ),
    "handover.record_acceptance": _(
        "The receiver signs here, on this device. It is shown as acceptance recorded by the giver."
    ),
    "package.open": _("Opening breaks the seal. Say why; close the package with a new seal afterwards."),
    "package.void": _("Only for a package that is empty and was registered in error. A second person signs."),
    "package.return": _("Only the person's own belongings, never samples. A second person signs."),
    "labels.swapped": _(
        "The finding is recorded for both packages and both get new labels. A second person signs."
    ),
    "report.declare": _("From now on no term runs and nothing can be destroyed."),
    "report.withdraw": _(
        "Only after two of you have confirmed identity and free will. The term runs again, with its notice."
    ),
    "withdrawal.wish": _("The wish is recorded. Only the prosecutor's office can end the link."),
    "order.enter": _("The kit is held at once. A second person compares the order before the kit is linked."),
    "order.confirm": _("Compare the order with what was entered: give the same document or its digest."),
    "choices.disclose": _(
        "The choices trail can then be downloaded, up to this entry and no further. A second person signs."
    ),
    "request.answer": _("Two of you look whether a kit of this centre belongs to the request."),
    "kit.link": _("The prosecutor's office and the police zone can see the kit's custody trail from now on."),
    "link.error": _("Access of the police and the prosecutor ends at once. A second person signs."),
    "link.end": _("The prosecutor's office ended the link in writing. A second person signs."),
    "release.error": _("The packages come back sealed. A second person signs."),
    "kit.restrict": _(
        "For when a colleague, or somebody close to a colleague, is concerned. From now on only these people"
        " know of the kit: choose at least two, one of them a coordinator. In an emergency others can"
        " break the glass, which is on record."
    ),
    "restriction.lift": _("Everybody of the centre reads the kit again. Another reader signs."),
    "release.open": _(
        "The centre reads the kit and its trails again, until the release is found in error; it cannot be"
        " closed again."
    ),
    "term.extend": _("The victim may keep the evidence longer at any time before the disposal."),
    "term.correct": _(
        "The term is set again. A shorter one brings a fresh notice period. A second person signs."
    ),
    "hold.place": _("While a hold stands, nothing can be destroyed."),
    "hold.lift": _("Two people lift a hold. A hold by a judge or magistrate needs the written order."),
    "hold.review": _(
        "Say why the hold stays, and when it is looked at next. The coordinator can record what a magistrate"
        " decided about the magistrate's own hold."
    ),
    "search.end": _(
        "Only for what is recorded as lost. It can still be found later; it no longer keeps the kit open. A"
        " second person signs."
    ),
    "term.move": _("Only where the newer policy keeps the evidence longer. Nothing is brought forward."),
    "majority.confirm": _(
        "Two of you saw that the victim is of age now; no date of birth is recorded. The old card stops at"
        " once. Give a new card and try the safe channel again, with the victim."
    ),
    "card.stop": _("For a card that was lost, or seen by somebody else. It opens nothing from now on."),
    "card.renew": _(
        "A second person signs, and sees the new code and second number that one time: do it together with"
        " the victim. The old card stops at that moment."
    ),
    "channel.prove": _("A message was shown, a call was answered, or the victim confirmed it in person."),
    "channel.change": _(
        "Only in person, or confirmed over the channel agreed before. The service sends nothing there until"
        " it was tried. A second person signs."
    ),
    "notice.send": _("The service sends the notice now, over the safe channel that was agreed."),
    "disposal.close_empty": _(
        "Every package went back or was destroyed, or was lost and its search is ended. A second person"
        " signs."
    ),
    "destruction.ask": _("Nothing happens until two of you confirm identity and free will."),
    "destruction.confirm": _(
        "Each of two people asks apart from the other, and is certain who this is and that it is the person's"
        " own wish. The cooling-off begins only once the second person has signed."
    ),
    "disposal.approve": _("Another person carries the disposal out, before an observer."),
    "event.correct": _("The event stays as it is; the correction follows it."),
    "notice.attempt": _("Only over the safe channel that was agreed."),
    "incident.open": _("A freezer failed, for example: every package it touched is named."),
}

FIELDS: Final[Mapping[str, str]] = {
    "packages": _("Packages"),
    "reason": _("Reason"),
    "place": _("Place"),
    "organisation": _("Receiving organisation"),
    "person": _("Person (if somebody in particular)"),
    "due_at": _("Due by"),
    "courier": _("Name of the courier"),
    "courier_organisation": _("Organisation of the courier"),
    "receiver": _("Name of the receiver"),
    "receiver_organisation": _("Organisation of the receiver"),
    "giver": _("Name of who brings them"),
    "giver_organisation": _("Organisation of who brings them"),
    "signature": _("Signature"),
    "digest": _("Document"),
    "letter": _("Letter of the office"),
    "order": _("Written order (where a judge or magistrate placed the hold)"),
    "authority": _("Authority that ordered it"),
    "dated": _("Date of the order"),
    "how": _("How"),
    "pv": _("Number of the police report (PV)"),
    "notice": _("Notice number"),
    "office": _("Prosecutor's office"),
    "zone": _("Police zone"),
    "request": _("Request of the police"),
    "kit": _("Kit"),
    "age_class": _("Age class"),
    "ground": _("Ground"),
    "review_on": _("Look at it again on"),
    "hold": _("Which hold"),
    "items": _("Items"),
    "missing": _("What was found"),
    "brought_by": _("Brought by"),
    "parts": _("Labels"),
    "into": _("New packages"),
    "package": _("Package"),
    "paper": _("Recorded on paper"),
    "first": _("First package"),
    "second": _("Second package"),
    "not_found": _("Not there"),
    "examined_on": _("Day of the examination"),
    "centre": _("Centre"),
    "count": _("How many"),
    "readers": _("Readers"),
    "event": _("Event"),
    "asked_by": _("Who asks"),
    "identity": _("Are you certain who it is?"),
    "free_will": _("Is it this person's own wish, said alone and without pressure?"),
    "channel": _("Safe channel"),
    "channel_address": _("Its address or number"),
    "channel_hours": _("When a call suits"),
    "channel_question": _("Question that is asked first"),
    "language": _("Language"),
    "kits": _("Kits"),
    "document": _("Policy file"),
}

HINTS: Final[Mapping[str, str]] = {
    "reason": _("At most 200 characters. Nothing about what happened, no names."),
    "due_at": _("What is not accepted by then raises an alarm."),
    "digest": _("Choose the scanned file: only its digest is kept, never the file."),
    "letter": _("Choose the scanned file: only its digest is kept, never the file."),
    "order": _("Choose the scanned file: only its digest is kept, never the file."),
    "pv": _("As it stands on the report, for example BR.37.L1.012345/2026."),
    "signature": _("Type the full name to sign. What was signed is kept as a digest."),
    "review_on": _("Empty: as late as the policy allows."),
    "channel_address": _("Kept encrypted, for this centre alone."),
}

# The words of the choices, by field.
