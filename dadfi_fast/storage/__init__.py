"""Where files are read from and written to: disks and object stores."""
