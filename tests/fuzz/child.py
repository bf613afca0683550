"""What atheris runs in, apart: nothing of ckptkit may be loaded before it is instrumented.

python -m tests.fuzz.child TARGET FOLDER FLAGS...
"""

import sys
from pathlib import Path

from tests.fuzz import engines

if __name__ == "__main__":
    engines.fuzz(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
