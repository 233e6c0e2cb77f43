"""The controller: the one loop that brings rollouts, desired states and the broker in line with the database."""
