"""Pictures of sparse tracks between two frames, which the released code calls optical flow."""

import cv2
import numpy as np

# As in the authors' my_utils.py, mode 1: corners of the first frame, followed by Lucas and Kanade's method.
_CORNERS = {"maxCorners": 100, "qualityLevel": 0.3, "minDistance": 7, "blockSize": 7}
_SEARCH = {
    "winSize": (15, 15),
    "maxLevel": 2,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03),
}
_GREEN, _RED = (0, 255, 0), (255, 0, 0)
_LINE, _DOT = 5, 2  # px


def track_picture(first, second):
    """Where up to 100 corners of a frame have gone, drawn on black: green lines between red dots.

    It is no flow field: nothing is drawn where there is no corner, and lines of movements below their own
    width of 5 px all look alike. The dense counterpart is `hsta_lib.data.flow.flow_pictures`. Frames and
    picture are RGB uint8, ``(h, w, 3)``.
    """
    picture = np.zeros_like(first)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    corners = cv2.goodFeaturesToTrack(grey[0], **_CORNERS)
    if corners is None:
        return picture
    moved, found, _ = cv2.calcOpticalFlowPyrLK(*grey, corners, None, **_SEARCH)
    for start, end, is_found in zip(corners[:, 0], moved[:, 0], found[:, 0], strict=True):
        if is_found:
            start, end = (tuple(int(value) for value in point) for point in (start, end))
            cv2.line(picture, start, end, _GREEN, _LINE)
            for point in (start, end):
                cv2.circle(picture, point, _DOT, _RED, -1)
    return picture
