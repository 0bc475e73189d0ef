"""The program ``zarrstore``.

It stands on click: small, in nearly every environment already, and with a runner for tests. That comes with
the extra ``cli``; the library itself doesn't import it.
"""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the program with the arguments of this process, and end it with the program's exit code."""
    # The threads that NumPy starts to multiply matrices cost time, and have nothing to do here.
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
