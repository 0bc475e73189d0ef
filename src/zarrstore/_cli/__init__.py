"""The program ``zarrstore``.

It uses click, which is small, in nearly every environment already, and has a runner for tests. The extra
``cli`` installs it; the library itself doesn't import it.
"""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the program with this process's arguments, and exit with its code."""
    # NumPy's threads for matrix products take time to start, and aren't needed here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        import click  # noqa: F401
    except ImportError as error:
        print(
            f"zarrstore: the command line needs the package {error.name}: pip install 'zarrstore[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from zarrstore._cli.program import program

    program()
