"""From a configuration to three lists of image files: train, validation, test."""
