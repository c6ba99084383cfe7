"""Say what you can afford, get the front: recipes are proposed, tried in three rounds, and the best are measured."""
