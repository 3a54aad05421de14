"""What the commands of src/*.py share: arguments, checks before anything is written, help."""
