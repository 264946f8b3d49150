"""`python -m cinesax`."""

import sys

from cinesax.cli.main import main

sys.exit(main())
