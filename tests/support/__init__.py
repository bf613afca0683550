"""What tests share: real checkpoints, real small disks, the command line as a person calls it."""
