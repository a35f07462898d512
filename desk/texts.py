"""Words for people: states, functions, types of items and events, steps, fields, choices.

Every text here is English and a gettext message at once: `_` marks it for extraction, and the page looks it
up in the language of the reader when it is shown. Factual and neutral; nothing here speaks of what happened
to anybody. Tests hold each table against the data it names, so that no word is missing on a page.
"""

from collections.abc import Mapping
from typing import Final

from desk.event_names import EVENTS as EVENTS
from desk.form_words import EXPLAINED as EXPLAINED
from desk.form_words import FIELDS as FIELDS
from desk.form_words import HINTS as HINTS


def _(text: str) -> str:
    """Mark a text for extraction; the page translates it."""
    return text


FUNCTIONS: Final[Mapping[str, str]] = {
    "nurse": _("Nurse"),
    "custodian": _("Custodian"),
    "coordinator": _("Coordinator"),
    "officer": _("Police officer"),
    "analyst": _("Analyst"),
    "registrar": _("Registrar"),
    "magistrate": _("Magistrate"),
    "auditor": _("Auditor"),
    "observer": _("Observer"),
    "victim": _("By the card"),
    "clock": _("The service's clock"),
}

DUTY_REASONS: Final[Mapping[str, str]] = {
    "provider_down": _("Our sign-in page cannot be reached"),
    "account_blocked": _("My account is blocked"),
    "token_lost": _("I do not have my phone, key or card to prove who I am"),
}
DUTY_FINDINGS: Final[Mapping[str, str]] = {
    "in_order": _("Everything is in order"),
    "not_in_order": _("Something is not in order; I follow it up"),
}
DUTY_TITLE: Final = _("Duty credential")
DUTY_SHEET: Final = (
    _(
        "For the night when you cannot sign in: the sign-in page does not answer, your account is blocked, or"
        " you lost your token or phone."
    ),
    _("Open the address above, choose the centre, type the code, then choose your name and the reason."),
    _(
        "From then on every nurse and custodian of the centre signs in with it for twelve hours, each with"
        " their own name."
    ),
    _(
        "You can register kits, seal and open packages, store and take them, hand them over (to the police,"
        " too) and print labels. You can record a report, a hold, or that a kit is kept longer."
    ),
    _(
        "What needs two people waits for the day, and so does destroying, handing out a file, and ending a"
        " protection."
    ),
    _(
        "Every sign-in is recorded. Every coordinator of the centre sees it on the first page until one of"
        " them has reviewed it and had a new sheet made and sealed."
    ),
    _("A newer sheet makes this one void: destroy it when the new one comes."),
)
DUTY_MADE: Final = _("Made on {day}.")
DUTY_CALL: Final = _("Call when you open it:")

CUSTODY: Final[Mapping[str, str]] = {
    "packed": _("packed, not sealed"),
    "sealed": _("sealed, in hands"),
    "stored": _("stored"),
    "in_transit": _("on the way"),
    "opened": _("opened"),
    "split": _("split"),
    "joined": _("joined"),
    "destroyed": _("destroyed"),
    "returned": _("returned"),
    "deposited": _("deposited"),
    "lost": _("cannot be found"),
    "void": _("registered in error"),
}

LEGAL: Final[Mapping[str, str]] = {
    "unreported": _("no report"),
    "declared": _("report declared"),
    "linked": _("linked to a police report"),
    "released": _("released to justice"),
}

RETENTION: Final[Mapping[str, str]] = {
    "running": _("term running"),
    "notice_due": _("notice due"),
    "expired": _("term over"),
    "proposed": _("disposal proposed"),
    "approved": _("disposal approved"),
    "stopped": _("no term runs"),
    "disposed": _("disposed of"),
}

STORAGE: Final[Mapping[str, str]] = {
    "frozen": _("frozen"),
    "refrigerated": _("refrigerated"),
    "dry": _("dry"),
}

KINDS: Final[Mapping[str, str]] = {
    "bag": _("bag"),
    "box": _("box"),
    "envelope": _("envelope"),
    "tube_rack": _("rack of tubes"),
    "clothing_bag": _("clothing bag"),
}

GROUPS: Final[Mapping[str, str]] = {
    "sample": _("sample"),
    "toxicology": _("toxicology"),
    "belongings": _("belongings"),
}

