"""`python -m cnngen` is the command `cnngen`."""

from cnngen.codegen.cli import main

main()
