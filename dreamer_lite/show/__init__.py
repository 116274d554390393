"""Images, films and plots. Draws what it is given and imports no other room."""