ITEMS: Final[Mapping[str, str]] = {
    "swab_oral": _("swab, oral"),
    "swab_vaginal": _("swab, vaginal"),
    "swab_cervical": _("swab, cervical"),
    "swab_anal": _("swab, anal"),
    "swab_penile": _("swab, penile"),
    "swab_external_genital": _("swab, external genital"),
    "swab_skin": _("swab, skin"),
    "swab_nails": _("swab, nails"),
    "swab_control": _("swab, control"),
    "contact_trace": _("contact trace"),
    "saliva_reference": _("saliva, reference"),
    "hair_head": _("hair, head"),
    "hair_pubic": _("hair, pubic"),
    "hair_foreign": _("hair, other"),
    "fibre": _("fibre"),
    "smear": _("smear"),
    "blood_reference": _("blood, reference"),
    "blood_toxicology": _("blood, toxicology"),
    "urine_toxicology": _("urine, toxicology"),
    "hair_toxicology": _("hair, toxicology"),
    "tampon_or_pad": _("tampon or pad"),
    "condom": _("condom"),
    "underwear": _("underwear"),
    "clothing_upper": _("clothing, upper body"),
    "clothing_lower": _("clothing, lower body"),
    "clothing_outer": _("outerwear"),
    "shoes": _("shoes"),
    "bedding": _("bedding"),
    "other_textile": _("other textile"),
    "phone_or_object": _("telephone or object"),
}

ACTIONS: Final[Mapping[str, str]] = {
    "kit.supplement": _("Add packages"),
    "package.seal": _("Seal"),
    "seal.check": _("Check seals"),
    "package.open": _("Open"),
    "package.reseal": _("Close with a new seal"),
    "package.store": _("Store"),
    "package.take": _("Take out"),
    "package.take_over": _("Take over from somebody who left"),
    "package.split": _("Split"),
    "package.join": _("Join"),
    "package.lose": _("Cannot be found"),
    "search.end": _("End the search"),
    "package.find": _("Was found"),
    "package.void": _("Registered in error"),
    "package.return": _("Return belongings"),
    "package.deposit": _("Deposit at the registry"),
    "item.finding": _("Item missing or found"),
    "labels.print": _("Print labels"),
    "labels.swapped": _("Labels were swapped"),
    "event.correct": _("Correct an event"),
    "incident.open": _("Incident at a place"),
    "handover.offer": _("Hand over"),
    "handover.carry": _("A courier signs"),
    "handover.accept": _("Accept"),
    "handover.refuse": _("Refuse"),
    "handover.cancel": _("Take the offer back"),
    "handover.record_acceptance": _("Receiver without an account signs"),
    "handover.receive_back": _("Receive back"),
    "report.declare": _("The victim reports"),
    "report.withdraw": _("The report is withdrawn"),
    "withdrawal.wish": _("Record the wish to withdraw"),
    "order.enter": _("Enter a judge's order"),
    "order.confirm": _("Confirm a judge's order"),
    "choices.disclose": _("Hand out the choices trail on a judge's order"),
    "request.answer": _("Answer a request of the police"),
    "kit.link": _("Link to the police report"),
    "link.move": _("Another office takes the file"),
    "link.error": _("Linked in error"),
    "link.end": _("The office ended the link"),
    "release.error": _("Released in error"),
    "kit.restrict": _("Restrict to named readers"),
    "restriction.lift": _("Lift the restriction"),
    "release.open": _("Open the kit to its centre"),
    "term.extend": _("Keep longer"),
    "term.correct": _("Correct the age class"),
    "term.move": _("Go to the newer policy"),
    "hold.place": _("Hold"),
    "hold.lift": _("Lift a hold"),
    "hold.review": _("The hold was looked at again"),
    "notice.attempt": _("Record a notice"),
    "notice.send": _("Have the notice sent"),
    "channel.prove": _("The safe channel was tried"),
    "channel.change": _("Another safe channel"),
    "card.stop": _("Stop the card"),
    "card.renew": _("A new card"),
    "majority.confirm": _("The victim has come of age"),
    "destruction.ask": _("The victim asks for destruction"),
    "destruction.confirm": _("Confirm the wish for destruction"),
    "destruction.take_back": _("Take the wish for destruction back"),
    "disposal.propose": _("Propose the disposal"),
    "disposal.approve": _("Approve the disposal"),
    "disposal.withdraw": _("Take the disposal back"),
    "disposal.carry_out": _("Carry out the disposal"),
    "disposal.close_empty": _("Nothing is left to destroy"),
    "stock_take.take": _("Stock-take of a place"),
    "policy.adopt": _("Adopt a policy"),
}

