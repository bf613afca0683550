"""For how long a save keeps training waiting: guarded, against the Trainer's own `save_total_limit`."""
