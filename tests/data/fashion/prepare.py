#!/usr/bin/env python3
"""Makes the small real data set of the tests from Fashion-MNIST, as the Debian package dataset-fashion-mnist installs it.

    apt-get install dataset-fashion-mnist && python3 prepare.py      (standard library only; about ten seconds)

Every picture is halved to 14 x 14 by the mean of 2 x 2 pixels, so that a training set large enough to be trained on stays small
enough to be committed. Writes, beside this file, rows of unsigned bytes:

    base.u8      12,000 x 196    the first training pictures
    labels.u8    12,000 x 1      their classes, 0 to 9
    queries.u8      200 x 196    the first test pictures
"""
import gzip
import pathlib

SOURCE = pathlib.Path("/usr/share/datasets/fashion-mnist")
SIDE = 28


def payload(name: str, header_bytes: int) -> bytes:
    with gzip.open(SOURCE / name) as file:
        return file.read()[header_bytes:]


def halved(pictures: bytes, count: int) -> bytes:
    out = bytearray()
    for start in range(0, count * SIDE * SIDE, SIDE * SIDE):
        for row in range(start, start + SIDE * SIDE, 2 * SIDE):
            for column in range(row, row + SIDE, 2):
                below = column + SIDE
                out.append((pictures[column] + pictures[column + 1] + pictures[below] + pictures[below + 1] + 2) // 4)
    return bytes(out)


here = pathlib.Path(__file__).parent
(here / "base.u8").write_bytes(halved(payload("train-images-idx3-ubyte.gz", 16), 12_000))
(here / "labels.u8").write_bytes(payload("train-labels-idx1-ubyte.gz", 8)[:12_000])
(here / "queries.u8").write_bytes(halved(payload("t10k-images-idx3-ubyte.gz", 16), 200))