# What a step means, in one sentence above its form. A step that explains itself has none.
CHOICES: Final[Mapping[str, Mapping[str, str]]] = {
    "how": {
        "in_person": _("in person"),
        "by_phone": _("by telephone"),
        "in_writing": _("in writing"),
        "by_card": _("by the card"),
        "hold": _("by a hold"),
        "taken_back": _("the wish for destruction was taken back"),
        "message_shown": _("a message arrived and was shown"),
        "called": _("called, and the person answered"),
        "victim_agreed": _("the victim agreed"),
        "by_law": _("the law changed"),
        "reached": _("reached"),
        "posted": _("a letter was posted"),
        "not_reached": _("not reached"),
        "not_wanted": _("no notice was wanted"),
        "no_channel": _("there is no safe channel"),
        "over_previous_channel": _("over the channel agreed before"),
        "unreachable": _("cannot be reached any more"),
        "sent": _("sent by the service"),
        "tried": _("tried by the service; it tries again"),
        "failed": _("could not be sent"),
        "bounced": _("came back"),
        "complete": _("everything is there"),
        "differences": _("with differences"),
        "match": _("A kit of this centre belongs to it"),
        "no_match": _("No kit of this centre belongs to it"),
    },
    "age_class": {
        "adult": _("adult"),
        "minor": _("minor"),
        "unknown": _("not known (the longer term applies)"),
    },
    "ground": {
        "centre": _("the centre holds it"),
        "suspected_pressure": _("somebody may be under pressure"),
        "death": _("death"),
        "incapacity": _("incapacity"),
        "magistrate": _("a magistrate holds it"),
        "safety": _("asked for by the victim"),
        "order": _("a judge's order"),
        "report": _("a report"),
    },
    "channel": {
        "none": _("no messages"),
        "email": _("e-mail"),
        "sms": _("text message"),
        "phone": _("telephone"),
        "post": _("post"),
    },
    "language": {
        "nl": _("Dutch"),
        "fr": _("French"),
        "de": _("German"),
        "en": _("English"),
    },
    "decided_by": {
        "victim": _("the victim"),
        "representative": _("a representative"),
    },
    "brought_by": {
        "victim": _("the victim"),
        "support_person": _("the support person"),
        "police": _("the police"),
        "hospital_staff": _("staff of the hospital"),
    },
    "card": {"issued": _("yes, print a card"), "declined": _("no card")},
    "condition": {"intact": _("intact"), "broken": _("broken")},
    "kind": KINDS,
    "storage": STORAGE,
    "missing": {"true": _("missing"), "false": _("found again")},
    "asked_by": {
        "victim": _("the victim"),
        "representative": _("a representative"),
    },
    "identity": {
        "confirmed": _("yes, I am certain"),
        "not_confirmed": _("no, or not certain"),
    },
    "free_will": {
        "confirmed": _("yes, I asked and I am certain"),
        "not_confirmed": _("no, or not certain"),
    },
    "representative_suspected": {
        "no": _("no"),
        "yes": _("yes, or it may be"),
    },
}

# Why somebody opens a kit without a scan or a task; the word goes into the record of readings.

PURPOSES: Final[Mapping[str, str]] = {
    "scan": _("The package lies before me"),
    "report": _("The victim reports, or asks about the report"),
    "safety": _("The victim asks, or may be in danger"),
    "court": _("Justice asks"),
    "stock_take": _("I count what is in the store"),
    "review": _("I review how it was handled"),
    "complaint": _("Somebody complained"),
}

READ_FOR: Final[Mapping[str, str]] = {
    **PURPOSES,
    "task": _("a task"),
    "own_page": _("the own page"),
    "break_glass": _("an emergency"),
}

# Why a member of staff opens a restricted kit whose reader they are not.
GLASS_REASONS: Final[Mapping[str, str]] = {
    "victim_in_danger": _("The victim may be in danger"),
    "medical_emergency": _("A medical emergency"),
    "readers_absent": _("No reader can be reached, and it cannot wait"),
    "court_deadline": _("Justice set a deadline that cannot wait"),
}

# What was read, in the record of readings; a step stands there under its own name.
READ_WHAT: Final[Mapping[str, str]] = {
    "kit_read": _("the kit"),
    "own_kit_read": _("the own page"),
    "custody_trail_read": _("the custody trail"),
    "custody_trail_export": _("the custody trail, as a file"),
    "choices_trail_read": _("the choices trail"),
    "choices_trail_export": _("the choices trail, as a file"),
    "private_read": _("the private part"),
    "private_disclose": _("the private part, for a judge's order"),
    "private_disclosed": _("fields of the private part, handed over on a judge's order"),
    "labels_print": _("the labels"),
    "proposal": _("a step that waits for a second signature"),
    "scan": _("a label, scanned"),
    "scan_of_no_label_in_use": _("a label that is not in use, scanned"),
    "reads_read": _("who read the kit"),
    "reading_reviewed": _("a reading, reviewed"),
    "break_glass": _("the glass, broken"),
}

