"""`python -m privfl` is the command."""

from __future__ import annotations

import sys

from privfl.cli.main import main

sys.exit(main())
