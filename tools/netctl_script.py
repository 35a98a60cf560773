"""Replace the script netctl that pip wrote into a virtual environment by one that starts in two thirds of the time.

    python tools/netctl_script.py ENVIRONMENT

The new script starts Python without the module ``site`` and without the variables ``PYTHON…``, and names the folders
to import from.  pip's script stays where the kernel could not read the interpreter's path from the first line.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_LONGEST = 120
"""Characters of the first line of a script; older kernels read 127."""
_FOLDERS = """
import json, sysconfig
from importlib.util import find_spec
from pathlib import Path
code = Path(find_spec("netd").origin).parents[1]
print(json.dumps(list(dict.fromkeys([str(code), sysconfig.get_path("purelib")]))))
"""
_SCRIPT = '''\
{first}
"""netctl without the module site, whose import takes a tenth of a short call."""
import sys

sys.path += {folders}

from netd.cli.main import run

run()
'''


def script(python: Path, folders: list[str]) -> str | None:
    """Return the text of the script; None if a first line cannot name *python*."""
    first = f"#!{python} -IS"
    if len(first) > _LONGEST or any(character.isspace() for character in str(python)):
        return None
    return _SCRIPT.format(first=first, folders=json.dumps(folders))


def main() -> None:
    environment = Path(sys.argv[1]).absolute()
    python = environment / "bin" / "python"
    # In another folder than the checkout's, so that the installed package is found.
    found = subprocess.run([python, "-I", "-c", _FOLDERS], capture_output=True, text=True, check=True, cwd="/")
    text = script(python, json.loads(found.stdout))
    if text is not None:
        (environment / "bin" / "netctl").write_text(text)


if __name__ == "__main__":
    main()
