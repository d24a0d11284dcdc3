#!/usr/bin/env python3
"""Reads the whole repository and fails on what reviews should not have to look for.

The rules are data at the top of this file; each check is a function from a file to findings, so that
test_tidy.py can hold it against small texts. Standard library only.
"""

import os
import re
import subprocess
import sys

# A folder includes itself and those before it.
LAYERS = ["base", "config", "transport", "store", "catalog", "snapshot", "agent"]
# These may include anything.
FREE_FOLDERS = ["tests", "bench"]

# Headers of other projects, and where they may be included. Tests and benchmarks are exempt.
THIRD_PARTY = [
    (r"boost/", ["transport/"]),
    (r"rbd/", ["snapshot/rbd/"]),
    (r"rados/", ["snapshot/rbd/", "store/backend/"]),
    (r"rocksdb/", ["catalog/"]),
    (r"yaml-cpp/", ["config/", "transport/kube/"]),
    (r"CLI/", ["agent/cli/"]),
    (r"zstd(_errors)?\.h", ["store/"]),
    (r"openssl/", ["base/", "transport/"]),
    (r"expat", ["transport/s3/"]),
    (r"date/", ["config/"]),
]

# Calls that take time or chance from the system instead of from a parameter, and what to use.
# Outside of base/; tests are exempt.
BANNED_CALLS = [
    (r"\bsystem_clock\s*::\s*now\b", "take a Clock& (base/clock.h)"),
    (r"\bthis_thread\s*::\s*sleep_(for|until)\b", "use sleep_for with a stop token (base/queue.h)"),
    (r"\brandom_device\b", "use random_bytes (base/crypto.h)"),
]

COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70

# Written in pieces, so that this file does not find itself.
LEFTOVERS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")\b")
MACHINE_PATHS = re.compile("|".join([r"(?<![\w.:/-])/" + r"work/", "/tmp/" + "bash_jobs"]))

CPP_ENDINGS = (".cc", ".h", ".c")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# What is in these says so itself.
NO_README = {"cmake", "docs"}
# Folders whose files are data of tests, kept byte by byte.
DATA_FOLDERS = ("tests/golden/",)


class Finding:
    def __init__(self, path, line, text):
        self.path, self.line, self.text = path, line, text

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text}"


def folder_of(path):
    return path.split("/", 1)[0] if "/" in path else ""


def is_cpp(path):
    return path.endswith(CPP_ENDINGS)


def includes(text):
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def check_layers(path, text):
    """Includes of our own headers follow the order of the layers, and name them from the top."""
    if not is_cpp(path):
        return
    folder = folder_of(path)
    for number, quote, name in includes(text):
        target = folder_of(name)
        if quote == '"' and target not in LAYERS + FREE_FOLDERS and folder not in FREE_FOLDERS:
            yield Finding(path, number, f'"{name}": name headers of ours from the top folder')
        elif target in FREE_FOLDERS and folder not in FREE_FOLDERS:
            yield Finding(path, number, f'"{name}": only tests and benchmarks include {target}/')
        elif folder in LAYERS and target in LAYERS and quote == '"':
            if LAYERS.index(target) > LAYERS.index(folder):
                yield Finding(path, number, f'"{name}": {folder}/ stands below {target}/')


def check_third_party(path, text):
    """Headers of other projects stay in the one place that wraps them."""
    if not is_cpp(path) or folder_of(path) in FREE_FOLDERS:
        return
    for number, quote, name in includes(text):
        own = quote == '"' and folder_of(name) in LAYERS
        for pattern, places in THIRD_PARTY:
            if not own and re.match(pattern, name) and not path.startswith(tuple(places)):
                yield Finding(path, number, f"{name} is included in {', '.join(places)} only")


