"""What stands on paper: labels and sheets, the victim's card, the form for an outage.

No personal data, and no word that says what the kit is about: a label in a corridor, or a card in a
pocket, tells a stranger nothing. Words on paper are passed in by the caller, in the reader's language.
"""
