"""`python -m florilegium` runs the command line, for when its script is not on the path."""

from florilegium.pipelines.commands.main import main

if __name__ == "__main__":
    main()
