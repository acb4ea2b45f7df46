"""The recipe of nano: trained from scratch on rendered clips. Knows nothing of the users' own data."""
