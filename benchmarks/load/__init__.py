"""The parts of `coordinator_load.py`: a coordinator, its clients, the lines between them, and who means harm."""
