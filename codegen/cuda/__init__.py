"""NVIDIA GPUs: kernels in CUDA C++ under templates/, compiled by nvcc, called from TVM's virtual machine."""
