"""Fine-tuning any member of the family on a user's own clips. Does not know the recipe that made nano."""
