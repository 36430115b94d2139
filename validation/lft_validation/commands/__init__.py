"""One module per subcommand of ``lft``; each has a ``command``."""
