"""The box as it is: files, volumes, processes, locks. Reads only, but for the small files of our own."""