def blank_comments_and_strings(text):
    """The text with comments, strings and character constants replaced by blanks of their length."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"([^\s()\\]{0,16})\(.*?\)\1"'
        r'|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'',
        re.S,
    )
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def check_banned_calls(path, text):
    """Time and chance come from parameters."""
    if not is_cpp(path) or folder_of(path) in ("base", "tests"):
        return
    for number, line in enumerate(blank_comments_and_strings(text).splitlines(), 1):
        for pattern, instead in BANNED_CALLS:
            match = re.search(pattern, line)
            if match:
                yield Finding(path, number, f"{match.group(0)}: {instead}")


def check_columns(path, text):
    if not is_cpp(path):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > COLUMNS_MAX:
            yield Finding(path, number, f"{len(line)} columns, at most {COLUMNS_MAX}")


NOT_A_FUNCTION = re.compile(r"^\s*(namespace|class|struct|enum|union|extern|typedef|using)\b")


ACCESS = re.compile(r"^\s*(public|private|protected)\s*:(?!:)")


def functions(text):
    """Yields (first line, last line) of each function body's definition, by braces alone.

    A brace opens a function where what stands before it, since the last ';' or brace, holds a '('
    that is closed again and does not begin like a type or a namespace. What lies within a function
    belongs to it.
    """
    code = re.sub(r"^\s*#.*?(?<!\\)$", lambda m: re.sub(r"[^\n]", " ", m.group(0)),
                  blank_comments_and_strings(text), flags=re.M | re.S)
    head_start, line, depth, inside, first = 0, 1, 0, None, 0
    for position, c in enumerate(code):
        if c == "\n":
            line += 1
        elif c == "{":
            depth += 1
            head = code[head_start:position]
            label = ACCESS.match(head)
            head = head[label.end():] if label else head
            template_free = re.sub(r"^\s*template\s*<[^{]*?>\s*(?=\w)", "", head)
            opens = (
                inside is None
                and "(" in head
                and head.count("(") == head.count(")")
                and not NOT_A_FUNCTION.match(template_free)
            )
            if opens:
                inside = depth
                first = line - head.lstrip().count("\n")
            head_start = position + 1
        elif c == "}":
            if inside == depth:
                yield first, line
                inside = None
            depth -= 1
            head_start = position + 1
        elif c == ";":
            head_start = position + 1


def check_function_length(path, text):
    if not is_cpp(path):
        return
    for first, last in functions(text):
        if last - first + 1 > FUNCTION_LINES_MAX:
            yield Finding(path, first,
                          f"a function of {last - first + 1} lines, at most {FUNCTION_LINES_MAX}")


def check_leftovers(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        match = LEFTOVERS.search(line)
        if match:
            yield Finding(path, number, f"{match.group(0)}: finish it or leave it out")


def check_machine_paths(path, text):
    """Nothing depends on the machine where it was written."""
    for number, line in enumerate(text.splitlines(), 1):
        match = MACHINE_PATHS.search(line)
        if match:
            yield Finding(path, number, f"{match.group(0)}: a path of one machine")


def check_whitespace(path, text):
    if path.startswith(DATA_FOLDERS):
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip():
            yield Finding(path, number, "white space at the end of the line")


def check_pragma_once(path, text):
    if path.endswith(".h") and not re.search(r"^#pragma once$", text, re.M):
        yield Finding(path, 1, "#pragma once is missing")


FILE_CHECKS = [
    check_layers,
    check_third_party,
    check_banned_calls,
    check_columns,
    check_function_length,
    check_leftovers,
    check_machine_paths,
    check_whitespace,
    check_pragma_once,
]


def check_readmes(files):
    """Every folder at the top says what belongs in it."""
    folders = {folder_of(path) for path in files}
    for folder in sorted(folders - NO_README):
        if folder and not folder.startswith(".") and f"{folder}/README.md" not in files:
            yield Finding(folder, 1, "README.md is missing")


def check_tests_are_built(files):
    """A test that no CMakeLists.txt names is never run. The one beside it, or one above, names it."""
    for path in sorted(files):
        if not path.endswith("_test.cc"):
            continue
        name = path
        folder = os.path.dirname(path)
        named = False
        while folder and not named:
            lists = "\n".join(
                text for name_of, text in files.items()
                if os.path.dirname(name_of) == folder
                and (name_of.endswith("/CMakeLists.txt") or name_of.endswith(".cmake")))
            relative = os.path.relpath(name, folder)
            named = bool(re.search(rf"(?<![\w./-]){re.escape(relative)}(?![\w.-])", lists))
            folder = os.path.dirname(folder)
        if not named:
            yield Finding(path, 1, "no CMakeLists.txt names this test")


TREE_CHECKS = [check_readmes, check_tests_are_built]


def check(files):
    """All findings in {path: text}."""
    found = []
    for path in sorted(files):
        for one_check in FILE_CHECKS:
            found.extend(one_check(path, files[path]))
    for one_check in TREE_CHECKS:
        found.extend(one_check(files))
    return found


def list_paths(root):
    """What git tracks or would track; without git, everything but build trees and hidden files."""
    try:
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True, check=True).stdout
        return [name for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = []
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders
                          if not f.startswith((".", "build")) and f != "__pycache__"]
            paths += [os.path.relpath(os.path.join(folder, name), root) for name in names]
        return paths


def read_tree(root):
    files = {}
    for path in list_paths(root):
        full = os.path.join(root, path)
        if not os.path.isfile(full) or os.path.islink(full):
            continue
        with open(full, "rb") as file:
            data = file.read()
        if b"\0" in data:
            continue  # not text
        files[path] = data.decode("utf-8", "replace")
    return files


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else "."
    files = read_tree(root)
    if "CMakeLists.txt" not in files:
        print(f"{root} is not the top of the repository", file=sys.stderr)
        return 2
    found = check(files)
    for finding in found:
        print(finding)
    print(f"{len(files)} files, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
