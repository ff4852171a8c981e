"""What all services share: their description, their command line, their progress on a terminal."""
