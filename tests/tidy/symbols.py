#!/usr/bin/env python3
"""Fails where a program exports Boost symbols.

librbd and librados carry a Boost of their own and export it. Were the program to export its copy too,
the loader would bind theirs to it, and code of one build would run on the objects of another.
"""

import subprocess
import sys


def exported(listing, word):
    """The names in the output of `nm -D --defined-only` that hold `word`."""
    names = [line.split()[-1] for line in listing.splitlines() if line.split()]
    return [name for name in names if word in name]


def main():
    listing = subprocess.run(["nm", "-D", "--defined-only", sys.argv[1]],
                             capture_output=True, check=True, text=True).stdout
    found = exported(listing, "boost")
    for name in found:
        print(f"{sys.argv[1]} exports {name}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
