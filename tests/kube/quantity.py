"""Kubernetes quantities: "3Gi", "512Mi", "1e9"."""

from fractions import Fraction
import re

SUFFIX = {"": 1, "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000),
          "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
          "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}


def parse(text):
    """The exact number; ValueError if it is none."""
    match = re.fullmatch(r"([+-]?[\d.]+)([eE][+-]?\d+|[a-zA-Z]*)", str(text))
    if not match:
        raise ValueError(f"not a quantity: {text}")
    number, suffix = match.groups()
    if re.fullmatch(r"[eE][+-]?\d+", suffix):
        return Fraction(number) * Fraction(10) ** int(suffix[1:])
    if suffix not in SUFFIX:
        raise ValueError(f"not a quantity: {text}")
    return Fraction(number) * SUFFIX[suffix]


def compare(a, b):
    """-1, 0 or 1."""
    left, right = parse(a), parse(b)
    return (left > right) - (left < right)
