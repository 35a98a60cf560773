"""The script that replaces pip's netctl: starts without ``site`` and the environment's variables, from any folder."""

import subprocess
import sys
from pathlib import Path

from tests.tools.conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import netctl_script

SITE = next(entry for entry in sys.path if entry.endswith("site-packages"))


def written(folder, **changed):
    folders = changed.pop("folders", [str(ROOT), SITE])
    script = folder / "netctl"
    script.write_text(netctl_script.script(Path(sys.executable), folders))
    script.chmod(0o755)
    return script


def called(script, *words, cwd="/", **environment):
    return subprocess.run([script, *words], capture_output=True, text=True, timeout=30, cwd=cwd, env=environment)


def test_the_script_calls_netctl_and_ends_with_its_code(tmp_path):
    done = called(written(tmp_path), "no-such-verb")
    assert done.returncode == 1 and "no-such-verb" in done.stderr


def test_variables_and_the_current_folder_do_not_change_what_is_imported(tmp_path):
    other = tmp_path / "netd"
    other.mkdir()
    (other / "__init__.py").write_text("raise SystemExit('imported from the wrong folder')")
    done = called(written(tmp_path), "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0 and "netctl" in done.stdout


def test_the_module_site_is_not_imported(tmp_path):
    script = written(tmp_path)
    script.write_text(script.read_text().replace("\nrun()\n", "\nprint(*sys.modules)\n"))
    loaded = called(script).stdout.split()
    assert "netd.cli.main" in loaded and "site" not in loaded


def test_packages_of_the_environment_are_found(tmp_path):
    """The verbs of compose need PyYAML."""
    (tmp_path / "compose.yaml").write_text("services: {web: {image: busybox}}\n")
    done = called(written(tmp_path), "compose", "-f", str(tmp_path / "compose.yaml"), "config", "--services")
    assert done.stdout == "web\n", done.stderr


def test_output_that_cannot_be_written_is_reported(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [written(tmp_path), "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, cwd="/"
        )
    assert done.returncode == 1 and "No space left" in done.stderr


def test_an_interpreter_that_a_first_line_cannot_name_keeps_the_script_of_pip():
    assert netctl_script.script(Path("/opt/a folder/bin/python"), []) is None
    assert netctl_script.script(Path("/opt/" + "x" * 120 + "/bin/python"), []) is None
