"""`python -m agent` is the command `vaestar`."""

from agent.cli import main

if __name__ == "__main__":
    main()
