"""`python -m pipelines` is `florilegium`, where its script is not on the path."""

from pipelines.commands.main import main

if __name__ == "__main__":
    main()
