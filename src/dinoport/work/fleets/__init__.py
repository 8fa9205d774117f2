"""What a fleet is made of: its jobs, what does one of them, and the workers that do many."""
