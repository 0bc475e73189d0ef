"""``python -m zarrstore``: the program, for those who have it not on their path."""

from zarrstore._cli import main

if __name__ == "__main__":
    main()
