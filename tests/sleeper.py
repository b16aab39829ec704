"""A process that wakes a session, answers one request, and goes: for `test_sleep.py`.

Arguments: a folder with `state`, `key`, `request`, perhaps `vector.npy` and `identity.pem` with `roster.json`; the
guard's folder; a name. It writes `NAME.ready`, waits for `go`, and leaves `NAME.response` and, if `NAME.state` is asked
for by a fourth argument, the session asleep again; or `NAME.refused` with the reason.
"""

import sys
import time
from pathlib import Path

import numpy as np

import privfl
from privfl.primitives.signatures import Identity
from privfl.roster import Credentials, Roster


def main(folder, guard, name, *then):
    folder = Path(folder)
    credentials = None
    if (folder / "identity.pem").exists():
        identity = Identity.from_pem((folder / "identity.pem").read_bytes())
        credentials = Credentials(identity, Roster.load(folder / "roster.json"))
    key, request = (folder / "key").read_bytes(), (folder / "request").read_bytes()
    (folder / f"{name}.ready").touch()
    while not (folder / "go").exists():
        time.sleep(0.001)
    try:
        session = privfl.wake(
            (folder / "state").read_bytes(), key=key, guard=privfl.FileGuard(Path(guard)), credentials=credentials
        )
        if (folder / "vector.npy").exists():
            session.submit(np.load(folder / "vector.npy"))
        (folder / f"{name}.response").write_bytes(session.respond(request))
    except privfl.DisclosureRefused as error:
        (folder / f"{name}.refused").write_text(str(error))
        return
    if then:
        (folder / f"{name}.state").write_bytes(session.to_bytes(key))


if __name__ == "__main__":
    main(*sys.argv[1:])
