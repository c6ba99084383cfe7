"""Jobs: what pages ask for, carried out in worker processes; results go to the store."""
