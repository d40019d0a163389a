"""The command line as a process: signals from its first moment on, and standard streams that are closed, full, or read by nobody."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADVRUN = [sys.executable, "-m", "advrun"]


def heard(process: subprocess.Popen, number: int) -> bool:
    """Whether a process has said what a signal shall do."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\t(\w+)", status)[1], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of the process")
@pytest.mark.parametrize("pause", [0, 0.1, 0.3, 0.6, 1.2, 2])
def test_a_signal_during_imports_is_answered(tmp_path, pause):
    process = subprocess.Popen(
        [*ADVRUN, "run", ROOT / "configs/demo.yaml", "--set", f"results={tmp_path}"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while not heard(process, signal.SIGTERM):
        time.sleep(0.001)
    time.sleep(pause)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "goes on from there" in said.splitlines()[-1]
    assert "Traceback" not in said


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="terminals do not tell that they are closed")
def test_a_terminal_that_is_closed_ends_it_as_ctrl_c_does_unless_nohup():
    sleep = "import time; from advrun import process; process.start(); print('on', flush=True); time.sleep(2); print('over')"
    for before, code, last in (("", 130, "goes on from there\n"), ('trap "" HUP; ', 0, "")):
        started = ["sh", "-c", f'{before}exec "$0" "$@"', sys.executable, "-c", sleep]
        with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "on\n"
            process.send_signal(signal.SIGHUP)
            out, said = process.communicate(timeout=60)
        assert (process.returncode, out) == (code, "" if code else "over\n")
        assert said.endswith(last)
        assert bool(said) == bool(last)


def test_a_signal_that_the_process_was_started_deaf_to_stays_unheard():
    """As in the background of a shell: Ctrl-C is for the program in front."""
    check = "import signal; from advrun import process; process.start(); print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    shell = ["sh", "-c", 'trap "" INT; exec "$0" "$@"', sys.executable, "-c", check]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout == "True\n"


COMMANDS = [["list", "attacks"], ["schema"], ["check", "configs/demo.yaml"], ["show", "pgd"], ["--help"], ["list", "attacks", "--json"]]


def shell(redirected: str, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", *ADVRUN, *command], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_standard_output_is_one_line(command):
    run = shell(">/dev/full", *command)
    assert (run.returncode, run.stderr) == (1, "advrun: standard output: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full")
def test_a_full_standard_error_ends_nothing():
    assert shell("2>/dev/full", "list", "attacks").returncode == 0
    assert shell("2>/dev/full", "list", "nonsense").returncode == 2
    assert shell("2>/dev/full", "check", "nowhere.yaml").returncode == shell("", "check", "nowhere.yaml").returncode > 2
    talk = "c = Console(); write('é', err=True); c.event('done', label='x'); c.warn('w' * 100_000); write('finished')"
    check = f"from advrun import process; process.start(); from advrun.console import Console, write; {talk}"
    run = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" 2>/dev/full', sys.executable, check], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "finished\n")


@pytest.mark.slow
def test_a_plugin_that_imports_keras_itself_is_quiet_too(tmp_path):
    """TensorFlow writes to standard error by itself, past Python, unless the environment says otherwise before it loads."""
    (tmp_path / "models").mkdir()
    plugin = '"""Mine."""\nimport keras\n\ndef mine(image_shape, classes):\n    """Mine."""\n    return keras.Sequential()\n'
    (tmp_path / "models/mine.py").write_text(plugin)
    named = [name for name in os.environ if name.startswith(("TF_", "KERAS_"))]
    clean = {name: value for name, value in os.environ.items() if name not in named}
    command = [*ADVRUN, "show", "mine", "--plugins", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=clean, cwd=ROOT)
    assert (run.returncode, run.stderr) == (0, "")


def test_a_closed_stream_is_no_traceback():
    for redirected in (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        run = shell(redirected, "list", "attacks")
        assert (run.returncode, run.stderr) == (0, ""), redirected


def test_a_reader_who_is_gone_ends_it_quietly():
    for command in (["list", "attacks"], ["schema"]):
        reader, writer = os.pipe()
        os.close(reader)
        run = subprocess.run([*ADVRUN, *command], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writer)
        assert (run.returncode, run.stderr) == (141, "")


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    """What a library writes to a closed standard error would land in a result."""
    check = f"import os; from advrun import process; process.start(); open({str(tmp_path / 'low')!r}, 'w').write(str(os.open('/', 0)))"
    subprocess.run(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, check], check=True)
    assert int((tmp_path / "low").read_text()) > 2
