"""What a file takes beside the tensors' own bytes: safetensors' header, torch's zip."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ckptkit.forecast.shapes import SAFETENSORS_DTYPES, Shape

# torch/csrc `caffe2/serialize/inline_container.cc`: each record begins at a multiple of 64, four bytes of padding at
# least, and a data descriptor follows it; then a directory of all.
ALIGNMENT = 64
LOCAL_HEADER, PADDING, DESCRIPTOR, DIRECTORY_ENTRY, DIRECTORY_END = 30, 4, 16, 46, 22
ZIP64 = 76  # a second end, where sizes pass 4 GiB
# data.pkl, seen with torch 2.13: 60 to 80 bytes a tensor, and the parameter groups with their numbers.
PICKLED_TENSOR, PICKLED_REST = 74, 500
SMALL_RECORDS = (("/.format_version", 1), ("/.storage_alignment", 2), ("/byteorder", 6))
LAST_RECORDS = (("/version", 2), ("/.data/serialization_id", 40))


def safetensors(shapes: Sequence[Shape]) -> int:
    """Given what a .safetensors file holds, return its bytes: header, padded to 8, and tensors."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for shape in sorted(shapes, key=lambda s: s.name):
        offsets = [at, at + shape.bytes]
        entries[shape.name] = {
            "dtype": SAFETENSORS_DTYPES[shape.dtype], "shape": list(shape.size), "data_offsets": offsets,
        }  # fmt: skip
        at += shape.bytes
    parts = sum((shape.parts - 1) * (len(shape.name) + 70) for shape in shapes)
    header = len(json.dumps(entries, separators=(",", ":"))) + parts
    return 8 + -(-header // 8) * 8 + at


def torch_zip(stem: str, storages: Sequence[int], tensors: int) -> int:
    """Given a file's name without suffix and its storages' bytes, return the bytes of what torch.save writes."""
    pickle = PICKLED_REST + PICKLED_TENSOR * tensors
    data = [(f"/data/{index}", size) for index, size in enumerate(storages)]
    at = directory = 0
    for name, size in (("/data.pkl", pickle), *SMALL_RECORDS, *data, *LAST_RECORDS):
        length = len(stem) + len(name)
        begin = at + LOCAL_HEADER + length + PADDING
        at = -(-begin // ALIGNMENT) * ALIGNMENT + size + DESCRIPTOR
        directory += DIRECTORY_ENTRY + length
    return at + directory + DIRECTORY_END + (ZIP64 if at >= 1 << 32 else 0)
