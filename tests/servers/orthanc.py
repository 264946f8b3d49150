"""A real Orthanc with its DICOMweb plug-in, for the tests of sending.

Debian's Orthanc 1.10 listens on every interface. So it runs in a network namespace of its own, which has nothing but
a loopback, and the tests go in there to talk to it: nothing outside can reach it, and it can reach nothing. Where the
kernel gives no namespace (no root, a container without CAP_SYS_ADMIN) it runs beside the tests, and refuses whoever
is not this machine: RemoteAccessAllowed is false (HTTP), and the only DICOM modality it knows has the address
127.0.0.1, which it checks.
"""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AET = "ARCHIVE"
CALLING_AET = "CINESAX"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of <sched.h>
_START_S = 120.0


@dataclass(frozen=True)
class Orthanc:
    """A running server; talk to it inside `with orthanc.entered()`."""

    dicom_port: int
    http_port: int
    namespace: Path | None

    @property
    def node(self) -> str:
        return f"{AET}@127.0.0.1:{self.dicom_port}"

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def web(self) -> str:
        return f"{self.root}/dicom-web"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside of it, this thread and all that it starts see the network of the server."""
        if self.namespace is None:
            yield
            return
        with open("/proc/thread-self/ns/net", "rb") as home, self.namespace.open("rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def ask(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Any:
        """The JSON, or else the bytes, that the server answers."""
        request = urllib.request.Request(self.root + path, method=method, headers=headers or {})
        with self.entered(), urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
            return json.loads(body) if "json" in response.headers.get("Content-Type", "") else body

    def clear(self) -> None:
        """Forget everything."""
        for one in self.ask("/patients"):
            self.ask(f"/patients/{one}", method="DELETE")


def missing() -> str | None:
    """What is not installed, or None."""
    if shutil.which("Orthanc", path=_PATH) is None:
        return "Orthanc is absent: install the Debian package orthanc"
    if not PLUGIN.is_file():
        return "Orthanc's DICOMweb plug-in is absent: install the Debian package orthanc-dicomweb"
    return None


_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")


def namespaces_allowed() -> bool:
    """Whether this process may make a network namespace and enter it."""
    if os.geteuid() != 0 or any(shutil.which(tool, path=_PATH) is None for tool in ("unshare", "ip")):
        return False
    command = ["unshare", "--net", "ip", "link", "set", "lo", "up"]
    return subprocess.run(command, capture_output=True, env={"PATH": _PATH}, check=False).returncode == 0


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """An Orthanc whose database and log lie in `folder`; it is stopped at the end."""
    alone = namespaces_allowed()
    dicom_port, http_port = _free_ports(2)
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(_settings(folder, dicom_port, http_port)))
    command = [str(shutil.which("Orthanc", path=_PATH)), str(settings)]
    if alone:
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PATH": _PATH})
    try:
        namespace = _own_namespace(process.pid) if alone else None
        server = Orthanc(dicom_port, http_port, namespace)
        _wait(server, process, folder / "orthanc.log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _settings(folder: Path, dicom_port: int, http_port: int) -> dict[str, Any]:
    return {
        "Name": AET,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "Plugins": [str(PLUGIN)],
        "DicomAet": AET,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomCheckModalityHost": True,
        "DicomModalities": {"cinesax": [CALLING_AET, "127.0.0.1", 1]},
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpDescribeErrors": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True},
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _own_namespace(pid: int) -> Path:
    """The namespace of the process, once it has left that of the tests."""
    path, home = Path(f"/proc/{pid}/ns/net"), os.readlink("/proc/self/ns/net")
    end = time.monotonic() + _START_S
    while os.readlink(path) == home:
        if time.monotonic() > end:
            raise TimeoutError("unshare made no network namespace")
        time.sleep(0.01)
    return path


def _wait(server: Orthanc, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _START_S
    while True:
        try:
            server.ask("/system")
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}") from None
            time.sleep(0.1)
