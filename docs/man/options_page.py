#!/usr/bin/env python3
"""Writes tidemark.yaml(5) from the schema of the configuration: options_page.py SCHEMA >tidemark.yaml.5

SCHEMA is what `tidemark config schema` prints; tests/golden/config/schema.json is the same.
"""

import json
import sys

HEAD = """.\\" Written by options_page.py from the option table.
.Dd November 29, 2026
.Dt TIDEMARK.YAML 5
.Os
.Sh NAME
.Nm tidemark.yaml
.Nd the configuration of tidemark(8)
.Sh DESCRIPTION
One YAML file per site,
.Pa /etc/tidemark/tidemark.yaml .
Relative paths start at its directory.
Durations are written 90s, 15m, 2h, 7d, 1w or as a sum, sizes in powers of 1024.
A secret never stands in the file: options that end in _file take a path, { file: PATH } or ${env:NAME}.
.Pp
.Ic tidemark config check
reads the file as the agent does and names everything that is wrong with it.
The agent takes changes up by itself.
.Sh OPTIONS
Names in angle brackets are for you to choose.
.Bl -tag -width Ds
"""
TAIL = """.El
.Sh EXAMPLES
.Pa /usr/share/doc/tidemark/tidemark.yaml
uses every option.
.Sh SEE ALSO
.Xr tidemark 8
"""
# What a map of named things is a map of.
NAMED = {"peers": "<site>", "policies": "<policy>", "standby": "<name>", "drills": "<plan>"}


def plain(text):
    """Text that no line of is taken for a request."""
    text = str(text).replace("\\", "\\e")
    return "\\&" + text if text.startswith((".", "'")) else text


def entry(path, option, required):
    said = option.get("description", "")
    if "enum" in option:
        said += " One of " + ", ".join(option["enum"]) + "."
    if required:
        said += " Required."
    elif "default" in option:
        said += f" Default: {option['default']}."
    return f".It Ic {path}\n{plain(said.strip())}\n"


def entries(schema, prefix=""):
    for name, option in schema.get("properties", {}).items():
        path = prefix + name
        yield entry(path, option, name in schema.get("required", []))
        yield from entries(option, path + ".")
        named = option.get("additionalProperties")
        if isinstance(named, dict) and "properties" in named:
            yield from entries(named, f"{path}.{NAMED[name]}.")


def page(schema):
    return HEAD + "".join(entries(schema)) + TAIL


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as source:
        sys.stdout.write(page(json.load(source)))