# Why a reading stands out: the words of ``custody.review.RULES``.
UNUSUAL: Final[Mapping[str, str]] = {
    "glass": _("the glass was broken"),
    "many_kits": _("more than 20 kits within an hour"),
    "again_and_again": _("more than five times on one day, and nothing recorded"),
    "never_acted": _("a stated reason, by somebody who never worked with this kit"),
    "at_night": _("between 22:00 and 6:00, and not a nurse"),
    "after_the_end": _("after the kit was released or disposed of"),
}

# What the review of a reading came to.
FOUND: Final[Mapping[str, str]] = {
    "in_order": _("it is in order"),
    "asked_the_person": _("I asked the person, and it is explained"),
    "passed_on": _("I passed it on"),
}

# For a bundle: what the custody trail is downloaded for.
EXPORT_PURPOSES: Final[Mapping[str, str]] = {
    "court": _("For the prosecution file or the court"),
    "review": _("To review how it was handled"),
    "complaint": _("Because of a complaint"),
}

# Sentences of ``retention.eligibility`` that its own code cannot mark for extraction.
CONDITIONS_MET: Final = (
    _("No report stands."),
    _("No order of a judge stands."),
    _("No hold stands."),
    _("The term ended on {day}."),
    _("The notice is settled: the victim was told, or it is recorded why not."),
    _("The victim asked for the destruction, two people confirmed it, and the time to think is over."),
    _("The time after the notice is over."),
    _("The time after the notice is not over."),
    _("Who was told has time until {until}. Nothing is disposed of before."),
    _("No time after a notice is to be waited for."),
    _("No hand-over is open."),
    _("Every package that is left is with the centre."),
    _("Nothing of this kit is left to destroy. Two people close it, with the reason."),
    _("Package {packages} is lost. Find it, or let two people end the search."),
    _("Packages {packages} are lost. Find them, or let two people end the search."),
    _("Package {packages} is not with the centre."),
    _("Packages {packages} are not with the centre."),
    _("Package {packages} is open. Seal it again first."),
    _("Packages {packages} are open. Seal them again first."),
    _("No package is open."),
    _("Two people ended the search for package {packages}. It is not destroyed, and stays lost."),
    _("Two people ended the search for packages {packages}. They are not destroyed, and stay lost."),
    _("Item {items} was not found on {at}. It is not destroyed, and the certificate says so."),
    _("Items {items} were not found on {at}. They are not destroyed, and the certificate says so."),
    _("Item {items} was not found. It is not destroyed, and the certificate says so."),
    _("Items {items} were not found. They are not destroyed, and the certificate says so."),
    _(
        "Item {items} is the victim's own: belongings can be returned first; "
        "what is not returned is destroyed."
    ),
    _(
        "Items {items} are the victim's own: belongings can be returned first; "
        "what is not returned is destroyed."
    ),
    _("The kit was closed on {at}, and package {packages} was found afterwards."),
    _("No request of the police named this centre since the examination."),
    _("The request of {zone} of {received} waits for an answer. Answer it first."),
    _("The request of {zone} of {received} was matched with this kit by {people} on {answered}."),
    _(
        "The request of {zone} of {received} was matched with this kit by {people} on {answered}; what it"
        " was matched for no longer stands."
    ),
    _("The request of {zone} of {received} named another kit; answered by {people} on {answered}."),
    _(
        "The request of {zone} of {received} named an examination on {day}, another day than this kit's;"
        " answered by {people} on {answered}."
    ),
    _("The request of {zone} of {received} matched another kit; answered by {people} on {answered}."),
    _("The request of {zone} of {received} has no match here: {people} looked and said so on {answered}."),
)

