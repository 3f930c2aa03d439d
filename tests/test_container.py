"""The Containerfile builds what the Makefile does: there may be no engine here, so it is read."""

from __future__ import annotations

import ast
import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTAINER = (ROOT / "Containerfile").read_text()
MAKE = (ROOT / "Makefile").read_text()
STEPS = [line.split(" ", 1) for line in CONTAINER.splitlines() if re.match(r"[A-Z]+ ", line)]


def installs(text: str) -> list[list[str]]:
    """Arguments of each ``pip install``, without the interpreter."""
    found = re.findall(r"-m pip install ([^|&\\\n]+)", text)
    return [shlex.split(arguments) for arguments in found]


def test_the_same_is_installed() -> None:
    tools, package = installs(CONTAINER)
    assert tools in installs(MAKE)
    made = next(words for words in installs(MAKE) if words[-1] == ".[embedded,dev]")
    assert [word for word in package if word.startswith("--")] == [
        word for word in made if word.startswith("--")
    ]
    assert package[-1] == ".[embedded]"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert tools[2:] == project["build-system"]["requires"]


def test_all_that_the_build_reads_is_copied() -> None:
    copied = {
        word
        for verb, rest in STEPS
        if verb == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
    }
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {"pyproject.toml", "setup.py", "pumpwatch", project["project"]["readme"]}
    needed |= set(project["tool"]["setuptools"]["package-dir"].values())
    assert needed <= copied


def test_it_does_not_run_as_root_and_keeps_its_data() -> None:
    final = CONTAINER.rpartition("\nFROM ")[2]
    assert re.search(r"^USER (?!root|0)\w+$", final, re.MULTILINE)
    assert "VOLUME /data" in final
    assert 'ENTRYPOINT ["/opt/pumpwatch/bin/python", "-m", "pumpwatch"]' in final
    assert re.findall(r"^FROM \S+:3\.(\d+)-", CONTAINER, re.MULTILINE) == ["11", "11"]
    assert "secret" not in CONTAINER.lower()


def test_its_health_check_asks_the_page(tmp_path: Path) -> None:
    (line,) = [rest for verb, rest in STEPS if verb == "HEALTHCHECK"]
    command = ast.literal_eval(line.partition("CMD ")[2])[1:]

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/livez" else 404)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    runtime = tmp_path / "runtime.json"
    runtime.write_text(json.dumps({"dashboard_port": server.server_port}))
    command[1] = command[1].replace("/data/data/runtime.json", str(runtime))
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        assert subprocess.run([sys.executable, *command], check=False).returncode == 0
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    silent = subprocess.run([sys.executable, *command], check=False, stderr=subprocess.DEVNULL)
    assert silent.returncode != 0
