"""``python -m listener`` is ``tekton-listener``."""

import sys

from listener.cli import main

if __name__ == "__main__":
    sys.exit(main())
