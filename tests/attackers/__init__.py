"""The README's table of attackers, claim by claim: each test makes the attack on the real thing."""
