"""Frames of few colours for a GIF: one palette made from the clip, each frame drawn in it.

Two readings of the clip, so that no more than a frame of it is held.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
from av.error import BlockingIOError as NothingYetError
from av.error import EOFError as NothingMoreError
from av.filter import Graph
from av.video.frame import VideoFrame

from rotoscope.media.clip import Clip, Frames
from rotoscope.media.formats import CENTISECOND, gif_frames

PALETTE_SIDE = 320
PALETTE_FRAMES = 64
PALETTE: dict[str, Any] = {"width": 16, "height": 16, "format": "bgra", "time_base": CENTISECOND}


def gif_pictures(clip: Clip, level: Mapping[str, str]) -> Iterator[VideoFrame]:
    """The clip's frames as pal8, at their times in hundredths of a second."""
    graph = Graph()
    pictures, palettes = graph.add_buffer(**_picture(clip)), graph.add_buffer(**PALETTE)
    drawing: Any = graph.add("paletteuse", f"dither={level['dither']}")
    sink = graph.add("buffersink")
    pictures.link_to(drawing, 0, 0)
    palettes.link_to(drawing, 0, 1)
    drawing.link_to(sink)
    graph.configure()
    palettes.push(_palette(clip, level["max_colors"]))
    palettes.push(None)
    *shown, _ = gif_frames(len(clip.frames_THWC), clip.fps)
    for index, time in shown:
        pictures.push(_frame(clip.frames_THWC[index], time))
        yield from _drawn(sink)
    pictures.push(None)
    yield from _drawn(sink)


def _palette(clip: Clip, colours: str) -> VideoFrame:
    """The clip's colours, from at most 64 of its frames, made small without mixing colours.

    Counting the colours of noisy frames at 1280 x 720 takes 35 s and gives no better a palette.
    """
    every = -(-max(clip.size.width, clip.size.height) // PALETTE_SIDE)
    step = -(-len(clip.frames_THWC) // PALETTE_FRAMES)
    small_THWC = clip.frames_THWC[::step, ::every, ::every]
    graph = Graph()
    pictures = graph.add_buffer(**_picture(Clip(small_THWC, clip.fps)))
    counting = graph.add("palettegen", f"max_colors={colours}:reserve_transparent=1")
    sink = graph.add("buffersink")
    pictures.link_to(counting)
    counting.link_to(sink)
    graph.configure()
    for time, pixels_HWC in enumerate(small_THWC):
        pictures.push(_frame(pixels_HWC, time))
    pictures.push(None)
    palette = cast("VideoFrame", sink.pull())
    palette.pts, palette.time_base = 0, CENTISECOND
    return palette


def _picture(clip: Clip) -> dict[str, Any]:
    return {
        "width": clip.size.width,
        "height": clip.size.height,
        "format": "rgb24",
        "time_base": CENTISECOND,
    }


def _frame(pixels_HWC: Frames, time: int) -> VideoFrame:
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels_HWC), format="rgb24")
    frame.pts, frame.time_base = time, CENTISECOND
    return frame


def _drawn(sink: Any) -> Iterator[VideoFrame]:
    while True:
        try:
            yield sink.pull()
        except (NothingYetError, NothingMoreError):
            return
