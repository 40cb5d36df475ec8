"""Whole pictures from interlaced ones, whose odd and even lines are of two moments.

Imported by the child that opens untrusted video (decode_child.py).
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.video.frame import VideoFrame

# Smaller pictures are refused by the filter.
LEAST_SIDE = 4


def deinterlaced(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """The same frames, at the same times; those flagged as interlaced, and only they, filtered."""
    graph: Any = None
    shape: tuple[object, ...] = ()
    for frame in frames:
        if graph is not None and shape != shape_of(frame):
            yield from flushed(graph)
            graph = None
        if graph is None and frame.interlaced_frame and is_large_enough(frame):
            graph, shape = make_graph(frame), shape_of(frame)
        if graph is None:
            yield frame
            continue
        graph.push(frame)
        yield from ready(graph)
    if graph is not None:
        yield from flushed(graph)


def shape_of(frame: VideoFrame) -> tuple[object, ...]:
    return frame.width, frame.height, frame.format.name


def is_large_enough(frame: VideoFrame) -> bool:
    return min(frame.width, frame.height) >= LEAST_SIDE


def make_graph(frame: VideoFrame) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, 1000),
    )
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def flushed(graph: Any) -> Iterator[VideoFrame]:
    graph.push(None)
    yield from ready(graph)


def ready(graph: Any) -> Iterator[VideoFrame]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
