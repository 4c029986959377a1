"""What each subcommand of `medmetaseg` does with files."""
