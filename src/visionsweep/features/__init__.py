"""What a frozen backbone makes of images: computed once, trained on many times."""
