"""How the tables of the state came to be, one step a file."""
