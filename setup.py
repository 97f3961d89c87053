"""The one part of the build that pyproject.toml cannot say yet: the optional extension."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Fast TV-L1 on the CPU, a plain shared library behind ctypes. Without a compiler the package installs without
        # it, and flow falls back to OpenCV's.
        Extension(
            "toolkit.flow._tvl1",
            sources=["toolkit/flow/tvl1_cpu.cpp"],
            depends=["toolkit/flow/tvl1_cpu_level.inc", "toolkit/flow/tvl1_pixel.h"],
            language="c++",
            optional=True,
            extra_compile_args=[
                "-std=c++17",
                "-O3",
                # The same numbers on every machine: no contraction into fused multiply-add, and never -ffast-math.
                "-ffp-contract=off",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-Wno-psabi",
            ],
        )
    ]
)
