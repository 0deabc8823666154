"""`python -m anyrestore` is the command `anyrestore`."""

from anyrestore.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
