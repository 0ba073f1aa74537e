"""`python -m limner` is the command `limner`."""

from limner.cli.app import main

raise SystemExit(main())
