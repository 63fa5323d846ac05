"""The command line: one module per subcommand, thin. Nothing in the package imports it."""
