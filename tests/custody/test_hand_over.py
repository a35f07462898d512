"""Packages go from hand to hand, and two people never get the same one."""
