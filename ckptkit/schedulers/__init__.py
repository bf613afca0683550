"""Who runs a command again and again on this box: cron, systemd, tmux. One a file."""
