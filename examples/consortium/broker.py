"""A broker on this machine: mosquitto, with TLS, certificates for everybody, and an ACL."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

MOSQUITTO = shutil.which(
    "mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
)
HERE = Path(__file__).parent


class Mosquitto:
    """mosquitto as `mosquitto.conf` and `acl` beside this file have it, on a free port and with files elsewhere.

    Args:
        folder: for its configuration, its log and its certificate.
        ca: certificate of the authority that everybody's certificate comes from.
        certificate, key: its own.
        acl: instead of the recommended one.
        conf: settings beside or instead of the recommended ones.
    """

    def __init__(
        self,
        folder: Path,
        ca: Path,
        certificate: Path,
        key: Path,
        *,
        acl: str | None = None,
        conf: dict[str, object] | None = None,
    ) -> None:
        if MOSQUITTO is None:
            raise SystemExit("no mosquitto on this machine: `apt-get install mosquitto` brings it")
        self.port = _free_port()
        self.log = folder / "mosquitto.log"
        self._conf, rules = folder / "mosquitto.conf", folder / "acl"
        rules.write_text((HERE / "acl").read_text() if acl is None else acl)
        rules.chmod(0o600)
        own = {
            "listener": f"{self.port} 127.0.0.1",
            "cafile": ca,
            "certfile": certificate,
            "keyfile": key,
            "acl_file": rules,
            # Started as root it would become another user, who cannot read what lies here.
            "user": pwd.getpwuid(os.getuid()).pw_name,
            "log_dest": f"file {self.log}",
        }
        lines = [line.split(maxsplit=1) for line in (HERE / "mosquitto.conf").read_text().splitlines() if line.strip()]
        kept = {line[0]: line[1] for line in lines if not line[0].startswith("#")}
        self._conf.write_text("".join(f"{key} {value}\n" for key, value in (kept | own | (conf or {})).items()))
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(  # noqa: S603 - looked for above
            [MOSQUITTO, "-c", self._conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > until:
                    said = self.log.read_text() if self.log.exists() else ""
                    raise RuntimeError(f"mosquitto does not start:\n{said}") from None
                time.sleep(0.05)
            else:
                return

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it, as a power cut would."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
