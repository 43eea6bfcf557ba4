"""`python -m jaxhead` is the console command `jaxhead`."""

from jaxhead.app.main import console

if __name__ == "__main__":
    console()
