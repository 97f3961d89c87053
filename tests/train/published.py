"""Published layouts, written down by hand: names and shapes as their publishers have them, no product code."""

from __future__ import annotations

from collections.abc import Iterator

# Szegedy et al. 2015, table 1: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj, and the input of each block.
INCEPTION = {
    "3b": (192, (64, 96, 128, 16, 32, 32)),
    "3c": (256, (128, 128, 192, 32, 96, 64)),
    "4b": (480, (192, 96, 208, 16, 48, 64)),
    "4c": (512, (160, 112, 224, 24, 64, 64)),
    "4d": (512, (128, 128, 256, 24, 64, 64)),
    "4e": (512, (112, 144, 288, 32, 64, 64)),
    "4f": (528, (256, 160, 320, 32, 128, 128)),
    "5b": (832, (256, 160, 320, 32, 128, 128)),
    "5c": (832, (384, 192, 384, 48, 128, 128)),
}
# The six convolutions of a block, as each publisher names them.
PYTORCH_BRANCHES = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
TF_BRANCHES = (
    "Branch_0/Conv{n}d_0a_1x1",
    "Branch_1/Conv{n}d_0a_1x1",
    "Branch_1/Conv{n}d_0b_3x3",
    "Branch_2/Conv{n}d_0a_1x1",
    "Branch_2/Conv{n}d_0b_3x3",
    "Branch_3/Conv{n}d_0b_1x1",
)
TORCHVISION_BRANCHES = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
# torchvision's GoogLeNet calls TensorFlow's block 3b "3a", and so on.
TORCHVISION_BLOCKS = dict(zip(INCEPTION, ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"), strict=True))
STEM = (
    ("Conv3d_1a_7x7", "Conv{n}d_1a_7x7", "conv1", 3, 64, 7),
    ("Conv3d_2b_1x1", "Conv{n}d_2b_1x1", "conv2", 64, 64, 1),
    ("Conv3d_2c_3x3", "Conv{n}d_2c_3x3", "conv3", 64, 192, 3),
)


def inception_units() -> Iterator[tuple[str, str, str, int, int, int]]:
    """Yield (pytorch-i3d name, TensorFlow name, torchvision name, inputs, outputs, kernel size) of the 57 units."""
    yield from STEM
    for block, (inputs, (one, reduce3, three, reduce5, five, pool)) in INCEPTION.items():
        shapes = (
            (inputs, one, 1),
            (inputs, reduce3, 1),
            (reduce3, three, 3),
            (inputs, reduce5, 1),
            (reduce5, five, 3),
            (inputs, pool, 1),
        )
        for index, shape in enumerate(shapes):
            yield (
                f"Mixed_{block}.{PYTORCH_BRANCHES[index]}",
                f"Mixed_{block}/{TF_BRANCHES[index]}",
                f"inception{TORCHVISION_BLOCKS[block]}.{TORCHVISION_BRANCHES[index]}",
                *shape,
            )


def vmz_shapes(blocks: tuple[int, ...], channels: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Return the blobs of VMZ's R(2+1)D with simple blocks: its builder's naming, played through."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}_{suffix}": (width,) for suffix in ("s", "b", "rm", "riv")})

    def split(component: int, index: int, inputs: int, outputs: int) -> None:
        middle = int(3 * inputs * outputs * 9 / (inputs * 9 + 3 * outputs))
        shapes[f"comp_{component}_conv_{index}_middle_w"] = (middle, inputs, 1, 3, 3)
        norm(f"comp_{component}_spatbn_{index}_middle", middle)
        shapes[f"comp_{component}_conv_{index}_w"] = (outputs, middle, 3, 1, 1)
        norm(f"comp_{component}_spatbn_{index}", outputs)

    shapes["conv1_middle_w"] = (45, channels, 1, 7, 7)
    norm("conv1_middle_spatbn_relu", 45)
    shapes["conv1_w"] = (64, 45, 3, 1, 1)
    norm("conv1_spatbn_relu", 64)
    component, inputs = 0, 64
    for stage, count in enumerate(blocks):
        outputs = 64 * 2**stage
        for _ in range(count):
            split(component, 1, inputs, outputs)
            split(component, 2, outputs, outputs)
            if inputs != outputs:
                shapes[f"shortcut_projection_{component}_w"] = (outputs, inputs, 1, 1, 1)
                norm(f"shortcut_projection_{component}_spatbn", outputs)
            inputs = outputs
            component += 1
    shapes[f"last_out_L{classes}_w"] = (classes, 512)
    shapes[f"last_out_L{classes}_b"] = (classes,)
    return shapes
