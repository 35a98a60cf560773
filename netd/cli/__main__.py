"""``python -m netd.cli`` is netctl."""

import sys

from netd.cli.main import main

sys.exit(main())
