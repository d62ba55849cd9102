"""What is timed: each arm is one class that loads once and then runs a round whenever asked."""
