"""What an administrator uses: the commands, checks and the trace."""
