"""`python -m ckptkit VERB`, which is what every script in bin/ ends in."""

import sys

if sys.version_info < (3, 10):
    sys.exit("ckptkit: needs Python 3.10 or newer, this is %d.%d; set CKPTKIT_PYTHON" % sys.version_info[:2])

from ckptkit.cli import main

main()
