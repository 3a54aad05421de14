"""Names of the splits, for whoever needs no images."""

SPLITS = ("train", "val", "test")
CROSS_FIT = "cross_fit"  # training and validation images, each scored by heads that did not see it
