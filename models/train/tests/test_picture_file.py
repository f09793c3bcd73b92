"""Pictures in files: what is read, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="only in the training environment (requirements.txt)")

from deepfake_train.animate import animate_sheet  # noqa: E402
from deepfake_train.picture_file import UnreadablePictureError, read_picture  # noqa: E402

ZOO = Path(__file__).parents[2] / "zoo"


def test_grey_pictures_have_three_channels(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    assert cv2.imwrite(str(path), np.full((4, 6), 7, np.uint8))
    found = read_picture(path)
    assert found.dtype == np.uint8
    assert found.tolist() == np.full((4, 6, 3), 7).tolist()


def test_what_is_no_picture_is_told(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(UnreadablePictureError, match=r"text\.png is no picture"):
        read_picture(text)
    with pytest.raises(UnreadablePictureError, match=r"lost\.png is not there"):
        read_picture(tmp_path / "lost.png")


def test_a_portrait_that_is_not_there_is_not_said_to_have_no_face(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="only in the training environment (requirements.txt)")
    with pytest.raises(UnreadablePictureError, match=r"lost\.png is not there"):
        animate_sheet(ZOO, ["fomm-lite"], tmp_path / "lost.png", tmp_path / "video.mp4", tmp_path / "out.png")
