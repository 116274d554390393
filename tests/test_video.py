"""Files of frames: what is written can be read back, and what cannot be written is refused."""

from pathlib import Path

import imageio_ffmpeg
import mediapy
import numpy as np
import pytest

from dreamer_lite.show import images, video


def moving_square(count: int, height: int, width: int) -> np.ndarray:
    """A bright square on a dark ground that moves 8 pixels a frame."""
    frames = np.full((count, height, width, 3), 20, np.uint8)
    for i in range(count):
        frames[i, 16:48, 8 * i : 8 * i + 32] = images.ORANGE
    return frames


def read(path: Path) -> tuple[dict, np.ndarray]:
    """What ffmpeg says of a file, and its frames (n, h, w, 3)."""
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, np.stack([np.frombuffer(x, np.uint8).reshape(height, width, 3) for x in reader])


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_is_read_back_frame_by_frame(tmp_path: Path, suffix: str) -> None:
    frames = moving_square(12, 96, 160)
    path = tmp_path / "new" / f"film{suffix}"
    video.write(path, frames, fps=10)
    meta, found = read(path)
    assert found.shape == frames.shape
    assert meta["fps"] == pytest.approx(10)
    assert np.abs(found.astype(int) - frames).mean() < 3
    if suffix == ".mp4":
        assert meta["codec"] == "h264" and meta["pix_fmt"].startswith("yuv420p")


def test_odd_sizes_are_padded_and_frames_may_come_as_a_list(tmp_path: Path) -> None:
    frames = list(moving_square(3, 95, 161))
    video.write(tmp_path / "odd.mp4", frames)
    _, found = read(tmp_path / "odd.mp4")
    assert found.shape == (3, 96, 162, 3)
    padded = images.pad_to_even(frames[0])
    np.testing.assert_array_equal(padded[:95, :161], frames[0])
    assert (padded[95] == images.GROUND).all() and (padded[:, 161] == images.GROUND).all()


def test_a_strip_holds_the_first_and_the_last_frame(tmp_path: Path) -> None:
    frames = moving_square(9, 64, 100)
    video.write_strip(tmp_path / "strip.png", frames, count=3, columns=2)
    found = mediapy.read_image(tmp_path / "strip.png")
    assert found.shape == (128, 200, 3)
    np.testing.assert_array_equal(found[:64, :100], frames[0])
    np.testing.assert_array_equal(found[:64, 100:], frames[4])
    np.testing.assert_array_equal(found[64:, :100], frames[8])
    assert (found[64:, 100:] == images.GROUND).all()
    np.testing.assert_array_equal(video.strip(frames[:1], 4), frames[0])


def test_bad_names_and_empty_films_get_one_sentence(tmp_path: Path) -> None:
    frames = moving_square(2, 64, 64)
    with pytest.raises(ValueError, match=r"must end in \.mp4 or \.gif, not in '\.avi'"):
        video.write(tmp_path / "film.avi", frames)
    with pytest.raises(ValueError, match=r"must end in \.png, not in '\.mp4'"):
        video.write_strip(tmp_path / "strip.mp4", frames)
    with pytest.raises(ValueError, match="no frames"):
        video.write(tmp_path / "film.mp4", frames[:0])
    with pytest.raises(ValueError, match="at least one frame"):
        video.write_strip(tmp_path / "strip.png", frames, count=0)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write, name in ((video.write, "film.mp4"), (video.write_strip, "strip.png")):
        with pytest.raises(OSError):
            write(tmp_path / "file" / name, moving_square(2, 64, 64))


def test_a_long_caption_is_set_smaller_and_stays_inside() -> None:
    short = images.caption(320, 32, "step 1", "return 2")
    long = images.caption(320, 32, "episode 1000   step 1000   right", "return 123.456")
    assert short.shape == long.shape == (32, 320, 3)
    for picture in (short, long):
        ink = (picture != images.GROUND).any(-1)
        assert ink.any() and not ink[:, :3].any() and not ink[:, -3:].any()
        assert not ink[:4].any() and not ink[-3:].any()


def test_small_pictures_are_enlarged_by_repeating_pixels() -> None:
    small = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)
    large = images.enlarge(small)
    assert large.shape == (320, 320, 3)
    np.testing.assert_array_equal(large[::5, ::5], small)
    assert images.enlarge(large) is not None and images.enlarge(large).shape == large.shape
