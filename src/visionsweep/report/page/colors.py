"""The report page's colours, by what they are for, in the light and in the dark.

Texts have a contrast of at least 4.5 to what they stand on, marks and controls one of 3 (WCAG 2.2,
level AA); the lines of runs differ for colour-blind eyes too. Tests hold both.
"""

COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#fbfaf7", "#171715"),
    "raised": ("#f2f0ea", "#21211e"),  # tables' heads, code, controls
    "ink": ("#1d1c1a", "#edebe5"),
    "quiet": ("#5d5a54", "#aaa69d"),  # text of second rank
    "rule": ("#dcd8cf", "#383733"),  # hairlines; carry no meaning
    "edge": ("#857f74", "#7d786e"),  # of controls
    "accent": ("#17598f", "#8cbbe6"),  # links, focus, the recommended run
    "possible": ("#2e7fb8", "#5b93c4"),  # runs that could be the best
    "worse": ("#857f74", "#8d887d"),  # the others
    "tint": ("#e9f0f5", "#1d2832"),  # rows of the recommended run and of those that could be best
    "shade": ("#9fc3de", "#2b557a"),  # the fullest cell of a confusion matrix
    "wrong": ("#eeb99b", "#7a3f1f"),  # the same, off the diagonal
    "alert": ("#fbe9cf", "#3d2c12"),  # behind warnings
    "alert-ink": ("#5f3a00", "#f3d19c"),
}
# Of the runs' lines, in order; with other dashes from the ninth on.
LINES = (
    ("#123c74", "#4a7fe0"),
    ("#8f3312", "#c07a2c"),
    ("#1e9e5b", "#62c195"),
    ("#cb4aa9", "#d03fa8"),
    ("#68645e", "#e9e8e7"),
    ("#99821b", "#e1be4e"),
    ("#882ed2", "#b69bec"),
    ("#390a0f", "#d8455f"),
)
DASHES = ("", "8 3", "2 3", "8 3 2 3", "14 4", "4 2", "1 4")  # lengths in pixels, as in SVG
