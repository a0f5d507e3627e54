"""`python -m pipelines` runs `florilegium`, for when its script is not on the path."""

from pipelines.commands.main import main

if __name__ == "__main__":
    main()