# What is overdue, what is done about it, and after how long: the words of ``retention.alarms.RULES``.
ALARMS: Final[Mapping[str, str]] = {
    "log_not_signed": _("Nothing is signed in the log"),
    "policy_unreadable": _("An adopted retention policy that cannot be read"),
    "handover_late": _("A hand-over that nobody has accepted"),
    "not_stored": _("A package in somebody's hands that lies in no place"),
    "seal_not_checked": _("A seal that only the person who closed it has seen"),
    "notice_came_back": _("A notice of the end of the term that did not arrive"),
    "notice_not_settled": _("A notice of the end of the term that nobody has settled"),
    "channel_old": _("A safe channel that was not confirmed lately, with a notice coming"),
    "wish_not_heard": _("A victim's wish for destruction that nobody has spoken about"),
    "expired_not_reviewed": _("A term that is over, with no disposal and no reason to keep the kit"),
    "proposed_not_decided": _("A disposal that is proposed and not decided"),
    "approved_not_carried_out": _("A disposal that is approved and not carried out"),
    "found_after_disposal": _("A package that was found after its kit was closed"),
    "hold_not_reviewed": _("A hold that nobody has looked at again"),
    "report_not_linked": _("A report that was declared and is not linked"),
    "link_not_picked_up": _("A linked kit that the police have not picked up"),
    "request_unanswered": _("A request of the police that nobody has answered"),
    "stock_take_due": _("A place that nobody has counted"),
    "kit_set_aside": _("A kit that the scheduled check could not move"),
    "glass_not_reviewed": _("The glass before a restricted kit, broken and not reviewed"),
    "duty_not_reviewed": _("The duty credential, opened and not reviewed"),
}
ALARM_STEPS: Final[Mapping[str, str]] = {
    "log_not_signed": _("Tell whoever runs this service; go on working, everything is recorded."),
    "policy_unreadable": _(
        "Tell whoever runs this service: nothing is decided about the terms of kits that keep this policy."
    ),
    "handover_late": _("The receiver accepts or refuses it; the giver asks, or takes the offer back."),
    "not_stored": _("Put it into its place, or hand it over."),
    "seal_not_checked": _("Another person looks at the seal."),
    "notice_came_back": _("Tell the victim another way that was agreed, and record what came of it."),
    "notice_not_settled": _("Tell the victim as agreed, and record what came of it."),
    "channel_old": _("Confirm with the victim, when there is an occasion, that the channel is still safe."),
    "wish_not_heard": _(
        "Speak with the victim; two of you confirm the wish, or record that it was taken back."
    ),
    "expired_not_reviewed": _(
        "Look at the conditions, then propose the disposal or keep the kit for a reason."
    ),
    "proposed_not_decided": _("Approve the disposal, or take it back."),
    "approved_not_carried_out": _("Carry it out before an observer, or take it back."),
    "found_after_disposal": _("Have it destroyed before an observer, as the rest of its kit."),
    "hold_not_reviewed": _(
        "Look whether the hold is still needed, then name the next day of review or lift it."
    ),
    "report_not_linked": _("Ask the victim and the police how the report stands."),
    "link_not_picked_up": _("Arrange the hand-over with the police."),
    "request_unanswered": _(
        "Look whether a kit matches, and answer; until then nothing of the centre can be disposed of."
    ),
    "stock_take_due": _("Scan everything that lies in it."),
    "kit_set_aside": _("Look at what the check says, and tell whoever runs this service."),
    "glass_not_reviewed": _("Ask why, then mark the reading as reviewed."),
    "duty_not_reviewed": _("Look into why it was opened, and end it."),
}
ALARM_TIMES: Final[Mapping[str, str]] = {
    "log_not_signed": _("at once"),
    "policy_unreadable": _("at once"),
    "handover_late": _("its due time"),
    "not_stored": _("as long as the policy gives from sealing to storing"),
    "seal_not_checked": _("24 hours"),
    "notice_came_back": _("at once"),
    "notice_not_settled": _("as long as the policy gives for a notice"),
    "channel_old": _("the age that the policy allows, once the notice is near"),
    "wish_not_heard": _("7 days"),
    "expired_not_reviewed": _("as long as the policy gives for it"),
    "proposed_not_decided": _("as long as the policy gives for looking at a term that is over"),
    "approved_not_carried_out": _("as long as the policy gives for it"),
    "found_after_disposal": _("at once"),
    "hold_not_reviewed": _("its day of review, or as long as the policy gives"),
    "report_not_linked": _("as long as the policy gives for it"),
    "link_not_picked_up": _("as long as the policy gives for it"),
    "request_unanswered": _("7 days"),
    "stock_take_due": _("as long as the policy gives from one stock-take to the next"),
    "kit_set_aside": _("at once"),
    "glass_not_reviewed": _("one day"),
    "duty_not_reviewed": _("one day"),
}
