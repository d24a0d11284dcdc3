"""Programs of others that tests of deploy/ use, and that Debian has not, or too old."""

import os
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
OLDEST_KUBECTL = 27  # of 1.x: the first whose kustomize knows what the overlays use


def find(name):
    """Where it is: $TM_<NAME>, tools/ of the build, or the path; None where it is not."""
    built = pathlib.Path(os.environ.get("TM_BUILD", ROOT / "build")) / "tools" / name
    return os.environ.get("TM_" + name.upper()) or (str(built) if built.exists() else shutil.which(name))


def find_kubectl():
    """One that is new enough, or None."""
    kubectl = find("kubectl")
    if not kubectl:
        return None
    out = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True, check=False)
    minor = re.search(r'"minor": "(\d+)', out.stdout)
    return kubectl if minor and int(minor.group(1)) >= OLDEST_KUBECTL else None
